//! Bundles on disk: opened, saved, created, locked; what happens when the file system does not play along.

mod support;

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bundle::{
    Bundle, BundleLock, Configuration, FileError, FileName, Images, LockError, OpenError, Origin, SaveError, begin_generation,
    bundle_file_name, bundle_id, forget_generation, generation,
};
use support::QEMU;

fn configuration() -> Configuration {
    Configuration::read(QEMU.as_bytes(), "").unwrap().configuration
}

/// A bundle as UTM leaves it.
fn bundle_in(folder: &Path) -> PathBuf {
    let path = folder.join("Test machine.utm");
    fs::create_dir_all(path.join("Data")).unwrap();
    fs::write(path.join("config.plist"), QEMU).unwrap();
    fs::write(path.join("Data/disk.qcow2"), "image").unwrap();
    path
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn entries(folder: &Path) -> Vec<String> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    entries.sort();
    entries
}

#[test]
fn saving_replaces_the_configuration_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    fs::write(path.join("Data/unknown"), "kept").unwrap();
    fs::set_permissions(path.join("config.plist"), fs::Permissions::from_mode(0o640)).unwrap();
    let mut bundle = Bundle::open(&path).unwrap();
    bundle.configuration.information_mut().name = "Renamed".to_owned();
    bundle.save().unwrap();
    bundle.save().unwrap();
    assert_eq!(Bundle::open(&path).unwrap().configuration.name(), "Renamed");
    assert_eq!(fs::metadata(path.join("config.plist")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(entries(&path), ["Data", "config.plist"]);
    assert_eq!(entries(&path.join("Data")), ["disk.qcow2", "unknown"]);
}

#[test]
fn data_folder_is_made_when_it_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.utm");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("config.plist"), QEMU).unwrap();
    Bundle::open(&path).unwrap().save().unwrap();
    assert_eq!(entries(&path), ["Data", "config.plist"]);
}

#[test]
fn a_change_by_somebody_else_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    let (mut mine, mut theirs) = (Bundle::open(&path).unwrap(), Bundle::open(&path).unwrap());
    theirs.configuration.information_mut().name = "Theirs".to_owned();
    theirs.save().unwrap();
    assert!(matches!(mine.save(), Err(SaveError::Changed(_))));
    assert_eq!(Bundle::open(&path).unwrap().configuration.name(), "Theirs");
}

/// What the child of [`a_full_disk_leaves_the_old_configuration`] does: saves under a limit of file size, which fails as a full disk does.
#[test]
fn child_that_saves_under_a_limit() {
    let Some(path) = std::env::var_os("VIVARIUM_TEST_SAVE") else {
        return;
    };
    let mut bundle = Bundle::open(Path::new(&path)).unwrap();
    bundle.configuration.information_mut().notes = Some("x".repeat(100_000));
    match bundle.save() {
        Err(SaveError::Io { source, .. }) => println!("failed: {source}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_leaves_the_old_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    // Without SIGXFSZ, which the shell ignores for its child, the write fails with EFBIG.
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 16; exec "$0" child_that_saves_under_a_limit --exact --nocapture --test-threads 1"#])
        .arg(std::env::current_exe().unwrap())
        .env("VIVARIUM_TEST_SAVE", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("failed: "), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(path.join("config.plist")).unwrap(), QEMU);
    assert_eq!(entries(&path), ["Data", "config.plist"]);
}

#[test]
fn creating_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(bundle_file_name("New: machine"));
    let bundle = Bundle::create_with(&path, configuration(), |building| fs::write(building.join("Data/disk.qcow2"), "image")).unwrap();
    assert_eq!(entries(folder.path()), ["New- machine.utm"]);
    assert!(bundle.check_files().is_empty());
    assert_eq!(Bundle::open(&path).unwrap().configuration, configuration());
    assert_ne!(fs::metadata(&path).unwrap().permissions().mode() & 0o055, 0, "others may look at it, as far as the umask lets them");

    assert!(matches!(Bundle::create(&path, configuration()), Err(SaveError::Exists(_))));
    let other = folder.path().join("other.utm");
    let full = |building: &Path| {
        fs::File::create(building.join("Data/disk.qcow2"))?.write_all(b"half")?;
        Err(std::io::ErrorKind::StorageFull.into())
    };
    assert!(matches!(Bundle::create_with(&other, configuration(), full), Err(SaveError::Io { .. })));
    assert_eq!(entries(folder.path()), ["New- machine.utm"]);
}

#[test]
fn a_created_bundle_can_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::create(&folder.path().join("a.utm"), configuration()).unwrap();
    bundle.configuration.information_mut().name = "b".to_owned();
    bundle.save().unwrap();
}

