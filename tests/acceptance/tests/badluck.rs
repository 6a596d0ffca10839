//! Bad luck: each ends in a clear message and exit code, and nothing is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, Ran, emulator, eventually, kill, lives, qemu_img};
use serde_json::Value;

const FAKE: &str = env!("CARGO_BIN_EXE_fake-qemu");

/// A machine without a guest: its firmware finds nothing to boot, and stays.
fn empty<'h>(home: &'h Home, name: &str) -> Guest<'h> {
    home.create(name, ["--arch", "x86_64", "--machine", "q35", "--firmware", "bios", "--no-disk", "--network", "none", "--memory", "64MiB"])
}

/// All that an error says.
fn text(failure: &Value) -> String {
    ["message", "details", "hint"].iter().filter_map(|part| failure[*part].as_str()).collect::<Vec<_>>().join("\n")
}

/// A start that fails: what it says, after a look at what it left.
fn refused(home: &Home, name: &str) -> Value {
    let failure = home.refused(&["start", name, "--wait"], 1);
    assert_eq!(Guest::existing(home, name).state(), "stopped");
    eventually("nothing is left running", Duration::from_secs(30), || home.processes().is_empty().then_some(()));
    // It is not taken for a running machine, and says the same again.
    failure
}

#[test]
fn no_qemu_is_said_with_the_package_that_brings_it() {
    let home = Home::new();
    let nothing = home.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let home = home.with("PATH", &nothing).with("VIVARIUM_QEMU_PATH", &nothing);
    empty(&home, "Demo");
    let failure = refused(&home, "Demo");
    assert_eq!(failure["kind"], "missing");
    assert!(text(&failure).contains("qemu-system-x86_64") && text(&failure).contains("qemu-system-x86"), "{failure:#}");
    assert_eq!(home.viv(&["doctor"]).code, 1);
}

#[test]
fn a_qemu_that_cannot_do_the_job_says_why() {
    if emulator("x86_64").is_none() {
        return;
    }
    for (behaviour, words) in [
        ("old", &["1.12.0"][..]),
        ("broken", &["libfake.so.1"]),
        ("crash", &["status 3", "the flux capacitor is empty"]),
        ("abort", &["signal 6"]),
        ("garbage", &["monitor"]),
        ("endless", &["monitor"]),
    ] {
        let home = Home::new().with_fake_qemu(FAKE, behaviour);
        let guest = empty(&home, "Demo");
        let failure = refused(&home, "Demo");
        let said = text(&failure);
        assert!(words.iter().all(|word| said.contains(word)), "{behaviour}: {failure:#}");
        let again = refused(&home, "Demo");
        assert_eq!(failure["message"].as_str().map(no_numbers), again["message"].as_str().map(no_numbers), "{behaviour}");
        if matches!(behaviour, "crash" | "abort") {
            assert_eq!(guest.status()["last_run"]["ending"]["reason"], "start_failed", "{behaviour}");
        }
    }
}

