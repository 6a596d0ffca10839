//! A program that the launcher starts in QEMU's place reaches its own machine and nothing else; one in qemu-img's place, its images.

use std::fs;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use acceptance::{Guest, Home, PATIENCE, emulator, eventually, kill, not_possible_here, skip};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;

const FAKE: &str = env!("CARGO_BIN_EXE_fake-qemu");
const HARDWARE: [&str; 9] = ["--arch", "x86_64", "--machine", "q35", "--no-disk", "--network", "none", "--memory", "64MiB"];

/// Lets the fake try what is in the list, on a machine with this hardware, and gives what it said of each.
fn spy_on(home: &Home, hardware: &[&str], attempts: &[String]) -> Option<Vec<(String, String)>> {
    let list = home.path().join("list");
    fs::write(&list, attempts.join("\n")).unwrap();
    let spy = home.create("Spy", hardware.iter().chain(&["--kernel", list.to_str().unwrap()]));
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
    let Some(outcomes) = spy_on(&home, &HARDWARE, &attempts) else { return };
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

/// The sockets of every running machine.
fn sockets(home: &Home) -> Vec<PathBuf> {
    let files = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|file| file.path()).collect::<Vec<_>>();
    let folders = files(&home.runtime()).into_iter().flat_map(|folder| [folder.join("backend"), folder]);
    let all = folders.flat_map(|folder| files(&folder));
    all.filter(|file| file.extension().is_some_and(|extension| extension == "sock")).collect()
}

/// With QEMU's own user network, which makes internet sockets by itself, a screen, and sound where there is a sound server.
#[test]
fn with_network_and_sound_of_its_own_it_reaches_no_other_socket() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let other = home.create("Other", HARDWARE.iter().chain(&["--firmware", "bios"]));
    other.start();
    let foreign = ["bus", "pipewire-0"].map(|name| home.path().join("run").join(name));
    let _listeners = foreign.each_ref().map(|socket| UnixListener::bind(socket).unwrap());
    let sockets = sockets(&home);
    assert!(sockets.len() >= 3, "API, QMP and console: {sockets:?}");
    let mut attempts: Vec<String> = sockets.iter().chain(&foreign).map(|socket| format!("connect {}", socket.display())).collect();
    let host = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let allowed = format!("tcp {}", host.local_addr().unwrap());
    attempts.push(allowed.clone());

    let home = home.with_fake_qemu(FAKE, "spy");
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let hardware = ["--arch", "x86_64", "--machine", "q35", "--no-disk", "--memory", "64MiB", "--forward", &format!("{port}:22")];
    let Some(outcomes) = spy_on(&home, &hardware, &attempts) else { return };
    assert_eq!(outcomes.len(), attempts.len(), "{outcomes:#?}");
    for (what, outcome) in &outcomes {
        let wanted = if *what == allowed { outcome == "DONE" } else { outcome.contains("not permitted") };
        assert!(wanted, "{what}: {outcome}");
    }
    let arguments = home.ok(&["command", "Spy"]);
    assert!(arguments.contains("-spice") && arguments.contains("-netdev 'user,") && arguments.contains("-audiodev 'dbus,"), "{arguments}");
    Guest::existing(&home, "Other").viv("stop", &["--force"]);
}

