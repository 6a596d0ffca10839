//! `view.plist`.

use bundle::legacy::view_state;
use bundle::registry::{Entry, HostFile};
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