/// Process numbers differ from run to run.
fn no_numbers(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[test]
fn a_qemu_that_hangs_is_ended() {
    if emulator("x86_64").is_none() {
        return;
    }
    // Each waits for as long as a slow disk might take, so they wait together.
    let waiting = ["mute", "hang", "silent"].map(|behaviour| {
        std::thread::spawn(move || {
            let home = Home::new().with_fake_qemu(FAKE, behaviour);
            empty(&home, "Demo");
            let failure = refused(&home, "Demo");
            assert_eq!(failure["kind"], "timeout", "{behaviour}: {failure:#}");
        })
    });
    for thread in waiting {
        thread.join().unwrap();
    }
}

#[test]
fn a_start_that_hangs_can_be_stopped() {
    if emulator("x86_64").is_none() {
        return;
    }
    for (behaviour, method) in [("hang", "--kill"), ("silent", "--force")] {
        let home = Home::new().with_fake_qemu(FAKE, behaviour);
        let guest = empty(&home, "Demo");
        let start = home.command(["--json", "start", "Demo", "--wait"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("it is being started", PATIENCE, || (guest.state() == "starting").then_some(()));
        guest.viv("stop", &[method]);
        let failure = Ran::from(start.wait_with_output().unwrap()).failure();
        assert_ne!(failure["kind"], "timeout", "{behaviour}: the stop waited: {failure:#}");
        assert_eq!(guest.state(), "stopped");
        eventually("nothing is left running", PATIENCE, || home.processes().is_empty().then_some(()));
    }
}

#[test]
fn a_qemu_with_news_that_nobody_knows_runs_on() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new().with_fake_qemu(FAKE, "curious");
    let guest = empty(&home, "Demo");
    guest.start();
    let status = guest.status();
    assert_eq!(status["state"], "running", "{status:#}");
    guest.viv("stop", &["--force"]);
    assert_eq!(guest.state(), "stopped");
    eventually("nothing is left running", PATIENCE, || home.processes().is_empty().then_some(()));
}

#[test]
fn of_two_starts_one_wins() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = empty(&home, "Demo");
    for _ in 0..3 {
        let start = || home.command(["start", "Demo", "--wait", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut codes = [start(), start()].map(|child| Ran::from(child.wait_with_output().unwrap()).code);
        codes.sort_unstable();
        assert_eq!(codes, [0, 4]);
        assert_eq!(guest.state(), "running");
        guest.viv("stop", &["--force"]);
    }
}

#[test]
fn a_killed_qemu_is_noticed_and_the_reason_kept() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = empty(&home, "Demo");
    guest.start();
    let supervisor = guest.pid("supervisor_pid");
    kill(guest.pid("backend_pid"));
    let ending = guest.ending();
    assert_eq!((&ending["reason"], &ending["signal"]), (&"backend_died".into(), &9.into()), "{ending:#}");
    assert!(home.ok(&["status", "Demo"]).contains("signal 9"));
    eventually("the supervisor has ended", PATIENCE, || (!lives(supervisor)).then_some(()));
    home.refused(&["stop", "Demo"], 4);
    guest.start();
    guest.viv("stop", &["--force"]);
}

#[test]
fn a_machine_outlives_its_supervisor() {
    let Some(kernel) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let guest = home.create("Demo", kernel.arguments("q35", ""));
    guest.start();
    guest.up();
    guest.run("echo written before > /tmp/note");
    let (supervisor, qemu) = (guest.pid("supervisor_pid"), guest.pid("backend_pid"));
    kill(supervisor);
    let status = guest.status();
    assert_eq!((&status["state"], &status["adopted"]), (&"running".into(), &true.into()), "{status:#}");
    assert_eq!(guest.pid("backend_pid"), qemu);
    assert_ne!(guest.pid("supervisor_pid"), supervisor);
    // What the guest said before is still to be seen, and it can be talked to and photographed.
    assert!(guest.hears("guest# ").contains("guest ready"));
    assert_eq!(guest.run("cat /tmp/note"), "written before");
    assert!(guest.picture().lit() > 1000);
    // Once more, with a command in the middle of it: nobody has to know.
    kill(guest.pid("supervisor_pid"));
    guest.viv("pause", &[]);
    kill(guest.pid("supervisor_pid"));
    assert_eq!(guest.state(), "paused");
    guest.viv("resume", &[]);
    guest.viv("stop", &["--timeout", "170"]);
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
    assert!(!lives(qemu));
}

#[test]
fn a_machine_whose_processes_were_all_killed_can_be_started_again() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = empty(&home, "Demo");
    guest.start();
    let (supervisor, qemu) = (guest.pid("supervisor_pid"), guest.pid("backend_pid"));
    kill(supervisor);
    kill(qemu);
    assert_eq!(guest.state(), "stopped");
    guest.start();
    guest.viv("stop", &["--force"]);
    assert_eq!(guest.state(), "stopped");
}

#[test]
fn a_running_machine_whose_configuration_was_ruined_can_be_ended() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = empty(&home, "Demo");
    guest.start();
    let qemu = guest.pid("backend_pid");
    kill(guest.pid("supervisor_pid"));
    let configuration = home.bundle("Demo").join("config.plist");
    fs::write(&configuration, "garbage").unwrap();
    let names = || fs::read_dir(home.bundle("Demo")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
    let before = names();
    let status = guest.status();
    assert_eq!((&status["state"], &status["adopted"], &status["name"]), (&"running".into(), &true.into(), &"Demo".into()), "{status:#}");
    assert!(status["warnings"].to_string().contains("can no longer be read"), "{status:#}");
    guest.viv("pause", &[]);
    guest.viv("stop", &["--kill"]);
    assert!(!lives(qemu));
    assert_eq!((fs::read_to_string(&configuration).unwrap().as_str(), names()), ("garbage", before));
}

fn with_disk<'h>(home: &'h Home, name: &str) -> Guest<'h> {
    home.create(name, ["--arch", "x86_64", "--firmware", "bios", "--disk", "16MiB", "--network", "none", "--memory", "64MiB"])
}

