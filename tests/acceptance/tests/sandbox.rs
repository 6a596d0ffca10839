//! A program that the launcher starts in QEMU's place reaches its own machine and nothing else.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use acceptance::{Guest, Home, emulator, not_possible_here};

const FAKE: &str = env!("CARGO_BIN_EXE_fake-qemu");
const HARDWARE: [&str; 9] = ["--arch", "x86_64", "--machine", "q35", "--no-disk", "--network", "none", "--memory", "64MiB"];

/// Lets the fake try what is in the list, and gives what it said of each.
fn spy_on(home: &Home, attempts: &[String]) -> Option<Vec<(String, String)>> {
    let list = home.path().join("list");
    fs::write(&list, attempts.join("\n")).unwrap();
    let spy = home.create("Spy", HARDWARE.iter().chain(&["--kernel", list.to_str().unwrap()]));
    let failure = home.viv(&["--json", "start", "Spy", "--wait"]);
    assert_ne!(failure.code, 0, "the spy is no QEMU: {failure:?}");
    if failure.stderr.contains("Landlock") {
        not_possible_here("this kernel has no Landlock");
        return None;
    }
    let id = home.json(&["list"]).as_array().unwrap().iter().find(|machine| machine["name"] == "Spy").unwrap()["id"].clone();
    let log = home.machines().join(".state/logs").join(id.as_str().unwrap()).join("backend.log");
    let said = fs::read_to_string(log).unwrap();
    assert!(said.contains("spy: end"), "it did not get to its end: {said}");
    assert!(spy.status()["backend_pid"].is_null());
    let outcomes = said.lines().filter_map(|line| line.strip_prefix("spy: ")?.rsplit_once(": "));
    Some(outcomes.map(|(what, outcome)| (what.to_owned(), outcome.to_owned())).collect())
}

#[test]
fn it_cannot_reach_the_person_or_another_machine() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    // Another machine, which runs.
    let other = home.create("Other", HARDWARE.iter().chain(&["--firmware", "bios"]));
    other.start();
    let mut attempts = Vec::new();
    let mut attempt = |verb: &str, what: &Path| attempts.push(format!("{verb} {}", what.display()));
    for (name, text) in [(".bashrc", "alias secret=1"), ("canary", "sings")] {
        fs::write(home.path().join(name), text).unwrap();
        attempt("read", &home.path().join(name));
        attempt("write", &home.path().join(name));
        attempt("remove", &home.path().join(name));
        attempt("rename", &home.path().join(name));
        attempt("link", &home.path().join(name));
    }
    attempt("make", &home.path().join("egg"));
    attempt("list", home.path());
    attempt("list", &home.machines());
    attempt("list", Path::new("/tmp"));
    attempt("list", Path::new("/root"));
    for file in ["config.plist", "Data/anything"] {
        attempt("read", &home.bundle("Other").join(file));
        attempt("write", &home.bundle("Other").join(file));
        attempt("make", &home.bundle("Other").join(format!("{file}.new")));
    }
    // Its own configuration is not its business either.
    attempt("read", &home.bundle("Spy").join("config.plist"));
    attempt("write", &home.bundle("Spy").join("config.plist"));
    attempt("write", &home.bundle("Spy").join("Data/list"));
    attempt("make", &home.bundle("Spy").join("Data/new"));
    let mut sockets = 0;
    for folder in fs::read_dir(home.runtime()).unwrap().flatten() {
        attempt("list", &folder.path());
        let files = |path: &Path| fs::read_dir(path).unwrap().flatten().map(|file| file.path()).collect::<Vec<_>>();
        for file in files(&folder.path()).into_iter().chain(files(&folder.path().join("backend"))) {
            if file.extension().is_some_and(|extension| extension == "sock") {
                attempt("connect", &file);
                sockets += 1;
            }
            attempt("read", &file);
        }
    }
    assert!(sockets >= 3, "API, QMP and console");
    for place in ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/1/environ", "/var/lib/dpkg/status"] {
        attempt("read", Path::new(place));
    }
    for pid in [other.pid("supervisor_pid"), other.pid("backend_pid"), std::process::id()] {
        attempts.push(format!("signal {pid}"));
        attempts.push(format!("read /proc/{pid}/environ"));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    attempts.push(format!("tcp {}", listener.local_addr().unwrap()));
    attempts.push("run /usr/bin/env".to_owned());
    attempts.push("run /bin/sh".to_owned());
    // What it must be able to do, so that the rest says something.
    let allowed = format!("read {}", home.bundle("Spy").join("Data/list").display());
    attempts.push(allowed.clone());

    let home = home.with_fake_qemu(FAKE, "spy").with("VIVARIUM_LANDLOCK", "require");
    let Some(outcomes) = spy_on(&home, &attempts) else { return };
    assert_eq!(outcomes.len(), attempts.len(), "{outcomes:#?}");
    let done: Vec<&str> = outcomes.iter().filter(|(_, outcome)| outcome == "DONE").map(|(what, _)| what.as_str()).collect();
    assert_eq!(done, [allowed.as_str()], "{outcomes:#?}");
    for (what, outcome) in &outcomes {
        let verb = what.split(' ').next().unwrap_or_default();
        // A refusal, and not a path that was not there to be refused.
        let refused = outcome.contains("denied") || outcome.contains("not permitted") || outcome.contains("os error 97");
        let there = what.ends_with("anything") || what.ends_with("anything.new") || what.starts_with("read /etc") || what.contains("dpkg");
        assert!(what == &allowed || refused || there, "{verb}: {what}: {outcome}");
    }
    assert_eq!(fs::read_to_string(home.path().join("canary")).unwrap(), "sings");
    assert!(!home.path().join("egg").exists());
    let other = Guest::existing(&home, "Other");
    assert_eq!(other.state(), "running");
    other.viv("stop", &["--force"]);
}

#[test]
fn a_machine_says_how_it_is_confined() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = home.create("Demo", HARDWARE.iter().chain(&["--firmware", "bios"]));
    guest.start();
    let sandbox = guest.status()["sandbox"].clone();
    assert_eq!(sandbox["seccomp"], true, "{sandbox}");
    // Complete, or it says what is missing.
    let missing = sandbox["missing"].as_array().map_or(0, Vec::len);
    assert_eq!(sandbox["complete"].as_bool(), Some(missing == 0), "{sandbox}");
    let status = fs::read_to_string(format!("/proc/{}/status", guest.pid("backend_pid"))).unwrap();
    assert!(status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{status}");
    let environment = fs::read(format!("/proc/{}/environ", guest.pid("backend_pid"))).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains(home.path().to_str().unwrap()), "it knows the home folder");
    guest.viv("stop", &["--force"]);
}
