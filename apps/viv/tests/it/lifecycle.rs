//! A running machine, as far as `viv` is concerned: its supervisor is asked, and what it says is shown.

use crate::fake_supervisor::{FakeSupervisor, PICTURE};
use crate::home::Home;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

fn home() -> Home {
    let home = Home::new();
    home.ok(&["create", "Debian", "--arch", "x86_64", "--disk", "16MiB"]);
    home
}

#[test]
fn a_running_machine_is_listed_and_its_status_shown() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    assert_eq!(home.json(&["list"])[0]["state"], "running");
    assert_eq!(home.json(&["list", "--running"]).as_array().unwrap().len(), 1);
    let status = home.json(&["status", "Debian"]);
    assert_eq!((&status["state"], &status["accelerator"]["name"], &status["backend_pid"]), (&json!("running"), &json!("tcg"), &json!(11)));
    let text = home.ok(&["status", "Debian"]);
    for word in ["running", "tcg: /dev/kvm is not there", "Landlock 6", "process 10"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(text.matches("/dev/kvm is not there").count(), 1, "{text}");
}

#[test]
fn verbs_reach_the_supervisor_and_its_refusals_the_person() {
    let home = home();
    let running = FakeSupervisor::start(&home, "Debian", true);
    home.ok(&["pause", "Debian"]);
    home.ok(&["reset", "Debian"]);
    let requests = running.requests();
    assert!(requests.contains(&"POST /v1/pause".to_owned()) && requests.contains(&"POST /v1/reset".to_owned()), "{requests:?}");
    let ran = home.viv(&["resume", "Debian"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("Cannot resume: the machine is running"), "{ran:?}");
    let ran = home.viv(&["start", "Debian"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let ran = home.viv(&["config", "set", "Debian", "System.CPUCount", "1"]);
    assert_eq!(ran.code, 4, "{ran:?}");
}

#[test]
fn keys_that_are_none_are_said_and_a_machine_without_a_display_takes_none() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    for (arguments, said) in [
        (["key", "Debian", "ctrl-alt-enterr"], "enterr"),
        (["key", "Debian", "ctrl-control"], "twice"),
        (["type", "Debian", "50 €"], "'€'"),
    ] {
        let ran = home.viv(&arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    for arguments in [&["key", "Debian", "ctrl-alt-delete"][..], &["type", "Debian", "ls"], &["click", "Debian", "1", "2"]] {
        let ran = home.viv(arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("no display that can be used") && ran.stderr.contains("viv doctor"), "{ran:?}");
    }
}

#[test]
fn a_guest_that_minds_the_power_button_is_stopped_by_it() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    let stopped = home.json(&["stop", "Debian"]);
    assert_eq!((&stopped["state"], &stopped["by"]), (&json!("stopped"), &json!("request")));
    assert_eq!(home.json(&["list"])[0]["state"], "stopped");
}

#[test]
fn a_guest_that_does_not_mind_it_is_ended_only_on_request() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", false);
    let ran = home.viv(&["stop", "Debian", "--timeout", "1"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("viv stop Debian --force"), "{ran:?}");
    assert_eq!(home.json(&["list"])[0]["state"], "running");
    home.ok(&["stop", "Debian", "--timeout", "1", "--force"]);
    assert_eq!(home.json(&["list"])[0]["state"], "stopped");
}

#[test]
fn a_picture_of_the_display_goes_to_a_file_or_on() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    home.ok(&["screenshot", "Debian", "shot.png"]);
    assert_eq!(std::fs::read(home.path().join("shot.png")).unwrap(), PICTURE);
    let output = home.command().args(["screenshot", "Debian", "-"]).output().unwrap();
    assert_eq!(output.stdout, PICTURE);
    let named = home.ok(&["screenshot", "Debian"]);
    assert!(named.starts_with("Debian-2") && home.path().join(named.trim()).exists(), "{named}");
}

#[test]
fn the_command_line_of_a_running_machine_is_its_supervisors() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    let ran = home.viv(&["command", "Debian"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "qemu \\\n  -S\n"));
    assert!(ran.stderr.contains("warning: a warning"), "{ran:?}");
    assert_eq!(home.json(&["command", "Debian"])["arguments"], json!(["-S"]));
}

#[test]
fn a_refusal_of_the_backend_is_not_sent_to_who_knows_nothing_of_it() {
    let home = home();
    let script = home.path().join("supervisor");
    let said =
        json!({ "type": "failed", "kind": "configuration", "message": "It cannot be started", "details": "QEMU.UEFIBoot: no firmware" });
    std::fs::write(&script, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = home.command().args(["start", "Debian", "--wait"]).env("VIVARIUM_SUPERVISOR", &script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("QEMU.UEFIBoot: no firmware"), "{said}");
    assert!(said.contains("viv config set Debian") && !said.contains("inspect"), "{said}");
}

#[test]
fn events_are_a_stream_of_lines_until_the_machine_ends() {
    let home = home();
    let running = FakeSupervisor::start(&home, "Debian", true);
    let mut child = home.command().args(["events", "Debian", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert_eq!(next().unwrap()["state"], "running");
    running.end();
    assert_eq!(next().unwrap()["event"], "ended");
    assert_eq!(next(), None);
    assert!(child.wait().unwrap().success());
}