#[test]
fn images_that_lead_elsewhere_are_refused_before_qemu_runs() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    with_disk(&home, "Demo");
    let disk = home.image("Demo");
    let path = disk.to_str().unwrap();
    let secret = home.path().join("secret.raw");
    fs::write(&secret, vec![b's'; 1 << 20]).unwrap();
    let secret = secret.to_str().unwrap();
    for options in [vec!["-b", secret, "-F", "raw"], vec!["-b", "../../../secret.raw", "-F", "raw", "-u"]] {
        fs::remove_file(&disk).unwrap();
        let mut arguments = vec!["create", "-f", "qcow2"];
        arguments.extend(options);
        arguments.extend([path, "1M"]);
        qemu_img(&arguments);
        let failure = refused(&home, "Demo");
        assert_eq!(failure["kind"], "file", "{failure:#}");
        assert!(text(&failure).contains("secret.raw") && failure["hint"].is_string(), "{failure:#}");
    }
    fs::remove_file(&disk).unwrap();
    qemu_img(&["create", "-f", "qcow2", "-o", &format!("data_file={secret},data_file_raw=on"), path, "1M"]);
    let failure = refused(&home, "Demo");
    assert!(text(&failure).contains("secret.raw") && failure["hint"].is_string(), "{failure:#}");
    let log = fs::read_dir(home.machines().join(".state/logs")).unwrap().flatten().next().unwrap().path().join("backend.log");
    assert!(!log.exists(), "QEMU was started");
}

#[test]
fn images_that_are_no_files_are_refused_at_once() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    with_disk(&home, "Demo");
    let disk = home.image("Demo");
    let name = disk.file_name().unwrap().to_str().unwrap();
    fs::remove_file(&disk).unwrap();
    fs::create_dir(&disk).unwrap();
    let failure = refused(&home, "Demo");
    assert!(text(&failure).contains(name), "{failure:#}");
    fs::remove_dir(&disk).unwrap();
    // Opening it would wait for a writer for ever.
    rustix::fs::mknodat(rustix::fs::CWD, &disk, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let failure = refused(&home, "Demo");
    assert!(text(&failure).contains(name), "{failure:#}");
    assert!(home.processes().is_empty());
}

#[test]
fn images_that_are_missing_or_in_use_are_said() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = with_disk(&home, "Demo");
    let disk = home.image("Demo");
    home.ok(&["clone", "Demo", "Twin"]);
    let twin = home.image("Twin");
    fs::remove_file(&twin).unwrap();
    let failure = refused(&home, "Twin");
    let name = twin.file_name().unwrap().to_str().unwrap();
    assert!(text(&failure).contains(name) && failure["hint"].is_string(), "{failure:#}");

    // Another machine writes to the very same file.
    fs::hard_link(&disk, &twin).unwrap();
    guest.start();
    let failure = home.refused(&["start", "Twin", "--wait"], 1);
    assert!(text(&failure).contains("lock"), "{failure:#}");
    assert_eq!(guest.state(), "running");
    guest.viv("stop", &["--force"]);
    Guest::existing(&home, "Twin").start();
}

#[test]
fn a_runtime_folder_that_cannot_be_used_is_said() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    empty(&home, "Demo");
    fs::create_dir_all(home.runtime()).unwrap();
    fs::set_permissions(home.runtime(), fs::Permissions::from_mode(0o755)).unwrap();
    let failure = home.refused(&["start", "Demo", "--wait"], 1);
    assert!(text(&failure).contains("0700") && text(&failure).contains(home.runtime().to_str().unwrap()), "{failure:#}");
    fs::remove_dir(home.runtime()).unwrap();
    std::os::unix::fs::symlink("/tmp", home.runtime()).unwrap();
    home.refused(&["start", "Demo", "--wait"], 1);
    fs::remove_file(home.runtime()).unwrap();
    if rustix::process::getuid().is_root() {
        fs::create_dir(home.runtime()).unwrap();
        fs::set_permissions(home.runtime(), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(home.runtime(), Some(65534), None).unwrap();
        let failure = home.refused(&["start", "Demo", "--wait"], 1);
        assert!(text(&failure).contains("belongs to somebody else"), "{failure:#}");
        fs::remove_dir(home.runtime()).unwrap();
    }
}

