//! Configurations, names, drives and media of machines that do not run.

mod home;

use std::fs;

use bundle::Configuration;
use bundle::qemu::{DriveInterface, ImageType};
use home::{Home, has_qemu_img, names, run};
use library::{BootFileKind, Deletion, DiskFormat, DiskSpec, DriveSpec, Error, ErrorKind, ImageFate, Job, RemovableKind};
use machine::State;

#[test]
fn a_machine_is_renamed_with_its_bundle() {
    let home = Home::new();
    let machine = run(home.machine("Old")).machine;
    run(home.machine("Other"));
    let renamed = home.library.rename(&machine, "New: one").unwrap();
    assert_eq!(home.entries(), ["New- one.utm", "Other.utm"]);
    assert_eq!((renamed.name.as_str(), renamed.uuid, &renamed.id), ("New: one", machine.uuid, &machine.id));
    assert_eq!(home.library.rename(&renamed, "Other").unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(home.library.rename(&renamed, " x").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(home.library.rename(&renamed, "New: one").unwrap(), renamed);
    // The same file name: only the configuration changes.
    assert_eq!(home.library.rename(&renamed, "New/ one").unwrap().path, renamed.path);
    assert_eq!(home.entries(), ["New- one.utm", "Other.utm"]);
}

#[test]
fn an_edit_is_written_whole_or_not_at_all() {
    let home = Home::new();
    let machine = run(home.machine("E")).machine;
    let file = machine.path.join("config.plist");
    let before = fs::read(&file).unwrap();
    let failed = home.library.edit(&machine, |configuration| {
        configuration.information_mut().notes = Some("lost".into());
        Err::<(), _>(Error::new(ErrorKind::Invalid, "no"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    let unusable = home.library.edit(&machine, |configuration| {
        let Configuration::Qemu(qemu) = configuration else { panic!() };
        let twin = qemu.drives[0].clone();
        qemu.drives.push(twin);
        Ok(())
    });
    let unusable = unusable.unwrap_err();
    assert_eq!(unusable.kind(), ErrorKind::Invalid);
    assert!(!unusable.problems().is_empty());
    let control = home.library.edit(&machine, |configuration| {
        configuration.information_mut().notes = Some("\u{1}".into());
        Ok(())
    });
    assert_eq!(control.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fs::read(&file).unwrap(), before);
    let answer = home.library.edit(&machine, |configuration| {
        configuration.information_mut().notes = Some("kept".into());
        Ok(42)
    });
    assert_eq!(answer.unwrap(), 42);
    assert_eq!(home.library.configuration(&machine).unwrap().configuration.information().notes.as_deref(), Some("kept"));
}

#[test]
fn what_is_remembered_follows_a_new_uuid() {
    let home = Home::new();
    let machine = run(home.machine("U")).machine;
    let registry = bundle::registry::Registry::new(home.library.places().registry());
    registry.update(machine.uuid.unwrap(), &machine.path, |entry| entry.suspended = true).unwrap();
    let new = uuid::Uuid::new_v4();
    home.library
        .edit(&machine, |configuration| {
            configuration.information_mut().uuid = new;
            Ok(())
        })
        .unwrap();
    assert!(registry.read(new, &machine.path).unwrap().0.suspended);
    assert_eq!(registry.machines().unwrap(), [new]);
}

#[test]
fn media_of_a_stopped_machine_are_remembered() {
    let home = Home::new();
    let machine = run(home.machine("M")).machine;
    let iso = home.folder.path().join("a.iso");
    fs::write(&iso, "x").unwrap();
    let cd = run(home.library.drive_add(
        &machine,
        DriveSpec::Removable { kind: RemovableKind::Cd, medium: None, interface: None },
        &Job::silent(),
    ))
    .unwrap();
    run(home.library.insert(&machine, &cd[..8].to_lowercase(), &iso, false)).unwrap();
    let drive = home.library.drives(&machine).unwrap().remove(1);
    assert_eq!(drive.path.as_deref(), Some(iso.canonicalize().unwrap().as_path()));
    let status = run(home.library.status(&machine)).unwrap();
    assert_eq!((status.state, status.drives.len()), (State::Stopped, 2));
    assert_eq!(status.drives[1].medium, drive.path);
    assert_eq!(run(home.library.insert(&machine, "0", &iso, false)).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(run(home.library.insert(&machine, "7", &iso, false)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(run(home.library.insert(&machine, "1", &home.folder.path().join("no"), false)).unwrap_err().kind(), ErrorKind::NotFound);
    run(home.library.eject(&machine, "1", false)).unwrap();
    assert_eq!(home.library.drives(&machine).unwrap()[1].path, None);
}

#[test]
fn drives_come_and_go() {
    let home = Home::new();
    let machine = run(home.machine("D")).machine;
    let add = |spec| run(home.library.drive_add(&machine, spec, &Job::silent()));
    let raw = DiskSpec { format: Some(DiskFormat::Raw), interface: Some(DriveInterface::Nvme), ..DiskSpec::of_size(1 << 20) };
    let id = add(DriveSpec::Disk(raw)).unwrap();
    let kernel = home.folder.path().join("bzImage");
    fs::write(&kernel, "k").unwrap();
    add(DriveSpec::BootFile { kind: BootFileKind::Kernel, source: kernel }).unwrap();
    let drives = home.library.drives(&machine).unwrap();
    let kinds: Vec<&str> = drives.iter().map(|drive| drive.image_type.as_str()).collect();
    assert_eq!(kinds, [ImageType::Disk.as_str(), ImageType::Disk.as_str(), ImageType::LinuxKernel.as_str()]);
    assert_eq!(drives[1].interface, "NVMe");
    assert_eq!(names(&machine.path.join("Data")).len(), 3);

    run(home.library.drive_resize(&machine, &id, 3 << 20, &Job::silent())).unwrap();
    assert_eq!(home.library.drives(&machine).unwrap()[1].virtual_size, Some(3 << 20));
    let smaller = run(home.library.drive_resize(&machine, "1", 1 << 20, &Job::silent())).unwrap_err();
    assert_eq!(smaller.kind(), ErrorKind::Unsupported);
    assert!(!run(home.library.drive_check(&machine, "1", false, &Job::silent())).unwrap().checkable);

    run(home.library.drive_remove(&machine, &id, ImageFate::Delete)).unwrap();
    assert_eq!(names(&machine.path.join("Data")).len(), 2);
    assert!(!bundle::Images::read(&machine.path).unwrap().iter().any(|(name, _)| name.starts_with(&id)));
    assert_eq!(add(DriveSpec::Disk(DiskSpec::default())).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(
        add(DriveSpec::Disk(DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(u64::MAX) })).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(home.library.drives(&machine).unwrap().len(), 2);
}

#[test]
fn a_disk_is_converted_there_and_back_without_loss() {
    if !has_qemu_img() {
        return;
    }
    let home = Home::new();
    let machine = run(home.machine("C")).machine;
    let drive = || home.library.drives(&machine).unwrap().remove(0);
    let content = fs::read(drive().path.unwrap()).unwrap();
    let convert = |format, compress| run(home.library.drive_convert(&machine, "0", format, compress, &Job::silent()));
    convert(DiskFormat::Qcow2, true).unwrap();
    assert_eq!(drive().format.as_deref(), Some("qcow2"));
    assert_eq!(names(&machine.path.join("Data")).len(), 1);
    // In place.
    convert(DiskFormat::Qcow2, false).unwrap();
    run(home.library.drive_resize(&machine, "0", 64 << 20, &Job::silent())).unwrap();
    let report = run(home.library.drive_check(&machine, "0", true, &Job::silent())).unwrap();
    assert!(report.checkable && report.is_clean());
    assert_eq!(convert(DiskFormat::Raw, true).unwrap_err().kind(), ErrorKind::Invalid);
    fs::create_dir(machine.path.join("Data/.partial-left")).unwrap();
    convert(DiskFormat::Raw, false).unwrap();
    assert_eq!(drive().format.as_deref(), Some("raw"));
    let after = fs::read(drive().path.unwrap()).unwrap();
    assert_eq!(after.len(), 64 << 20);
    assert_eq!(after[..content.len()], content);
    assert_eq!(names(&machine.path.join("Data")).len(), 1);
    let cancelled = library::Cancel::new();
    cancelled.cancel();
    let job = Job::new(|_| {}, cancelled);
    let refused = run(home.library.drive_convert(&machine, "0", DiskFormat::Qcow2, false, &job)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Cancelled);
    assert_eq!(names(&machine.path.join("Data")).len(), 1);
}

#[test]
fn leaks_are_repaired_on_a_copy() {
    if !has_qemu_img() {
        return;
    }
    let home = Home::new();
    let spec = library::CreateSpec { name: Some("R".into()), disks: Some(vec![DiskSpec::of_size(1 << 30)]), ..Default::default() };
    let machine = run(home.library.create(spec, &Job::silent())).unwrap().machine;
    let image = home.library.drives(&machine).unwrap().remove(0).path.unwrap();
    // A reference count for a cluster that nothing uses: offset of the table at byte 48 of the header, of its first block in it.
    let mut bytes = fs::read(&image).unwrap();
    let offset = |bytes: &[u8], at: usize| usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let block = offset(&bytes, offset(&bytes, 48));
    bytes[block + 2 * 40..block + 2 * 40 + 2].copy_from_slice(&1_u16.to_be_bytes());
    bytes.resize(41 << 16, 0);
    fs::write(&image, bytes).unwrap();
    let check = |repair| run(home.library.drive_check(&machine, "0", repair, &Job::silent())).unwrap();
    assert_eq!(check(false).leaks, 1);
    let repaired = check(true);
    assert!(repaired.is_clean() && repaired.repaired == 1 && repaired.original.is_none(), "{repaired:?}");
    assert!(check(false).is_clean());
    assert_eq!(names(&machine.path.join("Data")).len(), 1);
}

#[test]
fn a_repair_of_more_than_leaks_keeps_the_original() {
    if !has_qemu_img() {
        return;
    }
    let home = Home::new();
    let source = home.folder.path().join("source.img");
    fs::write(&source, vec![7_u8; 4 << 20]).unwrap();
    let disk = DiskSpec { source: Some(source), format: Some(DiskFormat::Qcow2), ..DiskSpec::default() };
    let spec = library::CreateSpec { name: Some("R".into()), disks: Some(vec![disk]), ..Default::default() };
    let machine = run(home.library.create(spec, &Job::silent())).unwrap().machine;
    let image = home.library.drives(&machine).unwrap().remove(0).path.unwrap();
    // A cluster of the disk that counts as free: the next write of the guest would be put upon it.
    let mut bytes = fs::read(&image).unwrap();
    let offset = |bytes: &[u8], at: usize| usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let block = offset(&bytes, offset(&bytes, 48));
    bytes[block + 2 * 20..block + 2 * 20 + 2].fill(0);
    fs::write(&image, &bytes).unwrap();
    let check = |repair| run(home.library.drive_check(&machine, "0", repair, &Job::silent())).unwrap();
    // It is counted wrongly, and its entry in the table says otherwise.
    assert_eq!(check(false).corruptions, 2);
    assert_eq!(fs::read(&image).unwrap(), bytes);
    let repaired = check(true);
    assert!(repaired.is_clean() && repaired.repaired > 0, "{repaired:?}");
    let original = repaired.original.unwrap();
    assert_eq!(original, image.with_extension("before-repair.qcow2"));
    assert_eq!(fs::read(&original).unwrap(), bytes);
    assert_ne!(fs::read(&image).unwrap(), bytes);
    assert_eq!(check(false), library::CheckReport { checkable: true, ..Default::default() });
    assert_eq!(names(&machine.path.join("Data")).len(), 2);
}

#[test]
fn images_of_an_unfinished_change_stay_only_where_a_drive_uses_them() {
    let home = Home::new();
    let machine = run(home.machine("U")).machine;
    let data = machine.path.join("Data");
    let used = names(&data).remove(0);
    fs::write(data.join("left.qcow2"), "left").unwrap();
    fs::write(data.join("a person's.txt"), "kept").unwrap();
    let note = data.join(".partial-change-1");
    fs::create_dir(&note).unwrap();
    for name in [used.as_str(), "left.qcow2", "never-made.raw"] {
        fs::write(note.join(name), "").unwrap();
    }
    let small = DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(1 << 20) };
    run(home.library.drive_add(&machine, DriveSpec::Disk(small), &Job::silent())).unwrap();
    let left = names(&data);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.contains(&used) && left.contains(&"a person's.txt".to_owned()), "{left:?}");
}

#[test]
fn a_machine_is_deleted_for_good_even_when_it_is_broken() {
    let home = Home::new();
    let machine = run(home.machine("Gone")).machine;
    let registry = bundle::registry::Registry::new(home.library.places().registry());
    registry.update(machine.uuid.unwrap(), &machine.path, |entry| entry.suspended = true).unwrap();
    run(home.library.delete(&machine, Deletion::Permanent)).unwrap();
    assert!(home.entries().is_empty() && registry.machines().unwrap().is_empty());
    assert_eq!(run(home.library.delete(&machine, Deletion::Permanent)).unwrap_err().kind(), ErrorKind::NotFound);

    let broken = home.machines().join("Broken.utm");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("config.plist"), "x").unwrap();
    run(home.library.delete(&home.library.find("Broken").unwrap(), Deletion::Permanent)).unwrap();
    assert!(home.library.machines().is_empty());
}

#[test]
fn a_folder_that_is_no_bundle_is_neither_found_nor_deleted() {
    let home = Home::new();
    let folder = home.elsewhere("precious");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("letter.txt"), "dear").unwrap();
    let bare = home.elsewhere("bare.utm");
    fs::create_dir_all(&bare).unwrap();
    fs::write(bare.join("letter.txt"), "dear").unwrap();
    for path in [&folder, &bare] {
        assert!(home.library.find(path.to_str().unwrap()).is_err(), "{}", path.display());
        // Not even where somebody hands it over as a machine.
        let handed = home.library.machine_at(path).unwrap();
        for deletion in [Deletion::Permanent, Deletion::Trash] {
            let refused = run(home.library.delete(&handed, deletion)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
        }
        assert_eq!(fs::read_to_string(path.join("letter.txt")).unwrap(), "dear");
    }

    // A machine that is called like a folder is the machine.
    let named = run(home.machine(folder.to_str().unwrap())).machine;
    let found = home.library.find(folder.to_str().unwrap()).unwrap();
    assert_eq!(found.path, named.path);
    run(home.library.delete(&found, Deletion::Permanent)).unwrap();
    assert!(folder.join("letter.txt").exists() && !named.path.exists());
}

#[test]
fn a_machine_of_an_old_format_is_found_and_brought_over_by_a_change() {
    let home = Home::new();
    let path = home.machines().join("Antique.utm");
    fs::create_dir_all(path.join("Images")).unwrap();
    let text = "<plist version=\"1.0\"><dict><key>ConfigurationVersion</key><integer>2</integer><key>System</key><dict>\
        <key>Architecture</key><string>x86_64</string><key>Target</key><string>q35</string><key>Memory</key><integer>512</integer></dict></dict></plist>";
    fs::write(path.join("config.plist"), text).unwrap();
    let machine = home.library.find("Antique").unwrap();
    assert!(machine.summary().is_some(), "{machine:?}");
    let renamed = home.library.rename(&machine, "Modern").unwrap();
    assert_eq!(home.entries(), ["Modern.utm"]);
    assert_eq!(home.library.configuration(&renamed).unwrap().origin, bundle::Origin::V4);
}

#[test]
fn a_drive_is_added_to_a_machine_of_an_old_format() {
    let home = Home::new();
    let path = home.machines().join("Antique.utm");
    fs::create_dir_all(path.join("Images")).unwrap();
    fs::write(path.join("Images/disk.img"), [1; 4096]).unwrap();
    let text = "<plist version=\"1.0\"><dict><key>ConfigurationVersion</key><integer>2</integer><key>System</key><dict>\
        <key>Architecture</key><string>x86_64</string><key>Target</key><string>q35</string><key>Memory</key><integer>512</integer></dict></dict></plist>";
    fs::write(path.join("config.plist"), text).unwrap();
    let machine = home.library.find("Antique").unwrap();
    let disk = DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(1 << 20) };
    run(home.library.drive_add(&machine, DriveSpec::Disk(disk), &Job::silent())).unwrap();
    assert_eq!(home.library.drives(&machine).unwrap().len(), 1);
    assert_eq!(names(&path.join("Data")).len(), 2);
}

#[test]
fn no_image_is_made_outside_of_the_bundle() {
    let home = Home::new();
    let machine = run(home.machine("L")).machine;
    let outside = home.elsewhere("outside");
    fs::create_dir(outside.join(".partial-work")).unwrap();
    fs::rename(machine.path.join("Data"), home.folder.path().join("data")).unwrap();
    std::os::unix::fs::symlink(&outside, machine.path.join("Data")).unwrap();
    let disk = DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(1 << 20) };
    let refused = run(home.library.drive_add(&machine, DriveSpec::Disk(disk), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(names(&outside), [".partial-work"]);
}

#[test]
fn what_another_disk_is_built_on_stays() {
    if !has_qemu_img() {
        return;
    }
    let home = Home::new();
    let machine = run(home.machine("Base")).machine;
    let overlay = DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(16 << 20) };
    run(home.library.drive_add(&machine, DriveSpec::Disk(overlay), &Job::silent())).unwrap();
    let drives = home.library.drives(&machine).unwrap();
    let (base, overlay) = (drives[0].path.clone().unwrap(), drives[1].path.clone().unwrap());
    let made =
        std::process::Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).args([&base, &overlay]).status();
    assert!(made.unwrap().success());
    fs::remove_dir_all(machine.path.join("Vivarium")).unwrap();
    run(home.library.drive_convert(&machine, "0", DiskFormat::Qcow2, false, &Job::silent())).unwrap();
    assert!(base.exists());
    assert_ne!(home.library.drives(&machine).unwrap()[0].path.as_ref(), Some(&base));
    run(home.library.drive_convert(&machine, "0", DiskFormat::Raw, false, &Job::silent())).unwrap();
    run(home.library.drive_remove(&machine, "0", ImageFate::Delete)).unwrap();
    assert!(base.exists() && home.library.drives(&machine).unwrap()[0].virtual_size == Some(16 << 20));
}

#[test]
fn a_bundle_that_may_not_be_written_is_read_and_refuses_changes() {
    if rustix::process::getuid().is_root() {
        eprintln!("not possible here: root may write everything");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let machine = run(home.machine("Fixed")).machine;
    fs::set_permissions(&machine.path, fs::Permissions::from_mode(0o555)).unwrap();
    let refused = home.library.edit(&machine, |configuration| {
        configuration.information_mut().notes = Some("x".into());
        Ok(())
    });
    let clone = run(home.library.clone_machine(&machine, None, &Job::silent()));
    fs::set_permissions(&machine.path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Io);
    assert!(clone.unwrap().machine.summary().is_some());
    assert_eq!(home.library.machines().len(), 2);
}
