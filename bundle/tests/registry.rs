//! The registry of this host.

use std::fs;

use bundle::registry::{HostFile, Registry};
use uuid::Uuid;

const MACHINE: Uuid = Uuid::from_u128(0x6E1C_0F2B_0A0B_4A59_8B3E_3E7A_3F0C_9D11);

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path().join("registry"));
    assert_eq!(registry.read(MACHINE).unwrap(), Default::default());
    assert!(registry.machines().unwrap().is_empty());
    registry
        .update(MACHINE, |entry| {
            entry.name = "Test machine".to_owned();
            entry.external_drives.insert("DRIVE".to_owned(), HostFile::new("/media/cd.iso", true));
            entry.shared_directories.push(HostFile::new("/home/me", false));
            entry.terminal_settings.entry("0".to_owned()).or_default().columns = 132;
            entry.window_settings.entry("0".to_owned()).or_default().scale = 1.5;
            entry.resolution_settings.entry("0".to_owned()).or_default().size = [1920.0, 1080.0];
        })
        .unwrap();
    let (entry, problems) = registry.read(MACHINE).unwrap();
    assert!(problems.is_empty());
    assert_eq!(entry.external_drives["DRIVE"], HostFile::new("/media/cd.iso", true));
    assert_eq!(entry.terminal_settings["0"].columns, 132);
    assert_eq!(registry.machines().unwrap(), [MACHINE]);
    insta::assert_snapshot!(fs::read_to_string(registry.path(MACHINE)).unwrap());
    registry.remove(MACHINE).unwrap();
    registry.remove(MACHINE).unwrap();
    assert!(registry.machines().unwrap().is_empty());
}

#[test]
fn unknown_fields_survive_and_unusable_ones_are_reset() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    let document = r#"{"Name": 7, "Suspended": true, "Future": [1], "SharedDirectories": [{"Path": "/a", "Bookmark": "AAAA"}]}"#;
    fs::write(registry.path(MACHINE), document).unwrap();
    let (entry, problems) = registry.read(MACHINE).unwrap();
    assert_eq!((entry.name.as_str(), entry.suspended), ("", true));
    assert_eq!(problems[0].key_path, "Name");
    registry.update(MACHINE, |entry| entry.name = "x".to_owned()).unwrap();
    let text = fs::read_to_string(registry.path(MACHINE)).unwrap();
    assert!(text.contains("Future") && text.contains("Bookmark"), "{text}");
    assert_eq!(fs::read_to_string(registry.path(MACHINE).with_extension("json.damaged")).unwrap(), document);
}

#[test]
fn damaged_documents_are_kept_beside() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    fs::write(registry.path(MACHINE), "{").unwrap();
    assert_eq!(registry.read(MACHINE).unwrap().1.len(), 1);
    registry.update(MACHINE, |entry| entry.suspended = true).unwrap();
    assert!(registry.read(MACHINE).unwrap().1.is_empty());
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
                registry.update(MACHINE, |entry| entry.shared_directories.push(HostFile::new(format!("/{number}"), false))).unwrap();
            });
        }
    });
    assert_eq!(registry.read(MACHINE).unwrap().0.shared_directories.len(), 8);
}
