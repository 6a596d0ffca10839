//! What a person does with a machine that runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, emulator, eventually, programs};

/// A machine that boots the usual guest, with further arguments to `viv create` and words for the kernel.
fn machine<'h>(home: &'h Home, words: &str, arguments: &[&str]) -> Option<Guest<'h>> {
    let kernel = Guests::find("x86_64")?;
    let mut all = kernel.arguments("q35", words);
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    Some(home.create("Demo", all))
}

/// Boards without PCI among them: what they are made with is what they have a place for.
#[test]
fn machines_of_every_kind_start_as_they_are_made() {
    let boards = [
        ("x86_64", "microvm"),
        ("arm", "vexpress-a9"),
        ("arm", "ast2600-evb"),
        ("arm", "raspi2b"),
        ("m68k", "virt"),
        ("or1k", "or1k-sim"),
        ("rx", "gdbsim-r5f562n7"),
        ("avr", "mega"),
        ("sh4", "r2d"),
        ("sparc", "SS-5"),
        ("xtensa", "sim"),
    ];
    for (architecture, board) in boards {
        if emulator(architecture).is_none() {
            continue;
        }
        let home = Home::new();
        home.create("Demo", ["--arch", architecture, "--machine", board]);
        home.ok(&["start", "Demo", "--wait", "--paused"]);
        let status = home.json(&["status", "Demo"]);
        assert_eq!(status["state"], "paused", "{board}: {status:#}");
        home.ok(&["stop", "Demo", "--kill"]);
    }
}