#[test]
fn what_is_no_bundle() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Bundle::open(&folder.path().join("missing.utm")), Err(OpenError::NotABundle(_))));
    assert!(matches!(Bundle::open(folder.path()), Err(OpenError::NoConfiguration(_))));
    fs::write(folder.path().join("file.utm"), "").unwrap();
    assert!(matches!(Bundle::open(&folder.path().join("file.utm")), Err(OpenError::NotABundle(_))));
    fs::write(folder.path().join("config.plist"), "nonsense").unwrap();
    assert!(matches!(Bundle::open(folder.path()), Err(OpenError::Refused { .. })));
}

#[test]
fn a_configuration_that_is_not_a_file_of_the_bundle_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.utm");
    fs::create_dir(&path).unwrap();
    let file = path.join("config.plist");
    fs::write(folder.path().join("outside.plist"), QEMU).unwrap();
    symlink("../outside.plist", &file).unwrap();
    assert!(matches!(Bundle::open(&path), Err(OpenError::Unreadable(FileError::Escapes(_)))));
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(Bundle::open(&path), Err(OpenError::Unreadable(FileError::NotAFile(_)))));
}

#[test]
fn data_paths_stay_in_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    fs::write(folder.path().join("secret"), "").unwrap();
    let data = path.join("Data");
    symlink("../../secret", data.join("relative")).unwrap();
    symlink(folder.path().join("secret"), data.join("absolute")).unwrap();
    symlink("disk.qcow2", data.join("inside")).unwrap();
    symlink("nowhere", data.join("dangling")).unwrap();
    symlink("loop", data.join("loop")).unwrap();
    fs::create_dir(data.join("folder")).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    assert_eq!(bundle.data_path(&name("disk.qcow2")).unwrap(), data.join("disk.qcow2"));
    assert_eq!(bundle.data_path(&name("inside")).unwrap(), data.join("inside"));
    assert_eq!(bundle.data_path(&name("new.qcow2")).unwrap(), data.join("new.qcow2"));
    assert!(matches!(bundle.data_path(&name("relative")), Err(FileError::Escapes(_))));
    assert!(matches!(bundle.data_path(&name("absolute")), Err(FileError::Escapes(_))));
    assert!(matches!(bundle.data_path(&name("dangling")), Err(FileError::Dangling(_))));
    assert!(matches!(bundle.data_path(&name("loop")), Err(FileError::Io { .. })));
    assert!(matches!(bundle.data_path(&name("folder")), Err(FileError::NotAFile(_))));

    fs::remove_dir_all(&data).unwrap();
    symlink(folder.path(), &data).unwrap();
    assert!(matches!(bundle.data_path(&name("new.qcow2")), Err(FileError::Escapes(_))));
}

#[test]
fn files_of_old_bundles_are_found_before_they_are_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    fs::rename(path.join("Data"), path.join("Images")).unwrap();
    assert_eq!(Bundle::open(&path).unwrap().data_path(&name("disk.qcow2")).unwrap(), path.join("Images/disk.qcow2"));
}

#[test]
fn the_first_save_of_an_old_bundle_moves_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Old machine.utm");
    fs::create_dir_all(path.join("Images")).unwrap();
    fs::write(path.join("Images/disk.qcow2"), "image").unwrap();
    let old = r#"<plist version="1.0"><dict>
        <key>System</key><dict><key>Architecture</key><string>x86_64</string><key>Target</key><string>q35</string></dict>
        <key>Drives</key><array><dict>
            <key>DriveName</key><string>drive0</string><key>ImagePath</key><string>disk.qcow2</string>
            <key>ImageType</key><string>disk</string><key>InterfaceType</key><string>ide</string>
        </dict></array>
        <key>ConfigurationVersion</key><integer>2</integer></dict></plist>"#;
    fs::write(path.join("config.plist"), old).unwrap();
    let mut bundle = Bundle::open(&path).unwrap();
    assert_eq!((bundle.origin(), bundle.configuration.name()), (Origin::LegacyQemu { version: 2 }, "Old machine"));
    assert_eq!(bundle.check_files(), []);
    bundle.save().unwrap();
    assert_eq!(fs::read_to_string(path.join("Data/disk.qcow2")).unwrap(), "image");
    assert!(!path.join("Images").exists());
    let again = Bundle::open(&path).unwrap();
    assert_eq!((again.origin(), &again.configuration), (Origin::V4, &bundle.configuration));
    assert_eq!(again.check_files(), []);
}

#[test]
fn missing_files_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    let bundle = Bundle::open(&path).unwrap();
    assert_eq!(bundle.check_files(), []);
    fs::remove_file(path.join("Data/disk.qcow2")).unwrap();
    assert_eq!(bundle.check_files()[0].key_path, "Drive[0].ImageName");
}

