//! Shared directories, as a real guest mounts them. They need virtiofsd, which `cargo xtask setup` installs.

use std::os::unix::fs::symlink;

use virtualization::{Event, SharedDirectory, VirtioFileSystemDevice};

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