/// The disk with the logs is full, and stays so while the machine runs.
#[test]
fn a_supervisor_that_cannot_write_its_log_keeps_its_machine() {
    if emulator(std::env::consts::ARCH).is_none() {
        return;
    }
    let home = Home::new();
    let script = home.path().join("supervisor");
    let program = programs().join("vivarium-supervisor");
    fs::write(&script, format!("#!/bin/sh\nexec '{}' \"$@\" 2> /dev/full\n", program.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let home = home.with("VIVARIUM_SUPERVISOR", &script).with("VIVARIUM_LOG", "debug");
    home.create("Demo", ["--no-disk"]);
    home.ok(&["start", "Demo", "--wait"]);
    assert_eq!(home.json(&["status", "Demo"])["state"], "running");
    home.ok(&["stop", "Demo", "--force"]);
}

#[test]
fn that_a_machine_is_emulated_is_said_once_at_its_start() {
    if emulator(std::env::consts::ARCH).is_none() {
        return;
    }
    let home = Home::new();
    home.create("Demo", ["--no-disk"]);
    let ran = home.viv(&["start", "Demo", "--wait", "--paused"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let accelerator = home.json(&["status", "Demo"])["accelerator"].clone();
    let why = accelerator["why"].as_str().unwrap();
    let emulated = usize::from(accelerator["name"] == "tcg");
    assert_eq!(ran.stderr.matches(why).count(), emulated, "{ran:?}");
    home.ok(&["stop", "Demo", "--kill"]);
}

#[test]
fn it_is_paused_resumed_photographed_reset_and_asked_to_stop() {
    let home = Home::new();
    let Some(guest) = machine(&home, "", &["--network", "none"]) else { return };
    home.refused(&["console", "Demo"], 4);
    home.refused(&["pause", "Demo"], 4);
    home.refused(&["stop", "Demo"], 4);
    guest.start();
    let status = guest.status();
    for member in ["name", "uuid", "backend", "supervisor_pid", "backend_pid", "sandbox"] {
        assert!(!status[member].is_null(), "{member}: {status:#}");
    }
    assert!(status["accelerator"]["why"].as_str().is_some_and(|why| !why.is_empty()), "{status:#}");
    home.refused(&["start", "Demo"], 4);
    home.refused(&["config", "set", "Demo", "System.MemorySize", "640"], 4);
    guest.up();
    assert_eq!(guest.run("echo $((6 * 7))"), "42");

    let size = guest.run("cat /sys/class/graphics/fb0/virtual_size");
    let picture = guest.picture();
    assert_eq!(format!("{},{}", picture.width, picture.height), size);
    assert!(picture.lit() > 1000 && picture.colours() > 4, "{} pixels of {} colours", picture.lit(), picture.colours());

    let kept = home.bundle("Demo").join("screenshot.png");
    assert!(!kept.exists());
    guest.viv("pause", &[]);
    assert_eq!(guest.state(), "paused");
    let picture = acceptance::Picture::read(&kept);
    assert_eq!(format!("{},{}", picture.width, picture.height), size);
    assert!(picture.lit() > 1000);
    home.refused(&["pause", "Demo"], 4);
    // What is typed now is answered later.
    let ran = home.viv(&["console", "Demo", "--until", "never said", "--timeout", "1"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    guest.viv("resume", &[]);
    assert_eq!(guest.state(), "running");
    home.refused(&["resume", "Demo"], 4);
    assert_eq!(guest.run("echo still $((1 + 1))"), "still 2");

    let log = home.path().join("events");
    let mut events = home.command(["events", "Demo"]).stdout(fs::File::create(&log).unwrap()).spawn().unwrap();
    let told = |what: &str| {
        eventually(&format!("told of: {what}"), PATIENCE, || fs::read_to_string(&log).unwrap().contains(what).then_some(()));
    };
    told("is running");
    guest.run("dmesg -c > /dev/null; echo before the reset > /tmp/mark");
    guest.viv("reset", &[]);
    told("reset button was pressed");
    eventually("the guest boots anew", PATIENCE, || (!guest.types("", "guest# ").is_empty() && fresh(&guest)).then_some(()));
    assert_eq!(guest.state(), "running");

    guest.viv("stop", &["--timeout", "240"]);
    told("ended: The guest powered off");
    assert!(events.wait().unwrap().success());
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
    home.refused(&["stop", "Demo"], 4);
}

/// Whether what was left before the reset is gone.
fn fresh(guest: &Guest<'_>) -> bool {
    guest.try_run("test -e /tmp/mark").0 != 0
}

#[test]
fn consoles_come_and_go_and_miss_nothing() {
    let home = Home::new();
    let Some(guest) = machine(&home, "", &["--network", "none", "--no-display"]) else { return };
    guest.start();
    let first_log = home.path().join("first");
    let watch = || home.command(["console", "Demo"]).stdin(Stdio::piped()).stdout(fs::File::create(&first_log).unwrap()).spawn().unwrap();
    let mut first = watch();
    guest.up();
    let shows =
        |what: &str| eventually(what, PATIENCE, || fs::read_to_string(&first_log).is_ok_and(|text| text.contains(what)).then_some(()));
    // Two at once see the same.
    guest.run("echo both-$((20 + 3))-see-it");
    shows("both-23-see-it");
    // What was said while nobody looked is shown to who comes back.
    first.kill().unwrap();
    first.wait().unwrap();
    guest.run("echo meanwhile-$((30 + 4))");
    let mut first = watch();
    shows("meanwhile-34");
    shows("both-23-see-it");
    guest.run("echo onwards-$((40 + 5))");
    shows("onwards-45");
    // The machine goes by itself, and every console with it.
    guest.types_last("poweroff -f");
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
    assert!(first.wait().unwrap().success());
}

#[test]
fn what_is_written_stays_but_not_in_a_disposable_run_and_changes_take_effect() {
    let home = Home::new();
    let Some(guest) = machine(&home, "", &["--network", "none", "--no-display", "--cpus", "1", "--disk", "64MiB"]) else { return };
    guest.start();
    guest.up();
    assert_eq!(guest.run("nproc"), "1");
    guest.run("echo kept > /dev/vda && sync");
    guest.viv("stop", &["--timeout", "240"]);

    home.ok(&["config", "set", "Demo", "System.CPUCount", "2", "System.MemorySize", "640"]);
    let disk = home.image("Demo");
    let before = fs::read(&disk).unwrap();
    guest.viv("start", &["--wait", "--disposable"]);
    assert_eq!(guest.status()["options"]["disposable"], true);
    guest.up();
    assert_eq!(guest.run("nproc"), "2");
    let memory: u64 = guest.run("sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo").parse().unwrap();
    assert!((540 << 10..640 << 10).contains(&memory), "{memory} KiB");
    assert_eq!(guest.run("head -n 1 /dev/vda"), "kept");
    guest.run("echo lost > /dev/vda && dd if=/dev/urandom of=/dev/vda seek=8 bs=1M count=8 conv=notrunc,fsync 2> /dev/null");
    assert_eq!(guest.run("head -n 1 /dev/vda"), "lost");
    guest.viv("stop", &["--timeout", "240"]);
    assert!(fs::read(&disk).unwrap() == before, "the disk has changed");
}

#[test]
fn media_go_in_and_out_under_a_running_guest() {
    let Some(kernel) = Guests::find("x86_64") else { return };
    let iso = kernel.images["iso"].clone();
    let home = Home::new();
    let Some(guest) = machine(&home, "", &["--network", "none", "--no-display"]) else { return };
    home.ok(&["drive", "add", "Demo", "--cd"]);
    guest.start();
    guest.up();
    assert_ne!(guest.try_run("head -c 4 /dev/sr0").0, 0, "there is something in the empty drive");

    home.ok(&["media", "insert", "Demo", &iso.display().to_string()]);
    assert_eq!(home.json(&["media", "list", "Demo"])[0]["medium"], iso.display().to_string());
    let listed = eventually("the guest mounts the CD", PATIENCE, || {
        let (code, said) = guest.try_run("mount -t iso9660 -o ro /dev/sr0 /mnt && ls /mnt");
        (code == 0).then_some(said)
    });
    assert!(!listed.is_empty());
    // The guest has locked the tray.
    let failure = home.refused(&["media", "eject", "Demo"], 1);
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("--force")), "{failure}");
    guest.run("umount /mnt");
    eventually("the guest lets go of the CD", PATIENCE, || {
        guest.run("sync");
        (home.viv(&["media", "eject", "Demo"]).code == 0).then_some(())
    });
    assert!(home.json(&["media", "list", "Demo"])[0]["medium"].is_null());

    // Any file is a CD. It is there under its own bytes, whatever they look like.
    let disc = home.path().join("disc");
    let mut bytes = b"QFI\xfb disc of a person".to_vec();
    bytes.resize(256 << 10, b'.');
    fs::write(&disc, &bytes).unwrap();
    home.ok(&["media", "insert", "Demo", &disc.display().to_string()]);
    eventually("the guest reads the other disc", PATIENCE, || {
        (guest.try_run("dd if=/dev/sr0 bs=2048 count=1 2> /dev/null | tail -c +6 | head -c 16").1 == "disc of a person").then_some(())
    });
    let failure = home.refused(&["media", "insert", "Demo", "/nowhere/such.iso"], 3);
    assert!(failure["message"].as_str().unwrap_or_default().contains("/nowhere/such.iso"), "{failure}");
    assert_eq!(home.json(&["media", "list", "Demo"])[0]["medium"], disc.display().to_string(), "the old one stays");

    // It stays over restarts.
    guest.viv("stop", &["--force"]);
    assert_eq!(home.json(&["media", "list", "Demo"])[0]["medium"], disc.display().to_string());
}

#[test]
fn a_tpm_is_there_and_keeps_its_state() {
    if acceptance::program("swtpm").is_none() {
        return acceptance::skip("swtpm is not installed");
    }
    let home = Home::new();
    let Some(guest) = machine(&home, "", &["--network", "none", "--no-display", "--tpm"]) else { return };
    guest.start();
    guest.up();
    guest.run("test -c /dev/tpm0");
    guest.viv("stop", &["--timeout", "240"]);
    assert!(home.bundle("Demo").join("Data/tpmdata").metadata().unwrap().len() > 0, "the TPM's state is kept");
}

const MOUNT: &str = "mount -t 9p -o trans=virtio,version=9p2000.L share /mnt";

#[test]
fn a_shared_folder_is_the_guest_s_and_nothing_beside_it() {
    let home = Home::new();
    let Some(guest) = machine(&home, "", &["--network", "none", "--no-display"]) else { return };
    let folder = home.path().join("shared");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("letter"), "for the guest\n").unwrap();
    fs::write(home.path().join("secret"), "of the person\n").unwrap();
    // Links that somebody put there lead out.
    symlink(home.path().join("secret"), folder.join("to-the-secret")).unwrap();
    symlink("../secret", folder.join("beside")).unwrap();
    symlink(home.path(), folder.join("home")).unwrap();
    let shared = home.json(&["share", "Demo", &folder.display().to_string()]);
    assert_eq!((&shared["folder"], &shared["tag"]), (&serde_json::json!(folder), &serde_json::json!("share")));

    guest.start();
    home.refused(&["share", "Demo", "--none"], 4);
    guest.up();
    guest.run(MOUNT);
    assert_eq!(guest.run("cat /mnt/letter"), "for the guest");
    guest.run("echo for the host > /mnt/answer && sync");
    assert_eq!(fs::read_to_string(folder.join("answer")).unwrap(), "for the host\n");

    for out in ["/mnt/to-the-secret", "/mnt/beside", "/mnt/home/secret", "/mnt/../secret"] {
        let (code, said) = guest.try_run(&format!("cat {out}"));
        assert!(code != 0 && !said.contains("of the person"), "{out}: {said}");
    }
    assert_ne!(guest.try_run("echo overwritten > /mnt/beside").0, 0);
    // A link that the guest makes is none to the host, so that no program there follows it.
    guest.run("ln -s /etc/passwd /mnt/trap && readlink /mnt/trap && sync && umount /mnt");
    assert!(fs::symlink_metadata(folder.join("trap")).unwrap().file_type().is_file());
    assert_eq!(fs::read_to_string(home.path().join("secret")).unwrap(), "of the person\n");
    guest.viv("stop", &["--timeout", "240"]);

    guest.viv("share", &["--read-only"]);
    guest.start();
    guest.up();
    guest.run(MOUNT);
    assert_eq!(guest.run("cat /mnt/answer"), "for the host");
    for change in ["echo changed > /mnt/answer", "echo new > /mnt/new", "rm /mnt/letter", "mkdir /mnt/folder"] {
        assert_ne!(guest.try_run(change).0, 0, "{change}");
    }
    guest.viv("stop", &["--force"]);
    assert_eq!(fs::read_to_string(folder.join("answer")).unwrap(), "for the host\n");
    assert!(folder.join("letter").exists() && !folder.join("new").exists());

    // A folder that has gone keeps nothing from starting.
    fs::rename(&folder, home.path().join("elsewhere")).unwrap();
    guest.start();
    let warnings = guest.status()["warnings"].to_string();
    assert!(warnings.contains("shared folder is left out"), "{warnings}");
}

#[test]
fn a_machine_that_a_mac_suspended_starts_anew_and_says_what_was_left_behind() {
    let home = Home::new();
    let guest = home.create("Demo", ["--arch", "x86_64", "--no-disk", "--network", "none"]);
    let file = home.bundle("Demo").join("view.plist");
    let text = "<plist version=\"1.0\"><dict><key>DisplayScale</key><real>2</real><key>Suspended</key><true/>\
        <key>SharedDirectoryPath</key><string>/Users/me/Documents</string></dict></plist>";
    fs::write(&file, text).unwrap();
    let uuid = home.json(&["list"])[0]["uuid"].as_str().unwrap().to_uppercase();
    let entry = home.machines().join(format!(".state/registry/{uuid}.json"));
    let known = || serde_json::from_slice::<serde_json::Value>(&fs::read(&entry).ok()?).ok();

    guest.start();
    let warnings = guest.status()["warnings"].to_string();
    assert!(warnings.contains("/Users/me/Documents") && warnings.contains("suspended"), "{warnings}");
    let known = eventually("suspended no more", PATIENCE, || known().filter(|known| known["Suspended"] == false));
    assert_eq!(known["WindowSettings"]["0"]["Scale"], 2.0);
    assert_eq!(known["SharedDirectories"], serde_json::json!([]));
    assert!(!file.exists() && home.bundle("Demo").join("view.plist.migrated").exists());
    guest.viv("stop", &["--kill"]);
    guest.start();
    assert!(!guest.status()["warnings"].to_string().contains("suspended"));
}

#[test]
fn a_bundle_that_asks_for_it_gets_the_log_of_its_last_run_and_nothing_else_does() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = home.create("Demo", ["--arch", "x86_64", "--no-disk"]);
    let log = home.bundle("Demo").join("Data/debug.log");
    let run = |arguments: &[&str]| {
        guest.viv("start", &[&["--wait", "--paused"], arguments].concat());
        // QEMU says by whom it was ended.
        let qemu = i32::try_from(guest.pid("backend_pid")).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(qemu, rustix::process::Signal::TERM).unwrap();
        guest.ending();
    };
    run(&[]);
    assert!(!log.exists());
    home.ok(&["config", "set", "Demo", "QEMU.DebugLog", "true"]);
    run(&["--disposable"]);
    assert!(!log.exists());
    let precious = home.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &log).unwrap();
    run(&[]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("qemu-system-x86_64") && text.contains("-uuid") && text.contains("terminating on signal"), "{text}");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

/// What a PC is started with as its VM generation ID.
fn generation(guest: &Guest<'_>, arguments: &[&str]) -> String {
    guest.viv("start", &[&["--wait", "--paused"], arguments].concat());
    let command = guest.home.json(&["command", &guest.name]);
    guest.viv("stop", &["--kill"]);
    let words = command["arguments"].as_array().unwrap().iter().filter_map(|word| word.as_str());
    words.filter_map(|word| word.strip_prefix("vmgenid,guid=")).collect()
}

#[test]
fn a_machine_stays_of_one_generation_and_its_clone_is_of_another() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = home.create("Demo", ["--arch", "x86_64", "--no-disk"]);
    let first = generation(&guest, &[]);
    assert_eq!(first.len(), 36, "{first}");
    assert_eq!(generation(&guest, &[]), first);
    assert_ne!(generation(&guest, &["--disposable"]), first);
    guest.viv("clone", &[]);
    assert_ne!(generation(&Guest::existing(&home, "Demo 2"), &[]), first);
    // Where it cannot be kept, the machine starts and says so.
    let file = home.bundle("Demo").join("Vivarium/generation.json");
    fs::write(&file, "damaged").unwrap();
    guest.viv("start", &["--wait", "--paused"]);
    let warnings = guest.status()["warnings"].to_string();
    assert!(warnings.contains("generation.json"), "{warnings}");
    assert_eq!(fs::read(&file).unwrap(), b"damaged");
    guest.viv("stop", &["--kill"]);
}
