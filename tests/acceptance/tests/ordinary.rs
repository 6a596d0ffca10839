//! What an ordinary user may not do: each is said with what stands in the way, and nothing is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use acceptance::{Home, emulator, not_possible_here};
use serde_json::Value;

/// A machine with a disk, and a drive for CDs.
fn with_a_machine() -> Option<Home> {
    emulator("x86_64")?;
    let home = Home::of_an_ordinary_user();
    let machine = ["--arch", "x86_64", "--firmware", "bios", "--disk", "16MiB", "--network", "none", "--memory", "64MiB"];
    home.create("Demo", machine);
    home.ok(&["drive", "add", "Demo", "--cd"]);
    Some(home)
}

/// Does something while nobody may do anything with a file or folder.
fn without_access<T>(path: &Path, what: impl FnOnce() -> T) -> T {
    let before = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    let done = what();
    fs::set_permissions(path, before).unwrap();
    done
}

/// Each of these fails, says that `file` may not be opened and how to see why, and leaves no machine behind.
fn all_denied(home: &Home, file: &Path, attempts: &[&[&str]]) {
    let name = file.file_name().unwrap().to_str().unwrap();
    for arguments in attempts {
        let failure = home.refused(arguments, 1);
        let said = ["message", "details"].map(|part| failure[part].as_str().unwrap_or_default()).join("\n");
        assert_eq!(failure["kind"], "file", "{arguments:?}: {failure:#}");
        assert!(said.contains(name) && said.contains("Permission denied"), "{arguments:?}: {failure:#}");
        assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("ls -l")), "{arguments:?}: {failure:#}");
    }
    let list = home.json(&["list"]);
    let names: Vec<&Value> = list.as_array().unwrap().iter().map(|machine| &machine["name"]).collect();
    assert_eq!(names, ["Demo"]);
}

#[test]
fn what_may_not_be_read_of_a_machine_is_said() {
    let Some(home) = with_a_machine() else { return };
    let bundle = home.bundle("Demo");
    let outside = home.path().join("out.utm");
    let outside = outside.to_str().unwrap();
    let start = ["start", "Demo", "--wait"];

    let image = home.image("Demo");
    let copies: [&[&str]; 3] = [&start, &["clone", "Demo", "Copy"], &["export", "Demo", outside]];
    without_access(&image, || all_denied(&home, &image, &copies));
    let data = bundle.join("Data");
    without_access(&data, || all_denied(&home, &data, &copies));

    let configuration = bundle.join("config.plist");
    let reads: [&[&str]; 6] = [
        &start,
        &["status", "Demo"],
        &["inspect", "Demo"],
        &["config", "get", "Demo"],
        &["config", "set", "Demo", "System.MemorySize", "128"],
        &["clone", "Demo", "Copy"],
    ];
    without_access(&configuration, || {
        all_denied(&home, &configuration, &reads);
        let list = home.json(&["list"]);
        assert_eq!(list[0]["state"], "unavailable", "{list:#}");
        assert!(list.to_string().contains("config.plist") && list.to_string().contains("Permission denied"), "{list:#}");
    });
    without_access(&bundle, || all_denied(&home, &bundle, &[&reads[..], &[&["rename", "Demo", "New"]]].concat()));
    assert!(!Path::new(outside).exists());

    home.ok(&start);
    home.ok(&["stop", "Demo", "--force"]);
}

#[test]
fn media_that_may_not_be_read_are_refused_or_left_out_with_a_word() {
    let Some(home) = with_a_machine() else { return };
    let iso = home.path().join("tools.iso");
    // A volume descriptor (ECMA-119, 8.1), so that it is taken for a CD.
    let mut content = vec![0; 64 << 10];
    content[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
    fs::write(&iso, content).unwrap();
    fs::set_permissions(&iso, fs::Permissions::from_mode(0o644)).unwrap();
    let path = iso.to_str().unwrap();
    without_access(&iso, || {
        all_denied(&home, &iso, &[&["media", "insert", "Demo", path], &["import", path, "--name", "Made"]]);
        let failure = home.refused(&["create", "Made", "--arch", "x86_64", "--iso", path], 1);
        assert!(failure["problems"].to_string().contains("Permission denied"), "{failure:#}");
    });
    home.ok(&["media", "insert", "Demo", path]);
    without_access(&iso, || {
        let ran = home.viv(&["start", "Demo", "--wait"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("is empty") && ran.stderr.contains("tools.iso: Permission denied"), "{ran:?}");
        home.ok(&["stop", "Demo", "--force"]);
    });
}

#[test]
fn who_may_not_use_kvm_is_told_of_the_group() {
    let kvm = Path::new("/dev/kvm");
    let Ok(device) = fs::metadata(kvm) else { return not_possible_here("there is no /dev/kvm") };
    let mine = !rustix::process::getuid().is_root() && fs::File::options().read(true).write(true).open(kvm).is_ok();
    if mine || device.permissions().mode() & 0o006 == 0o006 {
        return not_possible_here("this user may use /dev/kvm");
    }
    let Some(home) = with_a_machine() else { return };
    let findings = home.json(&["doctor"]);
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["subject"] == "kvm").unwrap();
    assert_eq!(finding["level"], "warning", "{finding:#}");
    assert!(finding["fix"].as_str().is_some_and(|fix| fix.contains("usermod -aG kvm")), "{finding:#}");
    assert_eq!(home.json(&["list"])[0]["state"], "stopped");
    let ran = home.viv(&["start", "Demo", "--wait"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("add yourself to the group kvm"), "{ran:?}");
    let accelerator = &home.json(&["status", "Demo"])["accelerator"];
    assert_eq!(accelerator["name"], "tcg");
    assert!(accelerator["why"].as_str().is_some_and(|why| why.contains("the group kvm")), "{accelerator:#}");
    home.ok(&["stop", "Demo", "--force"]);
}
