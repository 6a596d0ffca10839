//! The files of a legacy bundle are brought to where version 4 expects them, and none is lost.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use bundle::legacy::{move_files, retire_view_state};
use tempfile::TempDir;

const CONFIG: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
  <key>ConfigurationVersion</key><integer>2</integer>
  <key>Info</key><dict><key>IconCustom</key><true/><key>Icon</key><string>ICON</string></dict>
</dict></plist>"#;

/// A bundle with these files; the content of each is its original path.
fn bundle(paths: &[&str]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for path in paths {
        let path_in = directory.path().join(path);
        fs::create_dir_all(path_in.parent().unwrap()).unwrap();
        fs::write(path_in, path).unwrap();
    }
    directory
}

fn name_icon(directory: &TempDir, icon: &str) {
    fs::write(directory.path().join("config.plist"), CONFIG.replace("ICON", icon)).unwrap();
}

/// Every file but the configuration: where it is, and where it was.
fn files(directory: &TempDir) -> BTreeMap<String, String> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if !path.ends_with("config.plist") && !path.ends_with("config.plist.migrated") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory.path(), directory.path(), &mut found);
    found
}

fn expect(directory: &TempDir, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected.iter().map(|(now, before)| ((*now).to_owned(), (*before).to_owned())).collect();
    assert_eq!(files(directory), expected);
}

#[test]
fn images_icon_and_log_move_into_data() {
    let directory = bundle(&["Images/disk.qcow2", "Images/efi_vars.fd", "debug.log", "me.png", "screenshot.png", "view.plist"]);
    name_icon(&directory, "me.png");
    let expected = [
        ("Data/disk.qcow2", "Images/disk.qcow2"),
        ("Data/efi_vars.fd", "Images/efi_vars.fd"),
        ("Data/debug.log", "debug.log"),
        ("Data/me.png", "me.png"),
        ("screenshot.png", "screenshot.png"),
        ("view.plist", "view.plist"),
    ];
    move_files(directory.path()).unwrap();
    expect(&directory, &expected);
    // What is done stays done.
    move_files(directory.path()).unwrap();
    expect(&directory, &expected);
}

#[test]
fn a_legacy_configuration_is_kept_as_a_copy() {
    let directory = bundle(&["screenshot.png"]);
    name_icon(&directory, "me.png");
    let copy = directory.path().join("config.plist.migrated");
    move_files(directory.path()).unwrap();
    assert_eq!(fs::read_to_string(&copy).unwrap(), CONFIG.replace("ICON", "me.png"));
    // A later move does not replace the first copy.
    name_icon(&directory, "other.png");
    move_files(directory.path()).unwrap();
    assert_eq!(fs::read_to_string(&copy).unwrap(), CONFIG.replace("ICON", "me.png"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_configuration_of_version_4_is_not_copied() {
    let directory = bundle(&["debug.log"]);
    let present = CONFIG.replace("<dict>\n  <key>C", "<dict><key>Backend</key><string>QEMU</string>\n  <key>C");
    fs::write(directory.path().join("config.plist"), present).unwrap();
    move_files(directory.path()).unwrap();
    assert!(!directory.path().join("config.plist.migrated").exists());
}

#[test]
fn an_interrupted_move_is_completed() {
    let directory = bundle(&["Data/disk.img", "debug.log"]);
    move_files(directory.path()).unwrap();
    expect(&directory, &[("Data/disk.img", "Data/disk.img"), ("Data/debug.log", "debug.log")]);
}

#[test]
fn a_bundle_without_images_gets_data_only_for_what_moves() {
    let directory = bundle(&["screenshot.png"]);
    move_files(directory.path()).unwrap();
    assert!(!directory.path().join("Data").exists());
}

#[test]
fn an_empty_data_is_no_obstacle_but_a_filled_one_is() {
    let directory = bundle(&["Images/disk.img"]);
    fs::create_dir(directory.path().join("Data")).unwrap();
    move_files(directory.path()).unwrap();
    expect(&directory, &[("Data/disk.img", "Images/disk.img")]);

    let directory = bundle(&["Images/disk.img", "Data/disk.img", "debug.log"]);
    let error = move_files(directory.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    expect(&directory, &[("Images/disk.img", "Images/disk.img"), ("Data/disk.img", "Data/disk.img"), ("debug.log", "debug.log")]);
}

#[test]
fn a_clash_keeps_both_files() {
    let directory = bundle(&["Images/debug.log", "Images/me.png", "Images/me-2.png", "debug.log", "me.png"]);
    name_icon(&directory, "me.png");
    move_files(directory.path()).unwrap();
    expect(
        &directory,
        &[
            ("Data/debug.log", "Images/debug.log"),
            ("Data/debug-2.log", "debug.log"),
            ("Data/me.png", "Images/me.png"),
            ("Data/me-2.png", "Images/me-2.png"),
            ("Data/me-3.png", "me.png"),
        ],
    );
}

#[test]
fn an_icon_outside_the_bundle_is_left_alone() {
    let directory = bundle(&["a.utm/Images/disk.img", "secret.png"]);
    for icon in ["../secret.png", "..", "", "config.plist"] {
        fs::write(directory.path().join("a.utm/config.plist"), CONFIG.replace("ICON", icon)).unwrap();
        move_files(&directory.path().join("a.utm")).unwrap();
    }
    expect(&directory, &[("a.utm/Data/disk.img", "a.utm/Images/disk.img"), ("secret.png", "secret.png")]);
    assert!(directory.path().join("a.utm/config.plist").exists());
}

#[test]
fn images_that_are_a_link_are_refused() {
    let directory = bundle(&["elsewhere/disk.img", "a.utm/screenshot.png"]);
    std::os::unix::fs::symlink("../elsewhere", directory.path().join("a.utm/Images")).unwrap();
    assert!(move_files(&directory.path().join("a.utm")).is_err());
    assert!(!directory.path().join("a.utm/Data").exists());
}

#[test]
fn a_stored_view_state_is_kept_under_another_name() {
    let directory = bundle(&["view.plist"]);
    retire_view_state(directory.path()).unwrap();
    retire_view_state(directory.path()).unwrap();
    expect(&directory, &[("view.plist.migrated", "view.plist")]);
    fs::write(directory.path().join("view.plist"), "newer").unwrap();
    retire_view_state(directory.path()).unwrap();
    expect(&directory, &[("view.plist.migrated", "view.plist"), ("view.plist.migrated-2", "newer")]);
}
