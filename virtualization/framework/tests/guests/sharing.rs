//! Shared directories, as a real guest mounts them. They need virtiofsd, which `cargo xtask setup` installs.

use std::os::unix::fs::symlink;

use virtualization::{DirectoryShare, Event, SharedDirectory, VirtioFileSystemDevice};

use crate::guest::Guest;

#[test]
fn two_directories_are_shared_one_of_them_only_to_be_read() {
    let Some(mut guest) = Guest::prepare() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (both, only) = (folder.path().join("both"), folder.path().join("only"));
    for directory in [&both, &only] {
        std::fs::create_dir(directory).unwrap();
    }
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(both.join("from-host"), &content).unwrap();
    std::fs::write(only.join("fixed"), "as it was").unwrap();
    std::fs::write(folder.path().join("secret"), "not shared").unwrap();
    symlink(folder.path().join("secret"), both.join("link")).unwrap();
    symlink("../secret", both.join("relative")).unwrap();
    let share = |tag: &str, directory| VirtioFileSystemDevice::new(tag, directory).into();
    guest.configuration.directory_sharing_devices =
        vec![share("both", SharedDirectory::new(&both)), share("only", SharedDirectory::read_only(&only))];

    let mount = "mkdir -p /m/b /m/o; mount -t virtiofs both /m/b && mount -t virtiofs only /m/o; echo mounted $?";
    guest.start("quiet");
    guest.run(mount, "mounted 0");
    guest.run("cat /m/o/fixed; echo ''", "as it was");
    guest.run("echo x >/m/o/fixed; echo denied $?", "denied 1");
    guest.run("rm /m/o/fixed; echo kept $?", "kept 1");
    guest.run("cat /m/b/link /m/b/relative; echo unreached $?", "unreached 1");
    guest.run("cp /m/b/from-host /m/b/from-guest && sync; echo copied $?", "copied 0");
    assert!(std::fs::read(both.join("from-guest")).unwrap() == content, "what the guest wrote is what it had read");
    std::fs::write(both.join("later"), "seen while it runs").unwrap();
    guest.run("cat /m/b/later; echo ''", "seen while it runs");
    assert_eq!(std::fs::read_to_string(only.join("fixed")).unwrap(), "as it was");

    // A reboot begins with servers that know nothing of what was open before.
    guest.type_line("exec 3</m/b/later; reboot -f");
    assert!(matches!(guest.event(), Event::GuestRebooted));
    guest.wait_for("vivarium guest ready");
    guest.run(mount, "mounted 0");
    guest.run("md5sum /m/b/from-host /m/b/from-guest | cut -d' ' -f1 | uniq | wc -l | sed 's/^/sums /'", "sums 1");
    guest.power_off();
}

#[test]
fn several_directories_are_shared_under_one_tag_and_others_later() {
    let Some(mut guest) = Guest::prepare() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (both, only) = (folder.path().join("both"), folder.path().join("only"));
    for directory in [&both, &only] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("file"), directory.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
    symlink("../only/file", both.join("link")).unwrap();
    let directories = [("work", SharedDirectory::new(&both)), ("read only", SharedDirectory::read_only(&only))];
    let share = DirectoryShare::Multiple(directories.map(|(name, directory)| (name.to_owned(), directory)).into());
    guest.configuration.directory_sharing_devices = vec![VirtioFileSystemDevice::new("all", share).into()];

    guest.start("quiet");
    guest.run("mkdir /m; mount -t virtiofs all /m; echo mounted $?", "mounted 0");
    guest.run("ls /m | tr '\\n' ,; echo ''", "read only,work,");
    guest.run("cat /m/work/file '/m/read only/file'; echo ''", "bothonly");
    guest.run("echo new >/m/work/new; echo written $?", "written 0");
    assert_eq!(std::fs::read_to_string(both.join("new")).unwrap(), "new\n");
    guest.run("cat /m/work/link; echo unreached $?", "unreached 1");
    guest.run(
        "for i in '/m/read only/file' '/m/read only/new' /m/new; do echo x >\"$i\" || echo denied; done | wc -l | sed 's/^/denials /'",
        "denials 3",
    );
    guest.run("mkdir /m/other || rmdir '/m/read only'; echo kept $?", "kept 1");
    assert_eq!(std::fs::read_dir(&only).unwrap().count(), 1);

    // What is mounted finds others at once, but for what the guest knows for a second.
    let sharing = guest.machine().directory_sharing_devices().remove(0);
    let directories = [("new", SharedDirectory::new(&both)), ("read only", SharedDirectory::read_only(&only))];
    sharing.set_share(Some(DirectoryShare::Multiple(directories.map(|(name, directory)| (name.to_owned(), directory)).into()))).unwrap();
    guest.run("ls /m | tr '\\n' ,; echo ''", "new,read only,");
    guest.run("cat /m/new/file '/m/read only/file'; echo ''", "bothonly");
    guest.run("echo newer >/m/new/newer; echo written $?", "written 0");
    assert_eq!(std::fs::read_to_string(both.join("newer")).unwrap(), "newer\n");
    guest.run("while cat /m/work/file; do sleep 1; done 2>/dev/null; echo gone $?", "gone 0");
    sharing.set_share(None).unwrap();
    guest.run("while cat /m/new/file; do sleep 1; done 2>/dev/null; ls -A /m | wc -l | sed 's/^/left /'", "left 0");

    // A driver that begins anew finds what is shared by then, also where that is of another kind.
    let anew = "umount /m; cd /sys/bus/virtio/drivers/virtiofs; for i in virtio*; do echo $i >unbind; echo $i >bind; done; cd /; \
                mount -t virtiofs all /m; echo mounted $?";
    sharing.set_share(Some(SharedDirectory::read_only(&only).into())).unwrap();
    guest.run(anew, "mounted 0");
    guest.run("cat /m/file; echo ''", "only");
    sharing.set_share(None).unwrap();
    guest.run(anew, "mounted 0");
    guest.run("ls -A /m | wc -l | sed 's/^/files /'", "files 0");
    guest.power_off();
}