#[test]
fn a_lock_that_was_waited_for_is_that_of_the_bundle_with_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, renamed) = (folder.path().join("a.utm"), folder.path().join("b.utm"));
    fs::create_dir(&path).unwrap();
    let lock = Bundle::lock(&path).unwrap();
    let (wanted, waiting) = (path.clone(), std::sync::Arc::new(std::sync::Barrier::new(2)));
    let ready = waiting.clone();
    let other = std::thread::spawn(move || {
        ready.wait();
        Bundle::lock(&wanted)
    });
    waiting.wait();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::rename(&path, &renamed).unwrap();
    fs::create_dir(&path).unwrap();
    drop(lock);
    let _lock = other.join().unwrap().unwrap();
    assert!(Bundle::is_locked(&path).unwrap() && !Bundle::is_locked(&renamed).unwrap());
}

#[test]
fn a_lock_is_held_until_its_last_descriptor_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    assert!(!Bundle::is_locked(&path).unwrap());
    let lock = Bundle::lock(&path).unwrap();
    assert!(Bundle::is_locked(&path).unwrap());
    assert!(matches!(Bundle::lock(&path), Err(LockError::Held(_))));
    let inherited = BundleLock::from_inherited(lock.try_clone().unwrap());
    drop(lock);
    assert!(Bundle::is_locked(&path).unwrap());
    assert!(inherited.as_fd().try_clone_to_owned().is_ok());
    drop(inherited);
    assert!(!Bundle::is_locked(&path).unwrap());
    drop(Bundle::lock(&path).unwrap());
}

#[test]
fn identities_follow_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (bundle_in(folder.path()), folder.path().join("other.utm"));
    let id = bundle_id(&path).unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    fs::rename(&path, &other).unwrap();
    assert_eq!(bundle_id(&other).unwrap(), id);
    assert_ne!(bundle_id(folder.path()).unwrap(), id);
    assert!(bundle_id(&other.join("config.plist")).is_err());
}

#[test]
fn bundle_file_names() {
    assert_eq!(bundle_file_name("Windows 11"), "Windows 11.utm");
    assert_eq!(bundle_file_name(r#"a,b/c:d\e?f%g*h|i"j<k>l"#), "a-b-c-d-e-f-g-h-i-j-k-l.utm");
    assert_eq!(bundle_file_name("../x"), "-.-x.utm");
    assert_eq!(bundle_file_name(""), "-.utm");
    let long = bundle_file_name(&"ä".repeat(300));
    assert!(long.len() <= 255 && long.ends_with("ä.utm"));
}

#[test]
fn a_generation_is_made_once_and_never_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    assert_eq!(generation(&path).unwrap(), None);
    let first = begin_generation(&path).unwrap();
    assert_eq!(generation(&path).unwrap(), Some(first));
    assert!(begin_generation(&path).is_err(), "one that is there stays");
    let file = path.join("Vivarium/generation.json");
    fs::write(&file, format!(r#"{{"id": "{first}", "since": 1}}"#)).unwrap();
    assert_eq!(generation(&path).unwrap(), Some(first));
    for damaged in ["{", "[]", r#"{"id": 1}"#, &" ".repeat(1 << 17)] {
        fs::write(&file, damaged).unwrap();
        assert!(generation(&path).is_err());
    }
    forget_generation(&path).unwrap();
    forget_generation(&path).unwrap();
    assert_ne!(begin_generation(&path).unwrap(), first);

    fs::remove_dir_all(path.join("Vivarium")).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink("../elsewhere", path.join("Vivarium")).unwrap();
    assert!(begin_generation(&path).is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn recorded_formats() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle_in(folder.path());
    let mut images = Images::read(&path).unwrap();
    assert_eq!(images, Images::default());
    images.set_format(&name("disk.qcow2"), "qcow2");
    images.write(&path).unwrap();
    assert_eq!(Images::read(&path).unwrap().format(&name("disk.qcow2")), Some("qcow2"));
    let file = path.join("Vivarium/images.json");
    fs::write(&file, r#"{"disk.qcow2": {"format": "qcow2", "checked": 1}}"#).unwrap();
    let mut images = Images::read(&path).unwrap();
    images.set_format(&name("disk.qcow2"), "raw");
    images.write(&path).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("checked"));
    // A damaged record is not an empty one: formats would be guessed again.
    for damaged in ["{", r#"{"disk.qcow2": {}}"#, "[]"] {
        fs::write(&file, damaged).unwrap();
        assert!(Images::read(&path).is_err());
    }
}
