//! `view.plist`.

use bundle::legacy::{hand_over_view_state, view_state};
use bundle::registry::{Entry, HostFile, Registry};
use serde_json::json;

use super::{dictionary, fixture};

#[test]
fn every_key() {
    let (state, problems) = view_state(&fixture("view.plist"));
    assert_eq!(problems, []);
    insta::assert_debug_snapshot!(state);
}

#[test]
fn wrong_types_and_unknown_keys() {
    let (state, problems) = view_state(&dictionary(&json!({
        "DisplayScale": -2,
        "DisplayOriginX": "left",
        "DisplayOriginY": 3,
        "ShowToolbar": "yes",
        "Suspended": [],
        "RemovableDrives": {"drive0": "not data", "drive1": null},
        "RemovableDrivesPath": {"drive0": 7, "drive2": ""},
        "Colour": "red",
    })));
    insta::assert_debug_snapshot!((state, problems));
}

#[test]
fn an_entry_takes_over_windows_but_no_path() {
    let (state, _) = view_state(&fixture("view.plist"));
    let mut entry = Entry::default();
    state.apply_to(&mut entry);
    assert!(entry.suspended);
    let window = &entry.window_settings["0"];
    assert_eq!((window.scale, window.origin, window.toolbar_visible, window.keyboard_visible), (1.5, [-20.0, 4.5], false, false));
    // Whoever made the bundle chose the paths.
    assert!(entry.shared_directories.is_empty() && entry.external_drives.is_empty() && entry.package.is_none());
}

#[test]
fn an_entry_keeps_what_it_knows() {
    let (state, _) = view_state(&dictionary(&json!({"DisplayScale": 2, "Suspended": false})));
    let mut entry = Entry { suspended: true, shared_directories: vec![HostFile::new("/home/me", false)], ..Entry::default() };
    entry.window_settings.entry("0".to_owned()).or_default().scale = 3.0;
    let before = entry.clone();
    state.apply_to(&mut entry);
    assert_eq!(entry, before);
}

#[test]
fn what_a_person_has_to_choose_again_is_said() {
    let (state, _) = view_state(&fixture("view.plist"));
    let notes = state.notes().join("\n");
    for part in ["/Users/me/install.iso (0)", "(floppy)", "/Users/me/Documents", "suspended"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert!(view_state(&dictionary(&json!({"DisplayScale": 2}))).0.notes().is_empty());
}

#[test]
fn it_is_handed_over_once_and_a_damaged_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, file) = (folder.path().join("M.utm"), folder.path().join("M.utm/view.plist"));
    let registry = Registry::new(folder.path().join("registry"));
    let uuid = uuid::Uuid::from_u128(7);
    std::fs::create_dir(&bundle).unwrap();
    assert_eq!(hand_over_view_state(&bundle, &registry, uuid).unwrap(), None);
    assert_eq!(registry.read(uuid, &bundle).unwrap().0, Entry::default());

    std::fs::write(&file, "no property list").unwrap();
    assert_eq!(hand_over_view_state(&bundle, &registry, uuid).unwrap(), None);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "no property list");

    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/legacy/fixtures/view.plist")).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    assert!(hand_over_view_state(&bundle, &registry, uuid).unwrap().is_some_and(|state| state.suspended));
    assert!(!file.exists());
    assert_eq!(std::fs::read(bundle.join("view.plist.migrated")).unwrap(), bytes);
    let (entry, _) = registry.read(uuid, &bundle).unwrap();
    assert!(entry.suspended && !entry.window_settings["0"].toolbar_visible);
}
