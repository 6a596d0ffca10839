//! Clones, exports, imports and moves.

mod home;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bundle::Configuration;
use home::{Home, has_qemu_img, names, run, spec};
use library::{Cancel, CreateSpec, DiskFormat, DiskSpec, ErrorKind, ExportFormat, ImportOptions, Job, Library, Machine};
use zip::write::SimpleFileOptions;

fn configuration(library: &Library, machine: &Machine) -> bundle::qemu::Configuration {
    let Configuration::Qemu(qemu) = library.configuration(machine).unwrap().configuration else { panic!() };
    qemu
}

fn disk(library: &Library, machine: &Machine) -> Vec<u8> {
    fs::read(library.drives(machine).unwrap().remove(0).path.unwrap()).unwrap()
}

#[test]
fn a_clone_is_a_machine_of_its_own_with_the_same_disk() {
    let home = Home::new();
    let made = run(home.machine("Base"));
    fs::write(made.machine.path.join("Data/debug.log"), "old").unwrap();
    let clone = run(home.library.clone_machine(&made.machine, None, &Job::silent())).unwrap().machine;
    assert_eq!(clone.name, "Base 2");
    assert_ne!(clone.uuid, made.machine.uuid);
    assert_ne!(clone.id, made.machine.id);
    let (before, after) = (configuration(&home.library, &made.machine), configuration(&home.library, &clone));
    assert_ne!(before.networks[0].mac_address, after.networks[0].mac_address);
    assert_eq!(before.drives, after.drives);
    assert_eq!(disk(&home.library, &made.machine), disk(&home.library, &clone));
    assert!(!clone.path.join("Data/debug.log").exists());
    // Holes stayed holes, or blocks are shared.
    let image = home.library.drives(&clone).unwrap().remove(0).path.unwrap();
    assert!(fs::metadata(image).unwrap().blocks() * 512 < 8 << 20);
    let third = run(home.library.clone_machine(&clone, None, &Job::silent())).unwrap().machine;
    assert_eq!(third.name, "Base 3");
    let refused = run(home.library.clone_machine(&clone, Some("Base"), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);
    assert_eq!(home.entries(), ["Base 2.utm", "Base 3.utm", "Base.utm"]);
}

#[test]
fn a_used_machine_is_neither_cloned_exported_moved_nor_deleted() {
    let home = Home::new();
    let machine = run(home.machine("Used")).machine;
    let outside = home.elsewhere("outside");
    let _lock = bundle::Bundle::lock(&machine.path).unwrap();
    let job = Job::silent();
    let kinds = run(async {
        [
            home.library.clone_machine(&machine, None, &job).await.map(drop),
            home.library.export(&machine, &outside, ExportFormat::Folder, false, &job).await.map(drop),
            home.library.move_to(&machine, &outside, &job).await.map(drop),
            home.library.delete(&machine, library::Deletion::Permanent).await,
            home.library.drive_resize(&machine, "0", 1 << 30, &job).await,
            home.library.drive_remove(&machine, "0", library::ImageFate::Delete).await,
            home.library.edit(&machine, |_| Ok(())),
        ]
        .map(|result| result.unwrap_err().kind())
    });
    assert_eq!(kinds, [ErrorKind::WrongState; 7]);
    assert!(names(&outside).is_empty());
    assert_eq!(home.entries(), ["Used.utm"]);
}

#[test]
fn an_export_comes_back_by_import() {
    for format in [ExportFormat::Folder, ExportFormat::Zip] {
        let (home, other) = (Home::new(), Home::new());
        let machine = run(home.machine("Über 1/2")).machine;
        let outside = home.elsewhere("outside");
        let exported = run(home.library.export(&machine, &outside, format, false, &Job::silent())).unwrap();
        let name = if format == ExportFormat::Zip { "Über 1-2.utm.zip" } else { "Über 1-2.utm" };
        assert_eq!(names(&outside), [name]);
        let again = run(home.library.export(&machine, &outside, format, false, &Job::silent())).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Exists);
        run(home.library.export(&machine, &outside, format, true, &Job::silent())).unwrap();
        assert_eq!(names(&outside), [name]);

        let imported = run(other.library.import(&exported, ImportOptions::default(), &Job::silent())).unwrap();
        assert_eq!((imported.machine.name.as_str(), imported.machine.uuid), ("Über 1/2", machine.uuid));
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
        assert_eq!(disk(&other.library, &imported.machine), disk(&home.library, &machine));
        let file = |machine: &Machine| fs::read(machine.path.join("config.plist")).unwrap();
        assert_eq!(file(&imported.machine), file(&machine));
        let image = other.library.drives(&imported.machine).unwrap().remove(0).path.unwrap();
        assert!(fs::metadata(image).unwrap().blocks() * 512 < 8 << 20, "zeros became holes");

        // A second time: another name, another UUID, and both are said.
        let second = run(other.library.import(&exported, ImportOptions::default(), &Job::silent())).unwrap();
        assert_eq!(second.machine.name, "Über 1/2 2");
        assert_ne!(second.machine.uuid, machine.uuid);
        assert_eq!(second.notes.len(), 2, "{:?}", second.notes);
        let options = ImportOptions { name: Some("Über 1/2".into()), ..ImportOptions::default() };
        assert_eq!(run(other.library.import(&exported, options, &Job::silent())).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(other.entries().len(), 2);
    }
}

#[test]
fn an_export_never_replaces_a_machine_or_a_persons_folder() {
    let home = Home::new();
    let machine = run(home.machine("A")).machine;
    let other = run(home.machine("B")).machine;
    let precious = home.elsewhere("precious.utm");
    fs::write(precious.join("letter.txt"), "dear").unwrap();
    for target in [&other.path, &machine.path, &precious] {
        let refused = run(home.library.export(&machine, target, ExportFormat::Folder, true, &Job::silent())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exists, "{}", target.display());
    }
    assert!(precious.join("letter.txt").is_file() && other.path.join("config.plist").is_file());

    // By another name of the library's folder, too.
    let alias = home.folder.path().join("alias");
    std::os::unix::fs::symlink(home.machines(), &alias).unwrap();
    for target in [alias.join("B.utm"), alias.join("A.utm"), alias.join("A.utm/inside.utm")] {
        let refused = run(home.library.export(&machine, &target, ExportFormat::Folder, true, &Job::silent())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exists, "{}", target.display());
    }
    // And into itself it would never end.
    let refused = run(home.library.export(&machine, &machine.path, ExportFormat::Zip, true, &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);

    // A bundle that is no machine of the library is replaced, but not while it is in use.
    let exported = run(home.library.export(&machine, &home.elsewhere("outside"), ExportFormat::Folder, false, &Job::silent())).unwrap();
    let lock = bundle::Bundle::lock(&exported).unwrap();
    let refused = run(home.library.export(&other, &exported, ExportFormat::Folder, true, &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongState);
    drop(lock);
    run(home.library.export(&other, &exported, ExportFormat::Folder, true, &Job::silent())).unwrap();
    assert_eq!(bundle::Bundle::open(&exported).unwrap().configuration.name(), "B");
    assert_eq!(names(&home.elsewhere("outside")).len(), 1);
}

#[test]
fn a_linked_bundle_stays_where_it_is() {
    let (home, other) = (Home::new(), Home::new());
    let machine = run(home.machine("Linked")).machine;
    let options = ImportOptions { link: true, ..ImportOptions::default() };
    let made = run(other.library.import(&machine.path, options, &Job::silent())).unwrap();
    assert!(made.machine.registered);
    assert_eq!(other.library.find("Linked").unwrap().path, machine.path.canonicalize().unwrap());
    assert!(other.entries().is_empty());
}

#[test]
fn arguments_that_come_with_an_import_are_said() {
    let (home, other) = (Home::new(), Home::new());
    let machine = run(home.machine("Args")).machine;
    home.library
        .edit(&machine, |configuration| {
            let Configuration::Qemu(qemu) = configuration else { panic!() };
            qemu.qemu.additional_arguments = vec!["-monitor".into(), "stdio".into()];
            Ok(())
        })
        .unwrap();
    let made = run(other.library.import(&machine.path, ImportOptions::default(), &Job::silent())).unwrap();
    assert!(made.notes.iter().any(|note| note.contains("-monitor stdio")), "{:?}", made.notes);

    // Used where a person wrote or confirmed them, and in clones of such machines.
    let trusted = |home: &Home, machine: &Machine| {
        let registry = bundle::registry::Registry::new(home.library.places().registry());
        registry.read(machine.uuid.unwrap(), &machine.path).unwrap().0.trusted_arguments
    };
    assert_eq!(trusted(&home, &machine), ["-monitor", "stdio"]);
    let clone = |home: &Home, machine: &Machine| run(home.library.clone_machine(machine, None, &Job::silent())).unwrap().machine;
    assert_eq!(trusted(&home, &clone(&home, &machine)), ["-monitor", "stdio"]);
    assert!(trusted(&other, &made.machine).is_empty());
    assert!(trusted(&other, &clone(&other, &made.machine)).is_empty());
    assert_eq!(other.library.trust_arguments(&made.machine).unwrap(), ["-monitor", "stdio"]);
    assert_eq!(trusted(&other, &made.machine), ["-monitor", "stdio"]);
}

#[test]
fn an_old_bundle_s_windows_arrive_and_its_paths_are_only_told() {
    let home = Home::new();
    let old = home.elsewhere("Old.utm");
    fs::create_dir(old.join("Images")).unwrap();
    let configuration = "<plist version=\"1.0\"><dict><key>ConfigurationVersion</key><integer>2</integer><key>System</key><dict>\
        <key>Architecture</key><string>x86_64</string><key>Target</key><string>q35</string></dict></dict></plist>";
    fs::write(old.join("config.plist"), configuration).unwrap();
    let view = "<plist version=\"1.0\"><dict><key>DisplayScale</key><real>2</real><key>Suspended</key><true/>\
        <key>SharedDirectoryPath</key><string>/Users/me/Documents</string><key>RemovableDrivesPath</key><dict>\
        <key>drive0</key><string>/Users/me/install.iso</string></dict></dict></plist>";
    fs::write(old.join("view.plist"), view).unwrap();

    let made = run(home.library.import(&old, ImportOptions::default(), &Job::silent())).unwrap();
    let registry = bundle::registry::Registry::new(home.library.places().registry());
    let (entry, _) = registry.read(made.machine.uuid.unwrap(), &made.machine.path).unwrap();
    assert!(entry.suspended && entry.window_settings["0"].scale == 2.0);
    assert!(entry.shared_directories.is_empty() && entry.external_drives.is_empty());
    let notes = made.notes.join("\n");
    assert!(notes.contains("/Users/me/install.iso") && notes.contains("/Users/me/Documents") && notes.contains("suspended"), "{notes}");
    assert_eq!(fs::read_to_string(made.machine.path.join("view.plist.migrated")).unwrap(), view);
    assert!(!made.machine.path.join("view.plist").exists());
    // The original, and one that stays where it is until it runs, are left alone.
    assert!(old.join("view.plist").exists());
    let notes = run(home.library.import(&old, ImportOptions { link: true, ..ImportOptions::default() }, &Job::silent())).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("/Users/me/install.iso")), "{notes:?}");
    assert!(old.join("view.plist").exists());
}

#[test]
fn an_import_gets_nothing_that_another_machine_was_given() {
    let (home, other) = (Home::new(), Home::new());
    let machine = run(home.machine("A")).machine;
    let exported = run(home.library.export(&machine, &home.elsewhere("outside"), ExportFormat::Folder, false, &Job::silent())).unwrap();
    let registry = bundle::registry::Registry::new(other.library.places().registry());
    let folder = bundle::registry::HostFile::new("/home/me/Documents", false);
    registry.update(machine.uuid.unwrap(), &machine.path, |entry| entry.shared_directories.push(folder)).unwrap();
    let imported = run(other.library.import(&exported, ImportOptions::default(), &Job::silent())).unwrap();
    assert_ne!(imported.machine.uuid, machine.uuid);
    assert!(imported.notes.iter().any(|note| note.contains("UUID")), "{:?}", imported.notes);
}

#[test]
fn a_broken_bundle_is_not_imported() {
    let home = Home::new();
    let broken = home.elsewhere("Broken.utm");
    fs::write(broken.join("config.plist"), "<plist><dict><key>Backend</key><string>QEMU</string></dict></plist>").unwrap();
    let refused = run(home.library.import(&broken, ImportOptions::default(), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(!refused.problems().is_empty());
    assert!(home.entries().is_empty());
}

/// Packs these entries; a name that ends in `/` is a folder.
fn archive(home: &Home, entries: &[(&str, &[u8])]) -> PathBuf {
    let path = home.folder.path().join("archive.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, content) in entries {
        if name.ends_with('/') {
            zip.add_directory(*name, SimpleFileOptions::default()).unwrap();
        } else {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
    }
    zip.finish().unwrap();
    path
}

fn good_configuration(home: &Home) -> Vec<u8> {
    let made = run(home.library.create(CreateSpec { disks: Some(Vec::new()), ..spec("Packed") }, &Job::silent())).unwrap();
    let bytes = fs::read(made.machine.path.join("config.plist")).unwrap();
    run(home.library.delete(&made.machine, library::Deletion::Permanent)).unwrap();
    bytes
}

#[test]
fn only_the_bundle_is_taken_from_an_archive() {
    let home = Home::new();
    let configuration = good_configuration(&home);
    let path = archive(
        &home,
        &[
            ("__MACOSX/X.utm/._config.plist", b"junk"),
            ("README.txt", b"hello"),
            ("folder/X.utm/", b""),
            ("folder/X.utm/config.plist", &configuration),
            ("folder/X.utm/Data/note", b"kept"),
        ],
    );
    let made = run(home.library.import(&path, ImportOptions::default(), &Job::silent())).unwrap();
    assert_eq!(made.machine.name, "Packed");
    assert_eq!(home.entries(), ["Packed.utm"]);
    assert_eq!(names(&made.machine.path), ["Data", "config.plist"]);
    assert_eq!(fs::read(made.machine.path.join("Data/note")).unwrap(), b"kept");
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let home = Home::new();
    let configuration = good_configuration(&home);
    type Case<'a> = (&'a str, Vec<(&'a str, &'a [u8])>);
    let cases: [Case<'_>; 8] = [
        ("parent", vec![("X.utm/config.plist", &configuration), ("X.utm/../../evil", b"x")]),
        ("absolute", vec![("/tmp/evil.utm/config.plist", b"x")]),
        ("backslash", vec![("X.utm/config.plist", &configuration), ("X.utm\\..\\evil", b"x")]),
        ("two machines", vec![("X.utm/config.plist", &configuration), ("Y.utm/config.plist", b"x")]),
        ("file as folder", vec![("X.utm/config.plist", &configuration), ("X.utm/Data", b"x"), ("X.utm/Data/y", b"x")]),
        ("deep", vec![("X.utm/config.plist", &configuration), ("X.utm/1/2/3/4/5/6/7/8/9/y", b"x")]),
        ("no configuration", vec![("X.utm/Data/y", b"x")]),
        ("bundle is a file", vec![("X.utm", b"x")]),
    ];
    for (what, entries) in cases {
        let path = archive(&home, &entries);
        let refused = run(home.library.import(&path, ImportOptions::default(), &Job::silent())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{what}: {}", refused.chain());
        assert!(home.entries().is_empty(), "{what}: {:?}", home.entries());
    }
    let path = archive(&home, &[("README", b"x")]);
    assert_eq!(run(home.library.import(&path, ImportOptions::default(), &Job::silent())).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(!home.folder.path().join("evil").exists() && !Path::new("/tmp/evil.utm").exists());
}

#[test]
fn a_link_in_an_archive_is_refused() {
    let home = Home::new();
    let configuration = good_configuration(&home);
    let path = home.folder.path().join("link.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    zip.start_file("X.utm/config.plist", SimpleFileOptions::default()).unwrap();
    zip.write_all(&configuration).unwrap();
    zip.add_symlink("X.utm/Data", "/etc", SimpleFileOptions::default()).unwrap();
    zip.start_file("X.utm/Data/passwd", SimpleFileOptions::default()).unwrap();
    zip.write_all(b"x").unwrap();
    zip.finish().unwrap();
    let refused = run(home.library.import(&path, ImportOptions::default(), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("link"), "{refused}");
    assert!(home.entries().is_empty());
}

#[test]
fn a_damaged_archive_is_refused_wherever_it_is_cut() {
    let home = Home::new();
    let configuration = good_configuration(&home);
    let path = archive(&home, &[("X.utm/config.plist", &configuration), ("X.utm/Data/d", &[1; 5000])]);
    let whole = fs::read(&path).unwrap();
    for length in [10, 200, whole.len() / 2, whole.len() - 5] {
        fs::write(&path, &whole[..length]).unwrap();
        let refused = run(home.library.import(&path, ImportOptions::default(), &Job::silent())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{length}: {}", refused.chain());
    }
    // Content that was changed is noticed by its checksum.
    let mut changed = whole.clone();
    let at = whole.windows(10).position(|window| window == b"X.utm/Data").unwrap() + 16;
    changed[at] ^= 0xff;
    fs::write(&path, changed).unwrap();
    assert!(run(home.library.import(&path, ImportOptions::default(), &Job::silent())).is_err());
    assert!(home.entries().is_empty());
}

#[test]
fn disk_images_and_cds_become_machines() {
    let home = Home::new();
    let raw = home.folder.path().join("disk.img");
    fs::write(&raw, vec![5; 1 << 20]).unwrap();
    let keep = ImportOptions { keep_format: true, ..ImportOptions::default() };
    let made = run(home.library.import(&raw, keep, &Job::silent())).unwrap();
    assert_eq!(made.machine.name, "disk");
    assert_eq!(home.library.drives(&made.machine).unwrap()[0].format.as_deref(), Some("raw"));
    assert_eq!(disk(&home.library, &made.machine), vec![5; 1 << 20]);

    let mut content = vec![0; 40 << 10];
    content[0x8001..0x8006].copy_from_slice(b"CD001");
    let iso = home.folder.path().join("Installer.iso");
    fs::write(&iso, content).unwrap();
    let options = ImportOptions { machine: CreateSpec { disks: Some(Vec::new()), ..CreateSpec::default() }, ..ImportOptions::default() };
    let made = run(home.library.import(&iso, options, &Job::silent())).unwrap();
    let drives = home.library.drives(&made.machine).unwrap();
    assert_eq!((made.machine.name.as_str(), drives.len()), ("Installer", 1));
    assert!(drives[0].removable && drives[0].path.is_some());

    let text = home.folder.path().join("letter.txt");
    fs::write(&text, "dear").unwrap();
    let refused = run(home.library.import(&text, ImportOptions::default(), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[test]
fn an_image_is_converted_and_one_that_names_other_files_is_refused() {
    if !has_qemu_img() {
        return;
    }
    let home = Home::new();
    let raw = home.folder.path().join("disk.img");
    fs::write(&raw, vec![5; 1 << 20]).unwrap();
    let made = run(home.library.import(&raw, ImportOptions::default(), &Job::silent())).unwrap();
    let drive = home.library.drives(&made.machine).unwrap().remove(0);
    assert_eq!((drive.format.as_deref(), drive.virtual_size), (Some("qcow2"), Some(1 << 20)));

    let overlay = home.folder.path().join("overlay.qcow2");
    let backing = disk_image::Backing { file: raw, format: disk_image::Format::Raw };
    let create = disk_image::Create {
        format: disk_image::Format::Qcow2,
        size: None,
        backing: Some(backing),
        preallocation: disk_image::Preallocation::Off,
    };
    run(disk_image::QemuImg::find(sandbox::Requirement::BestEffort).unwrap().create(&overlay, &create)).unwrap();
    let refused = run(home.library.import(&overlay, ImportOptions::default(), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{}", refused.chain());
    assert_eq!(home.entries(), ["disk.utm"]);
}

#[test]
fn cancelling_in_the_middle_leaves_nothing() {
    let home = Home::new();
    let machine = run(home.machine("Base")).machine;
    let outside = home.elsewhere("outside");
    let zip = run(home.library.export(&machine, &outside, ExportFormat::Zip, false, &Job::silent())).unwrap();
    let cancelling = || {
        let cancel = Cancel::new();
        let (switch, heard) = (cancel.clone(), Arc::new(AtomicUsize::new(0)));
        Job::new(
            move |_| {
                if heard.fetch_add(1, Ordering::SeqCst) == 1 {
                    switch.cancel();
                }
            },
            cancel,
        )
    };
    let image = home.folder.path().join("big.img");
    fs::write(&image, vec![1; 40 << 20]).unwrap();
    let raw =
        |name: &str| DiskSpec { source: Some(image.clone()), format: Some(DiskFormat::Raw), ..DiskSpec::of_size(64 << 20) }.named(name);
    let kinds = run(async {
        [
            home.library.clone_machine(&machine, None, &cancelling()).await.map(drop),
            home.library.export(&machine, &home.elsewhere("other"), ExportFormat::Folder, false, &cancelling()).await.map(drop),
            home.library.export(&machine, &home.elsewhere("other"), ExportFormat::Zip, false, &cancelling()).await.map(drop),
            home.library.import(&zip, ImportOptions::default(), &cancelling()).await.map(drop),
            home.library.create(raw("Made"), &cancelling()).await.map(drop),
        ]
        .map(|result| result.map_err(|error| error.kind()))
    });
    assert_eq!(kinds, [Err(ErrorKind::Cancelled); 5]);
    assert_eq!(home.entries(), ["Base.utm"]);
    assert!(names(&home.elsewhere("other")).is_empty());
    assert!(names(&home.library.places().state.join("parts")).is_empty());
}

trait Named {
    fn named(self, name: &str) -> CreateSpec;
}

impl Named for DiskSpec {
    fn named(self, name: &str) -> CreateSpec {
        CreateSpec { name: Some(name.to_owned()), disks: Some(vec![self]), ..CreateSpec::default() }
    }
}

#[test]
fn a_move_keeps_everything_and_goes_home_again() {
    let home = Home::new();
    let machine = run(home.machine("Mover")).machine;
    let outside = home.elsewhere("outside");
    let moved = run(home.library.move_to(&machine, &outside, &Job::silent())).unwrap();
    assert_eq!(moved.path, outside.canonicalize().unwrap().join("Mover.utm"));
    assert!(moved.registered && moved.id == machine.id);
    let back = run(home.library.move_to(&moved, &home.machines(), &Job::silent())).unwrap();
    assert_eq!(back, machine);
    assert!(names(&outside).is_empty());
    let missing = run(home.library.move_to(&back, &outside.join("missing"), &Job::silent())).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(home.library.machines().len(), 1);
}

#[test]
fn a_copy_is_of_another_generation_and_what_is_moved_of_the_same() {
    let home = Home::new();
    let machine = run(home.machine("Base")).machine;
    let own = Some(bundle::begin_generation(&machine.path).unwrap());
    let clone = run(home.library.clone_machine(&machine, None, &Job::silent())).unwrap().machine;
    assert_eq!(bundle::generation(&clone.path).unwrap(), None);
    let outside = home.elsewhere("outside");
    for format in [ExportFormat::Folder, ExportFormat::Zip] {
        let exported = run(home.library.export(&machine, &outside, format, false, &Job::silent())).unwrap();
        if format == ExportFormat::Folder {
            assert_eq!(bundle::generation(&exported).unwrap(), None);
            bundle::begin_generation(&exported).unwrap();
        } else {
            let archive = zip::ZipArchive::new(fs::File::open(&exported).unwrap()).unwrap();
            assert!(archive.file_names().all(|name| !name.unwrap().contains("generation")));
        }
        let imported = run(home.library.import(&exported, ImportOptions::default(), &Job::silent())).unwrap().machine;
        assert_eq!(bundle::generation(&imported.path).unwrap(), None);
    }
    let renamed = home.library.rename(&machine, "Other").unwrap();
    let moved = run(home.library.move_to(&renamed, &home.elsewhere("there"), &Job::silent())).unwrap();
    assert_eq!(bundle::generation(&moved.path).unwrap(), own);
}

/// A folder on another file system than the machines are, or a word about it.
fn other_file_system(home: &Home) -> Option<tempfile::TempDir> {
    let device = |path: &Path| fs::metadata(path).map(|data| data.dev()).ok();
    let places = [Path::new("/dev/shm"), &std::env::temp_dir(), Path::new("/var/tmp")];
    let other = places.into_iter().find(|place| device(place).is_some() && device(place) != device(home.folder.path()));
    let folder = other.and_then(|place| tempfile::tempdir_in(place).ok());
    if folder.is_none() {
        eprintln!("not possible here: there is no other file system to write to");
    }
    folder
}

#[test]
fn a_link_that_leads_out_is_not_lost_by_a_move() {
    let home = Home::new();
    let Some(target) = other_file_system(&home) else { return };
    let machine = run(home.machine("Linked")).machine;
    let link = machine.path.join("Data/elsewhere");
    std::os::unix::fs::symlink("../../precious", &link).unwrap();
    let refused = run(home.library.move_to(&machine, target.path(), &Job::silent())).unwrap_err();
    assert!(refused.to_string().contains("elsewhere"), "{refused}");
    assert!(link.is_symlink() && names(target.path()).is_empty());
    assert_eq!(home.library.machines(), vec![machine.clone()]);
    // By a rename it stays what it is.
    let moved = run(home.library.move_to(&machine, &home.elsewhere("beside"), &Job::silent())).unwrap();
    assert!(moved.path.join("Data/elsewhere").is_symlink());
}

#[test]
fn a_move_to_another_file_system_copies_and_then_removes() {
    let home = Home::new();
    let Some(target) = other_file_system(&home) else { return };
    let machine = run(home.machine("Far")).machine;
    let content = disk(&home.library, &machine);
    let record = home.library.places().last_run_of(&machine.id);
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    fs::write(&record, "{}").unwrap();
    let moved = run(home.library.move_to(&machine, target.path(), &Job::silent())).unwrap();
    assert_ne!(moved.id, machine.id);
    assert_eq!(moved.uuid, machine.uuid);
    assert_eq!(disk(&home.library, &moved), content);
    assert!(!machine.path.exists() && home.entries().is_empty());
    assert!(home.library.places().last_run_of(&moved.id).exists() && !record.exists());
    assert_eq!(home.library.machines(), vec![moved]);
}
