//! The shared folder, of machines that do not run.

use crate::home::Home;
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_folder_is_shared_shown_and_taken_back() {
    let home = Home::new();
    home.ok(&["create", "Debian", "--arch", "x86_64", "--no-disk"]);
    let said = home.ok(&["share", "Debian"]);
    assert!(said.contains("none") && !said.contains("mount"), "{said}");

    let folder = home.path().join("Shared");
    fs::create_dir(&folder).unwrap();
    let said = home.ok(&["share", "Debian", "Shared"]);
    assert!(said.contains(&folder.display().to_string()) && said.contains("mount -t 9p"), "{said}");
    let expected = json!({ "name": "Debian", "folder": folder, "mode": "VirtFS", "read_only": false, "tag": "share" });
    assert_eq!(home.json(&["share", "Debian"]), expected);

    assert_eq!(home.json(&["share", "Debian", "--read-only"])["read_only"], true);
    assert!(home.ok(&["share", "Debian"]).contains("reads\n"));
    assert!(home.ok(&["config", "get", "Debian", "Sharing.DirectoryShareReadOnly"]).contains("true"));
    assert_eq!(home.json(&["share", "Debian", "--read-write"])["read_only"], false);

    let shared = home.json(&["share", "Debian", "--mode", "webdav"]);
    assert_eq!((&shared["mode"], &shared["tag"]), (&json!("WebDAV"), &Value::Null));
    assert_eq!(home.json(&["share", "Debian", "--none"])["folder"], Value::Null);
}

#[test]
fn what_cannot_be_shared_is_refused_with_the_right_code() {
    let home = Home::new();
    home.ok(&["create", "Debian", "--arch", "x86_64", "--no-disk"]);
    for (arguments, code) in [
        (vec!["share", "Debian", "nowhere"], 3),
        (vec!["share", "Nobody", "/usr"], 3),
        (vec!["share", "Debian", "."], 1),
        (vec!["share", "Debian", "/usr", "--none"], 2),
        (vec!["share", "Debian", "--read-only", "--read-write"], 2),
    ] {
        let ran = home.viv(&arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    }
    let refused = home.viv(&["share", "Debian", "."]).stderr;
    assert!(refused.contains("reach machines") && refused.contains("holds only what"), "{refused}");
    assert_eq!(home.json(&["share", "Debian"])["folder"], Value::Null);
}
