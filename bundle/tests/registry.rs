//! The registry of this host.

use std::fs;
use std::path::Path;

use bundle::registry::{HostFile, Registry};
use bundle::{Bundle, Configuration};
use uuid::Uuid;

const MACHINE: Uuid = Uuid::from_u128(0x6E1C_0F2B_0A0B_4A59_8B3E_3E7A_3F0C_9D11);

/// Where its bundle would be; there is none.
fn package() -> &'static Path {
    Path::new("/nowhere/Machine.utm")
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path().join("registry"));
    assert_eq!(registry.read(MACHINE, package()).unwrap(), Default::default());
    assert!(registry.machines().unwrap().is_empty());
    registry
        .update(MACHINE, package(), |entry| {
            entry.name = "Test machine".to_owned();
            entry.external_drives.insert("DRIVE".to_owned(), HostFile::new("/media/cd.iso", true));
            entry.shared_directories.push(HostFile::new("/home/me", false));
            entry.terminal_settings.entry("0".to_owned()).or_default().columns = 132;
            entry.window_settings.entry("0".to_owned()).or_default().scale = 1.5;
            entry.resolution_settings.entry("0".to_owned()).or_default().size = [1920.0, 1080.0];
        })
        .unwrap();
    let (entry, problems) = registry.read(MACHINE, package()).unwrap();
    assert!(problems.is_empty());
    assert_eq!(entry.external_drives["DRIVE"], HostFile::new("/media/cd.iso", true));
    assert_eq!(entry.terminal_settings["0"].columns, 132);
    assert_eq!(registry.machines().unwrap(), [MACHINE]);
    insta::assert_snapshot!(fs::read_to_string(registry.path(MACHINE)).unwrap());
    registry.remove(MACHINE, package()).unwrap();
    registry.remove(MACHINE, package()).unwrap();
    assert!(registry.machines().unwrap().is_empty());
}

#[test]
fn unknown_fields_survive_and_unusable_ones_are_reset() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    let document = r#"{"Name": 7, "Suspended": true, "Future": [1], "SharedDirectories": [{"Path": "/a", "Bookmark": "AAAA"}]}"#;
    fs::write(registry.path(MACHINE), document).unwrap();
    let (entry, problems) = registry.read(MACHINE, package()).unwrap();
    assert_eq!((entry.name.as_str(), entry.suspended), ("", true));
    assert_eq!(problems[0].key_path, "Name");
    registry.update(MACHINE, package(), |entry| entry.name = "x".to_owned()).unwrap();
    let text = fs::read_to_string(registry.path(MACHINE)).unwrap();
    assert!(text.contains("Future") && text.contains("Bookmark"), "{text}");
    assert_eq!(fs::read_to_string(registry.path(MACHINE).with_extension("json.damaged")).unwrap(), document);
}

#[test]
fn damaged_documents_are_kept_beside() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    fs::write(registry.path(MACHINE), "{").unwrap();
    assert_eq!(registry.read(MACHINE, package()).unwrap().1.len(), 1);
    registry.update(MACHINE, package(), |entry| entry.suspended = true).unwrap();
    assert!(registry.read(MACHINE, package()).unwrap().1.is_empty());
    assert_eq!(fs::read_to_string(registry.path(MACHINE).with_extension("json.damaged")).unwrap(), "{");
    assert_eq!(registry.machines().unwrap(), [MACHINE]);
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let registry = &registry;
            scope.spawn(move || {
                registry
                    .update(MACHINE, package(), |entry| entry.shared_directories.push(HostFile::new(format!("/{number}"), false)))
                    .unwrap();
            });
        }
    });
    assert_eq!(registry.read(MACHINE, package()).unwrap().0.shared_directories.len(), 8);
}

#[test]
fn a_bundle_with_the_same_uuid_gets_nothing_that_another_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path().join("registry"));
    let bundle = |name: &str| {
        let mut configuration = Configuration::Qemu(bundle::qemu::Configuration::default());
        configuration.information_mut().uuid = MACHINE;
        Bundle::create(&folder.path().join(name), configuration).unwrap().path().to_owned()
    };
    let (first, second) = (bundle("First.utm"), bundle("Second.utm"));
    let folders = |package: &Path| registry.read(MACHINE, package).unwrap().0.shared_directories;
    let give = |package: &Path, path: &str| {
        registry.update(MACHINE, package, |entry| entry.shared_directories = vec![HostFile::new(path, false)]).unwrap();
    };
    give(&first, "/home/me/Documents");
    assert!(folders(&second).is_empty());
    give(&second, "/tmp");
    assert_eq!(
        (folders(&first)[0].path.as_path(), folders(&second)[0].path.as_path()),
        (Path::new("/home/me/Documents"), Path::new("/tmp"))
    );
    assert_eq!(registry.machines().unwrap(), [MACHINE]);
    assert!(registry.has_given(MACHINE).unwrap());
    // Each keeps its own when it is moved, by us or by hand where no other bundle could be meant.
    for (old, new) in [(&first, "Third.utm"), (&second, "Fourth.utm")] {
        let new = folder.path().join(new);
        let before = folders(old);
        fs::rename(old, &new).unwrap();
        registry.moved(MACHINE, old, &new).unwrap();
        assert_eq!(folders(&new), before);
    }
    registry.remove(MACHINE, &folder.path().join("Fourth.utm")).unwrap();
    assert_eq!(folders(&folder.path().join("Third.utm"))[0].path, Path::new("/home/me/Documents"));
    assert!(folders(&folder.path().join("Fourth.utm")).is_empty());
}