#[test]
fn in_the_place_of_qemu_img_it_reaches_its_images_and_nothing_else() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let other = home.create("Other", HARDWARE.iter().chain(&["--firmware", "bios"]));
    other.start();
    home.create("Demo", HARDWARE.iter().chain(&["--firmware", "bios"]));
    home.ok(&["drive", "add", "Demo", "--size", "1MiB", "--format", "raw"]);
    let drive = home.json(&["drive", "list", "Demo"])[0].clone();
    let image = PathBuf::from(drive["path"].as_str().unwrap());

    let mut attempts: Vec<String> = sockets(&home).iter().map(|socket| format!("connect {}", socket.display())).collect();
    assert!(attempts.len() >= 3, "API, QMP and console");
    fs::write(home.path().join("canary"), "sings").unwrap();
    fs::write(home.bundle("Demo").join("Data/neighbour"), "").unwrap();
    let foreign = [home.path().join("canary"), home.bundle("Demo").join("config.plist"), home.bundle("Demo").join("Data/neighbour")];
    for file in foreign.iter().map(|file| file.display()).chain([Path::new("/etc/passwd").display()]) {
        attempts.extend(["read", "write", "remove"].map(|verb| format!("{verb} {file}")));
    }
    // By its path, too, it may only be read.
    attempts.push(format!("write {}", image.display()));
    attempts.extend([home.path(), Path::new("/tmp"), &home.bundle("Demo").join("Data")].map(|folder| format!("list {}", folder.display())));
    attempts.push(format!("make {}", home.bundle("Demo").join("Data/egg").display()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    attempts.push(format!("tcp {}", listener.local_addr().unwrap()));
    attempts.extend([other.pid("supervisor_pid"), other.pid("backend_pid"), std::process::id()].map(|pid| format!("signal {pid}")));
    attempts.extend(["run /usr/bin/env", "run /bin/sh"].map(str::to_owned));
    let mut content = attempts.join("\n").into_bytes();
    content.resize(1 << 20, 0);
    fs::write(&image, &content).unwrap();

    let fake = home.path().join("fake/image-spy/qemu-img");
    fs::create_dir_all(fake.parent().unwrap()).unwrap();
    fs::copy(FAKE, &fake).unwrap();
    let home = home.with("VIVARIUM_QEMU_IMG", &fake).with("VIVARIUM_LANDLOCK", "require");
    let ran = home.viv(&["drive", "convert", "Demo", drive["id"].as_str().unwrap(), "--format", "qcow2"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    if ran.stderr.contains("This kernel cannot confine") {
        return not_possible_here("this kernel has no Landlock");
    }
    let wanted = format!("qemu-img says: spy: {} refused and the new image can be written, with LC_ALL", attempts.len());
    assert!(ran.stderr.contains(&wanted), "{wanted}: {ran:?}");
    assert_eq!(fs::read(&image).unwrap(), content);
    let mut left: Vec<_> = fs::read_dir(image.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [image.file_name().unwrap(), "neighbour".as_ref()]);
    let other = Guest::existing(&home, "Other");
    assert_eq!(other.state(), "running");
    other.viv("stop", &["--force"]);
}

/// A command over QMP, with a descriptor if there is one, and its answer.
fn qmp(monitor: &mut BufReader<UnixStream>, command: &str, descriptor: Option<&UnixStream>) -> String {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    rustix::net::sendmsg(monitor.get_ref(), &[IoSlice::new(command.as_bytes())], &mut control, SendFlags::empty()).unwrap();
    let mut line = String::new();
    while !line.contains("\"return\"") && !line.contains("\"error\"") {
        line.clear();
        assert_ne!(monitor.read_line(&mut line).unwrap(), 0, "{command}: the monitor is gone");
    }
    line
}

#[test]
fn spice_listens_nowhere_and_takes_a_client_that_is_handed_over() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    // Sharing the clipboard is what SPICE is for.
    let guest = home.create("Demo", HARDWARE.iter().chain(&["--firmware", "bios"]));
    guest.start();
    let names: Vec<_> = sockets(&home).iter().map(|socket| socket.file_name().unwrap().to_owned()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("spice")), "{names:?}");
    let path = sockets(&home).into_iter().find(|socket| socket.ends_with("backend/qmp.sock")).unwrap();
    // The monitor has one client at a time.
    kill(guest.pid("supervisor_pid"));
    let mut monitor = BufReader::new(UnixStream::connect(path).unwrap());
    monitor.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    qmp(&mut monitor, r#"{"execute": "qmp_capabilities"}"#, None);
    let enabled = qmp(&mut monitor, r#"{"execute": "query-spice"}"#, None);
    assert!(enabled.contains(r#""enabled": true"#) && !enabled.contains(r#""port""#), "{enabled}");

    let (mut client, server) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let got = qmp(&mut monitor, r#"{"execute": "getfd", "arguments": {"fdname": "client"}}"#, Some(&server));
    assert!(got.contains("return"), "{got}");
    drop(server);
    let added = r#"{"execute": "add_client", "arguments": {"protocol": "spice", "fdname": "client", "skipauth": true}}"#;
    let added = qmp(&mut monitor, added, None);
    assert!(added.contains("return"), "{added}");
    // SPICE's link message: magic, version 2.2, size of the rest; session 0, main channel 1 with number 0, no capabilities, which would
    // begin after these 18 bytes.
    let mut hello = b"REDQ".to_vec();
    hello.extend([2_u32, 2, 18, 0].iter().flat_map(|number| number.to_le_bytes()));
    hello.extend([1, 0]);
    hello.extend([0_u32, 0, 18].iter().flat_map(|number| number.to_le_bytes()));
    client.write_all(&hello).unwrap();
    let mut answer = [0; 20];
    client.read_exact(&mut answer).unwrap();
    assert_eq!((&answer[..4], &answer[16..]), (&b"REDQ"[..], &[0; 4][..]), "the reply's error code is 0: {answer:?}");

    drop((client, monitor));
    eventually("the machine is taken over again", PATIENCE, || (guest.state() == "running").then_some(()));
    guest.viv("stop", &["--force"]);
}

/// Whoever lets QEMU connect to the sound server is told what that costs.
#[test]
fn sound_by_the_host_leaves_the_sandbox_incomplete_and_says_so() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let _server = UnixListener::bind(home.path().join("run/pipewire-0")).unwrap();
    home.create("Demo", HARDWARE.iter().chain(&["--firmware", "bios"]));
    let doctor = |home: &Home| {
        let findings: Value = serde_json::from_str(&home.viv(&["--json", "doctor"]).stdout).unwrap();
        let found = findings.as_array().unwrap().iter().find(|finding| finding["subject"] == "sound").cloned();
        found.unwrap_or_else(|| panic!("{findings}"))
    };
    assert_eq!(doctor(&home)["level"], "good");
    assert!(!home.ok(&["command", "Demo"]).contains("pipewire"));
    fs::create_dir_all(home.machines().join(".state")).unwrap();
    fs::write(home.machines().join(".state/settings.json"), r#"{"sound": "host"}"#).unwrap();
    assert_eq!(doctor(&home)["level"], "warning");
    if !home.ok(&["command", "Demo"]).contains("-audiodev 'pipewire,") {
        return skip("the installed QEMU has no PipeWire");
    }
    // Nobody answers on this server, so QEMU gives up: a stand-in that only talks is confined in its place.
    let home = home.with_fake_qemu(FAKE, "curious");
    let guest = Guest::existing(&home, "Demo");
    guest.start();
    let sandbox = guest.status()["sandbox"].clone();
    let missing = sandbox["missing"].to_string();
    assert!(sandbox["complete"] == false && missing.contains("sound server"), "{sandbox}");
    guest.viv("stop", &["--force"]);
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

#[test]
fn arguments_that_came_with_a_bundle_wait_to_be_confirmed() {
    if emulator("x86_64").is_none() {
        return;
    }
    let (author, home) = (Home::new(), Home::new());
    author.create("Demo", HARDWARE.iter().chain(&["--firmware", "bios"]));
    author.ok(&["config", "set", "Demo", "QEMU.AdditionalArguments[+]", "-device edu"]);
    assert!(author.ok(&["command", "Demo"]).contains("edu"), "who wrote them has them");

    home.ok(&["import", author.bundle("Demo").to_str().unwrap()]);
    assert!(!home.ok(&["command", "Demo"]).contains("edu"));
    let guest = Guest::existing(&home, "Demo");
    let started = home.viv(&["start", "Demo", "--wait"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.stderr.contains("viv config trust") && started.stderr.contains("-device edu"), "{started:?}");
    guest.viv("stop", &["--force"]);

    assert!(home.ok(&["config", "trust", "Demo"]).contains("-device edu"));
    assert!(home.ok(&["command", "Demo"]).contains("edu"));
    // Only what was confirmed: somebody else may change a bundle that lies where others write.
    let plist = home.bundle("Demo").join("config.plist");
    fs::write(&plist, fs::read_to_string(&plist).unwrap().replace("-device edu", "-device edu -S")).unwrap();
    assert!(!home.ok(&["command", "Demo"]).contains("edu"));
}
