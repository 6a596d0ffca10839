//! Configurations that people have published: each is read, its content is compared with a golden file, and saving loses nothing.
//!
//! The files are not part of this repository. They are looked for in `VIVARIUM_UTM_SAMPLES`, or in `shared/samples/utm` beside the workspace; without
//! them these tests pass without looking at anything.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bundle::{Configuration, key_path};
use plist::Value;

fn samples() -> Vec<PathBuf> {
    let folder = std::env::var_os("VIVARIUM_UTM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples/utm"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("not possible here: no samples in {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "plist")).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn samples_are_understood() {
    for path in samples() {
        let mut summary = String::new();
        match Configuration::read(&std::fs::read(&path).unwrap(), "fallback") {
            Ok(loaded) => {
                writeln!(summary, "origin: {:?}", loaded.origin).unwrap();
                for problem in loaded.problems.iter().chain(&loaded.configuration.validate()) {
                    writeln!(summary, "{}: {problem}", problem.level).unwrap();
                }
                let again = Configuration::read(&std::fs::read(&path).unwrap(), "fallback").unwrap();
                let again = key_path::entries(&again.configuration);
                for ((key, value), (_, other)) in key_path::entries(&loaded.configuration).into_iter().zip(again) {
                    let shown = match key.as_str() {
                        // Somebody's prose.
                        "Information.Notes" => format!("({} characters)", key_path::format_value(&value).chars().count()),
                        _ if value != other => "(random)".to_owned(),
                        _ => key_path::format_value(&value),
                    };
                    writeln!(summary, "{key} = {shown}").unwrap();
                }
            }
            Err(error) => {
                writeln!(summary, "{error}").unwrap();
                for problem in &error.problems {
                    writeln!(summary, "{}: {problem}", problem.level).unwrap();
                }
            }
        }
        insta::assert_snapshot!(name(&path), summary);
    }
}

/// Absent optional keys may be added; what was there is still there, but UUIDs are in capitals.
fn assert_holds(saved: &Value, original: &Value, path: &Path) {
    match (saved, original) {
        (Value::Dictionary(saved), Value::Dictionary(original)) => {
            for (key, value) in original {
                assert_holds(saved.get(key).unwrap_or_else(|| panic!("{key} is gone: {}", path.display())), value, path);
            }
        }
        (Value::Array(saved), Value::Array(original)) => {
            assert_eq!(saved.len(), original.len(), "{}", path.display());
            saved.iter().zip(original).for_each(|(saved, original)| assert_holds(saved, original, path));
        }
        // A placeholder that was replaced by an identity.
        (Value::String(_), Value::String(original)) if original == "XXX_VM_ID" => {}
        (Value::String(saved), Value::String(original)) => assert!(saved.eq_ignore_ascii_case(original), "{}", path.display()),
        _ => assert_eq!(saved, original, "{}", path.display()),
    }
}

#[test]
fn saving_and_reading_again_changes_nothing() {
    for path in samples() {
        let Ok(first) = Configuration::read(&std::fs::read(&path).unwrap(), "fallback") else {
            continue;
        };
        let second = Configuration::read(&first.configuration.to_xml().unwrap(), "other").unwrap();
        assert_eq!(first.configuration, second.configuration, "{}", path.display());
        let saved = first.configuration.to_dictionary();
        assert_eq!(saved, second.raw, "{}", path.display());
        if first.origin == bundle::Origin::V4 && first.problems.is_empty() {
            assert_holds(&Value::Dictionary(saved), &Value::Dictionary(first.raw), &path);
        }
    }
}

#[test]
fn backend_in_the_wrong_case_is_refused_with_the_right_one() {
    let Some(path) = samples().into_iter().find(|path| name(path).starts_with("65-")) else {
        return;
    };
    let error = Configuration::read(&std::fs::read(path).unwrap(), "").unwrap_err();
    let backend = error.fatal().find(|problem| problem.key_path == "Backend").unwrap();
    assert!(backend.hint.as_ref().unwrap().contains("`QEMU`"), "{backend}");
    // Reading went on, so the next mistake of the file is named too.
    assert!(error.fatal().any(|problem| problem.key_path == "Network[0].Mode" && problem.hint.as_ref().unwrap().contains("`Shared`")));
}
