//! `viv inspect`: on real configurations, and on what is none.

use crate::home::Home;
use std::path::{Path, PathBuf};

/// Configurations that people published; not part of this repository.
fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("VIVARIUM_UTM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/utm"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("not possible here: no samples in {}", folder.display());
    None
}

#[test]
fn published_configurations_are_read_and_the_broken_one_is_refused() {
    let Some(samples) = samples() else { return };
    let home = Home::new();
    let mut read = 0;
    for entry in std::fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        let ran = home.viv(&["inspect", "--json", path.to_str().unwrap()]);
        assert_eq!(ran.stderr, "");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let is_wrong = |key: &str| report["problems"].as_array().unwrap().iter().any(|problem| problem["key_path"] == key);
        if report["readable"] == true {
            assert_eq!(ran.code, 0, "{}: {ran:?}", path.display());
            assert!(report["memory_mib"].as_u64().unwrap() > 0 && report["configuration"]["System"].is_object(), "{report}");
            read += 1;
            continue;
        }
        assert_eq!((ran.code, path.file_name().unwrap().to_str().unwrap()), (1, "65-win11-golden.c.plist"), "{ran:?}");
        assert!(is_wrong("Backend") && is_wrong("Network[0].Mode"), "{report}");
    }
    assert_eq!(read, 11);
}

#[test]
fn a_summary_for_people_names_what_matters() {
    let Some(samples) = samples() else { return };
    let text = Home::new().ok(&["inspect", samples.join("61-skiffos.plist").to_str().unwrap()]);
    for word in ["SkiffOS", "aarch64", "virt", "4 GiB", "persist.qcow2", "virtio-net-pci"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn what_is_no_configuration_is_refused_with_the_reason() {
    let home = Home::new();
    let file = home.path().join("config.plist");
    std::fs::write(&file, "<plist><dict><key>Back").unwrap();
    let ran = home.viv(&["inspect", "config.plist"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("cannot be read") && ran.stdout.contains("fatal"), "{ran:?}");
}

#[test]
fn what_is_not_there_is_not_found() {
    let home = Home::new();
    let ran = home.viv(&["inspect", "missing.utm"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("missing.utm"), "{ran:?}");
    let ran = home.viv(&["inspect", "Missing"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("There is no machine"), "{ran:?}");
}

#[test]
fn what_would_command_the_terminal_is_not_printed() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("x.utm")).unwrap();
    let plist = "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>Backend</key><string>\u{9b}31mQEMU\u{7f}</string></dict></plist>";
    std::fs::write(home.path().join("x.utm/config.plist"), plist).unwrap();
    let ran = home.viv(&["inspect", "x.utm"]);
    assert_eq!(ran.code, 1);
    assert!(!ran.stdout.contains(['\u{9b}', '\u{7f}', '\u{1b}']), "{ran:?}");
}
