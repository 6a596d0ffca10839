//! Machines are made, listed, changed, renamed, cloned, given away and deleted; none is run.

use crate::home::{Home, Ran};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

/// A home with one small machine.
fn with_machine() -> Home {
    let home = Home::new();
    home.ok(&["create", "Debian", "--arch", "x86_64", "--memory", "512MiB", "--cpus", "2", "--disk", "16MiB"]);
    home
}

/// The parts of an answer that differ from run to run, made equal.
fn steady(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Array(array) => array.iter_mut().for_each(walk),
            Value::Object(object) => {
                for (key, value) in object {
                    match key.as_str() {
                        "uuid" | "id" | "path" | "drive" | "bundle" | "allocated" if !value.is_null() => *value = json!(format!("[{key}]")),
                        _ => walk(value),
                    }
                }
            }
            _ => {}
        }
    }
    walk(&mut value);
    value
}

#[test]
fn an_empty_library_says_what_to_do() {
    let home = Home::new();
    let ran = home.viv(&["list"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(ran.stderr.contains("viv create"), "{ran:?}");
    assert_eq!(home.json(&["list"]), json!([]));
}

#[test]
fn a_machine_is_listed_for_people_and_programs() {
    let home = with_machine();
    let table = home.ok(&["list"]);
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("NAME"), "{table}");
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row, ["Debian", "stopped", "x86_64", "2", "512", "MiB", "qemu"]);
    insta::assert_json_snapshot!(steady(home.json(&["list"])));
}