#[test]
fn a_home_with_a_long_path_has_its_sockets_elsewhere() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let long = home.path().join("long".repeat(20));
    let home = home.with("VIVARIUM_HOME", &long);
    let guest = empty(&home, "Demo");
    guest.start();
    let list = home.json(&["list"]);
    let id = list[0]["id"].as_str().unwrap();
    let runtime = PathBuf::from(format!("/tmp/vivarium-{}/{id}", rustix::process::getuid().as_raw()));
    assert!(runtime.join("api.sock").exists() && !long.join(".state/run").exists());
    guest.viv("stop", &["--force"]);
    fs::remove_dir_all(&runtime).unwrap();
}

#[test]
fn a_logout_takes_no_machine_out_of_reach() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = empty(&home, "Demo");
    guest.start();
    let (supervisor, qemu) = (guest.pid("supervisor_pid"), guest.pid("backend_pid"));
    // What logind does when the last session of a person ends; the next one may be without such a folder.
    fs::remove_dir_all(home.path().join("run")).unwrap();
    let home = home.without("XDG_RUNTIME_DIR");
    let guest = Guest::existing(&home, "Demo");
    assert_eq!((guest.pid("supervisor_pid"), guest.pid("backend_pid")), (supervisor, qemu));
    kill(supervisor);
    assert_eq!(guest.status()["adopted"], true);
    guest.viv("stop", &["--kill"]);
    assert!(!lives(qemu));
}

#[test]
fn a_bundle_that_cannot_be_written_to_is_said_or_run_without_writing() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let folder = home.path().join("stick");
    let Some(stick) = acceptance::Mount::tmpfs(&folder, "64m") else { return };
    with_disk(&home, "Demo");
    home.ok(&["move", "Demo", folder.to_str().unwrap()]);
    stick.again("ro");
    let failure = refused(&home, "Demo");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("--disposable")), "{failure:#}");
    // What the hint says works.
    home.ok(&["start", "Demo", "--wait", "--disposable"]);
    home.ok(&["stop", "Demo", "--force"]);
    let failure = home.refused(&["config", "set", "Demo", "System.MemorySize", "128"], 1);
    assert!(text(&failure).to_lowercase().contains("read-only file system"), "{failure:#}");
}

#[test]
fn on_a_full_disk_nothing_is_changed_and_nothing_is_left() {
    let home = Home::new();
    let machines = home.machines();
    let Some(_small) = acceptance::Mount::tmpfs(&machines, "96m") else { return };
    with_disk(&home, "Demo");
    let file = home.bundle("Demo").join("config.plist");
    let before = fs::read(&file).unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&machines).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let mut filler = fs::File::create(machines.join("filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(filler);
    let there = names();
    for arguments in [
        ["config", "set", "Demo", "System.MemorySize", "128"].as_slice(),
        &["create", "Made", "--arch", "x86_64", "--disk", "16MiB"],
        &["clone", "Demo"],
    ] {
        let failure = home.refused(arguments, 1);
        assert_eq!(failure["kind"], "no_space", "{arguments:?}: {failure:#}");
        assert_eq!(names(), there, "{arguments:?}");
        assert_eq!(fs::read(&file).unwrap(), before, "{arguments:?}");
    }
    fs::remove_file(machines.join("filler")).unwrap();
    home.ok(&["clone", "Demo"]);
}

#[test]
fn a_full_disk_pauses_the_guest_until_there_is_room() {
    let Some(kernel) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let folder = home.path().join("small");
    let Some(small) = acceptance::Mount::tmpfs(&folder, "96m") else { return };
    let mut arguments = kernel.arguments("q35", "");
    arguments.extend(["--disk", "256MiB", "--network", "none", "--no-display"].map(str::to_owned));
    let guest = home.create("Demo", arguments);
    home.ok(&["move", "Demo", folder.to_str().unwrap()]);
    guest.start();
    guest.up();
    let log = home.path().join("events");
    let mut events = home.command(["events", "Demo"]).stdout(fs::File::create(&log).unwrap()).spawn().unwrap();
    let told = |what: &str| {
        eventually(&format!("told of: {what}"), PATIENCE, || fs::read_to_string(&log).unwrap().contains(what).then_some(()));
    };
    told("is running");
    guest.types("dd if=/dev/urandom of=/dev/vda bs=1M count=120 conv=fsync; echo it-is-$((2 * 21))", "dd if");
    guest.becomes("paused");
    told("No space left on the host's disk");
    told("paused");
    small.again("size=320m");
    guest.viv("resume", &[]);
    guest.hears("it-is-42");
    assert_eq!(guest.run("dmesg | grep -c 'I/O error'; true"), "0");
    guest.viv("stop", &["--timeout", "170"]);
    assert!(events.wait().unwrap().success());
    home.ok(&["drive", "check", "Demo", "2"]);
}