#[test]
fn an_unknown_machine_is_not_found_and_the_likely_one_is_named() {
    let home = with_machine();
    let ran = home.viv(&["status", "Debain"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("There is no machine \"Debain\"") && ran.stderr.contains("Did you mean \"Debian\"?"), "{ran:?}");
    let ran = home.viv(&["status", "Debain", "--json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
    insta::assert_json_snapshot!(serde_json::from_str::<Value>(&ran.stderr).unwrap());
}

#[test]
fn an_ambiguous_name_lists_what_it_can_mean() {
    let home = with_machine();
    home.ok(&["create", "Debian testing", "--disk", "16MiB"]);
    let ran = home.viv(&["status", "Deb"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("2 machines") && ran.stderr.contains("Debian testing"), "{ran:?}");
    // The exact name of one is the beginning of the other.
    home.ok(&["status", "Debian"]);
}

#[test]
fn the_status_of_a_stopped_machine_has_its_facts() {
    let home = with_machine();
    let status = home.json(&["status", "deb"]);
    assert_eq!((&status["name"], &status["state"], &status["backend"]), (&json!("Debian"), &json!("stopped"), &json!("qemu")));
    for key in ["uuid", "accelerator", "supervisor_pid", "backend_pid", "sandbox", "drives"] {
        assert!(status.get(key).is_some(), "{key}: {status}");
    }
    let text = home.ok(&["status", "Debian"]);
    assert!(text.contains("stopped"), "{text}");
}

#[test]
fn configuration_is_read_and_changed_key_by_key() {
    let home = with_machine();
    assert_eq!(home.ok(&["config", "get", "Debian", "system.memorysize"]), "512\n");
    assert_eq!(
        home.ok(&["config", "set", "Debian", "System.MemorySize", "2GiB", "System.CPUCount", "3"]),
        "System.MemorySize = 2048\nSystem.CPUCount = 3\n"
    );
    assert_eq!(home.json(&["config", "get", "Debian", "System.CPUCount"]), json!(3));
    assert!(home.ok(&["config", "get", "Debian"]).contains("System.MemorySize:"));
    home.ok(&["config", "unset", "Debian", "System.CPUCount"]);
    assert_eq!(home.json(&["config", "get", "Debian", "System.CPUCount"]), json!(0));
    home.ok(&["config", "set", "Debian", "Information.Name", "Ubuntu"]);
    assert_eq!(home.json(&["list"])[0]["name"], "Ubuntu");
}

#[test]
fn a_wrong_key_or_value_is_refused_with_the_right_one() {
    let home = with_machine();
    let ran = home.viv(&["config", "get", "Debian", "System.MemroySize"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("Did you mean `System.MemorySize`?"), "{ran:?}");
    let ran = home.viv(&["config", "set", "Debian", "System.MemorySize", "lots"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("lots"), "{ran:?}");
    let ran = home.viv(&["config", "set", "Debian", "System.MemorySize", "1GiB", "System.CPUCount"]);
    assert_eq!(ran.code, 2);
    assert_eq!(home.ok(&["config", "get", "Debian", "System.MemorySize"]), "512\n");
}

#[test]
fn every_key_is_described() {
    let home = Home::new();
    let keys = home.json(&["config", "keys"]);
    let keys = keys.as_array().unwrap();
    assert!(keys.len() > 80, "{}", keys.len());
    assert!(keys.iter().all(|key| !key["description"].as_str().unwrap().is_empty()));
    let ran = home.viv(&["config", "keys", "nonsense"]);
    assert_eq!(ran.code, 3);
}

#[test]
fn a_machine_is_renamed_cloned_and_deleted() {
    let home = with_machine();
    home.ok(&["rename", "Debian", "Stable"]);
    home.ok(&["clone", "Stable"]);
    let machines = home.json(&["list"]);
    let names: Vec<&str> = machines.as_array().unwrap().iter().map(|machine| machine["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Stable", "Stable 2"]);
    assert_ne!(machines[0]["uuid"], machines[1]["uuid"]);
    home.ok(&["delete", "Stable 2", "--permanently"]);
    home.ok(&["delete", "Stable"]);
    assert_eq!(home.json(&["list"]), json!([]));
    let trash = home.path().join("data/Trash/files");
    assert_eq!(std::fs::read_dir(&trash).unwrap().count(), 1, "{}", trash.display());
}

#[test]
fn a_taken_name_is_refused() {
    let home = with_machine();
    let ran = home.viv(&["create", "Debian", "--disk", "16MiB"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("hint:"), "{ran:?}");
    let ran = home.viv(&["create", "Debian", "--disk", "16MiB", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.stderr).unwrap()["error"]["kind"], "exists");
}

#[test]
fn a_machine_is_exported_and_imported_again() {
    let home = with_machine();
    let folder = home.json(&["export", "Debian", "."]);
    assert_eq!(folder["path"], json!(home.path().join("Debian.utm")));
    home.ok(&["export", "Debian", "Debian.utm.zip"]);
    let ran = home.viv(&["export", "Debian", "Debian.utm.zip"]);
    assert_eq!(ran.code, 1);
    home.ok(&["export", "Debian", "Debian.utm.zip", "--force"]);
    home.ok(&["import", "Debian.utm.zip", "--name", "Copy"]);
    home.ok(&["import", "--link", "Debian.utm"]);
    let machines = home.json(&["list"]);
    assert_eq!(machines.as_array().unwrap().len(), 3, "{machines}");
    let linked = home.path().join("Debian.utm");
    home.ok(&["unregister", linked.to_str().unwrap()]);
    assert!(linked.exists());
    assert_eq!(home.json(&["list"]).as_array().unwrap().len(), 2);
}

#[test]
fn drives_are_listed_added_and_removed() {
    let home = with_machine();
    insta::assert_json_snapshot!(steady(home.json(&["drive", "list", "Debian"])));
    let added = home.json(&["drive", "add", "Debian", "--size", "1MiB", "--interface", "nvme"]);
    let id = added["drive"].as_str().unwrap();
    let table = home.ok(&["drive", "list", "Debian"]);
    assert!(table.contains("NVMe") && table.contains(id), "{table}");
    home.ok(&["drive", "remove", "Debian", id]);
    assert!(!home.ok(&["drive", "list", "Debian"]).contains(id));
    let ran = home.viv(&["drive", "remove", "Debian", "nonsense"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let ran = home.viv(&["drive", "add", "Debian", "--size", "64"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("needs a unit"), "{ran:?}");
}

#[test]
fn media_of_the_only_removable_drive_need_no_drive_name() {
    let home = with_machine();
    std::fs::write(home.path().join("a.iso"), vec![0; 4096]).unwrap();
    for drive in home.json(&["media", "list", "Debian"]).as_array().unwrap() {
        home.ok(&["drive", "remove", "Debian", drive["id"].as_str().unwrap()]);
    }
    let ran = home.viv(&["media", "eject", "Debian"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("viv drive add"), "{ran:?}");
    home.ok(&["drive", "add", "Debian", "--cd"]);
    home.ok(&["media", "insert", "Debian", "a.iso"]);
    assert_eq!(home.json(&["media", "list", "Debian"])[0]["medium"], json!(home.path().join("a.iso")));
    home.ok(&["media", "eject", "Debian"]);
    assert_eq!(home.json(&["media", "list", "Debian"])[0]["medium"], json!(null));
    home.ok(&["drive", "add", "Debian", "--cd"]);
    let ran = home.viv(&["media", "insert", "Debian", "a.iso"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("2 removable drives"), "{ran:?}");
}

#[test]
fn a_machine_that_does_not_run_is_in_the_wrong_state() {
    let home = with_machine();
    for arguments in [
        &["stop", "Debian"][..],
        &["restart", "Debian"],
        &["pause", "Debian"],
        &["resume", "Debian"],
        &["reset", "Debian"],
        &["console", "Debian"],
        &["screenshot", "Debian"],
        &["key", "Debian", "ctrl-alt-delete"],
        &["type", "Debian", "root"],
        &["click", "Debian", "10", "10"],
        &["events", "Debian"],
    ] {
        let ran = home.viv(arguments);
        assert_eq!(ran.code, 4, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("not running"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_missing_supervisor_is_a_clear_failure_of_start_and_command() {
    let home = with_machine();
    for arguments in [&["start", "Debian"][..], &["start", "Debian", "--wait"], &["command", "Debian"]] {
        let ran = home.viv(arguments);
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("vivarium-supervisor") && ran.stderr.contains("hint:"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_broken_machine_is_listed_and_can_be_inspected_and_deleted() {
    let home = with_machine();
    std::fs::create_dir(home.machines().join("Broken.utm")).unwrap();
    std::fs::write(home.machines().join("Broken.utm/config.plist"), "nonsense").unwrap();
    let list = home.ok(&["list"]);
    assert!(list.contains("Broken") && list.contains("broken"), "{list}");
    assert_eq!(home.viv(&["inspect", "Broken"]).code, 1);
    let ran = home.viv(&["start", "Broken"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("fatal"), "{ran:?}");
    home.ok(&["delete", "Broken", "--permanently"]);
}

#[test]
fn logs_of_a_machine_are_printed() {
    let home = with_machine();
    assert_eq!(home.viv(&["logs", "Debian"]).code, 3);
    let id = home.json(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let folder = home.machines().join(".state/logs").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("backend.log"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(folder.join("serial-0.log"), "login:").unwrap();
    assert_eq!(home.ok(&["logs", "Debian", "--source", "backend"]), "one\ntwo\nthree\n");
    assert_eq!(home.ok(&["logs", "Debian", "--source", "backend", "--lines", "2"]), "two\nthree\n");
    assert_eq!(home.ok(&["logs", "Debian", "--source", "serial"]), "login:");
    let all = home.ok(&["logs", "Debian"]);
    assert!(all.contains("==> backend <==") && all.contains("==> serial-0 <=="), "{all}");
    assert_eq!(home.ok(&["logs", "Debian", "--source", "backend", "--json", "-n", "1"]), "{\"source\":\"backend\",\"line\":\"three\"}\n");
    let ran = home.viv(&["logs", "Debian", "--source", "nonsense"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("backend, serial-0"), "{ran:?}");
}

#[test]
fn what_happens_to_the_machines_is_a_stream() {
    let home = with_machine();
    let mut child = home.command().args(["events", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["machines"][0]["name"], "Debian");
    home.ok(&["create", "Second", "--disk", "1MiB"]);
    let added = next();
    assert_eq!((&added["event"], &added["machine"]["name"]), (&json!("machine_added"), &json!("Second")));
    home.ok(&["delete", "Second", "--permanently"]);
    while next()["event"] != "machine_removed" {}
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn control_c_undoes_what_was_begun() {
    let home = with_machine();
    // Noise, which takes long to compress.
    let mut noise = File::open("/dev/urandom").unwrap().take(96 << 20);
    std::io::copy(&mut noise, &mut File::create(home.path().join("noise.img")).unwrap()).unwrap();
    home.ok(&["drive", "add", "Debian", "--image", "noise.img", "--format", "raw"]);
    let destination = home.path().join("export");
    std::fs::create_dir(&destination).unwrap();
    let mut child = home.command().args(["export", "Debian", "export/Debian.utm.zip"]).stderr(Stdio::piped()).spawn().unwrap();
    while std::fs::read_dir(&destination).unwrap().next().is_none() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it could be cancelled");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("undoing"), "{ran:?}");
    assert_eq!(std::fs::read_dir(&destination).unwrap().count(), 0);
    // The machine is as it was.
    home.ok(&["export", "Debian", "export"]);
}

#[test]
fn an_editor_changes_the_configuration_and_mistakes_are_kept_for_another_try() {
    let home = with_machine();
    let edit = |script: &str| Ran::from(home.command().args(["config", "edit", "Debian"]).env("EDITOR", script).output().unwrap());
    let ran = edit("sed -i s/512/1024/");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.ok(&["config", "get", "Debian", "System.MemorySize"]), "1024\n");
    assert!(edit("true").stdout.contains("Nothing was changed"));
    let ran = edit("sed -i s/q35/q53/");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("System.Target"), "{ran:?}");
    let kept = ran.stderr.split_whitespace().last().unwrap();
    assert!(std::fs::read_to_string(kept).unwrap().contains("q53"), "{ran:?}");
    std::fs::remove_file(kept).unwrap();
    assert_eq!(home.ok(&["config", "get", "Debian", "System.Target"]), "q35\n");
    assert_eq!(edit("false").code, 1);
}

#[test]
fn a_machine_that_cannot_be_is_refused_before_anything_is_made() {
    let home = Home::new();
    let file = |name: &str, content: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (text, gone) = (file("notes.img", b"Call the plumber\n"), home.path().join("gone.iso").display().to_string());
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let ran = home.viv(&[&["create", "New", "--arch", "x86_64"], arguments].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{arguments:?}: {ran:?}");
    };
    refused(&["--iso", &gone], 3, &["gone.iso", "No such file"]);
    refused(&["--disk", &gone], 3, &["gone.iso"]);
    refused(&["--kernel", &gone], 3, &["gone.iso"]);
    refused(&["--iso", &text], 1, &["it is a text", "--force"]);
    refused(&["--disk", &text], 1, &["it is a text", "--force"]);
    refused(&["--backend", "native"], 1, &["later version", "QEMU runs it"]);
    refused(&["--firmware", "none"], 1, &["--kernel"]);
    refused(&["--machine", "q53"], 1, &["did you mean q35", "`--machine help`"]);
    refused(&["--cpu", "Skylark-Client"], 1, &["did you mean Skylake-Client", "`--cpu help`"]);
    // One of the two is not a matter of a missing file.
    refused(&["--iso", &gone, "--machine", "q53"], 1, &["gone.iso", "q53"]);
    assert_eq!(home.json(&["list"]), json!([]));
    assert_eq!(home.viv(&["import", &text]).code, 1);
    home.ok(&["create", "New", "--arch", "x86_64", "--disk", &text, "--force"]);
}
