//! Images that are not in the bundle.

use std::fs;
use std::path::Path;
use std::process::Command;

use acceptance::{Guest, Home, emulator, not_possible_here};

/// A machine with an empty removable disk, and without a guest.
fn machine(home: &Home) -> Option<Guest<'_>> {
    emulator("x86_64")?;
    let hardware = "--arch x86_64 --machine q35 --firmware bios --no-disk --no-display --network none --memory 64MiB";
    let guest = home.create("Demo", hardware.split(' '));
    home.ok(&["drive", "add", "Demo", "--removable", "--interface", "usb"]);
    Some(guest)
}

fn medium(home: &Home) -> serde_json::Value {
    home.json(&["media", "list", "Demo"])[0]["medium"].clone()
}

fn file(home: &Home, name: &str) -> String {
    let path = home.path().join(name);
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    path.display().to_string()
}

#[test]
fn a_stick_is_no_drive_that_takes_media() {
    let home = Home::new();
    let Some(guest) = machine(&home) else { return };
    let (old, new) = (file(&home, "old"), file(&home, "new"));
    home.ok(&["media", "insert", "Demo", &old, "--read-write"]);
    guest.start();
    assert_eq!(guest.status()["drives"][0]["removable"], false);
    let failure = home.refused(&["media", "insert", "Demo", &new, "--read-write"], 1);
    assert!(failure["hint"].as_str().unwrap_or_default().contains("stop it"), "{failure:#}");
    assert_eq!(medium(&home), old);
    guest.viv("stop", &["--force"]);
    assert_eq!(medium(&home), old);
    home.ok(&["media", "insert", "Demo", &new, "--read-write"]);
    guest.start();
    assert_eq!(medium(&home), new);
    guest.viv("stop", &["--force"]);
}

#[test]
fn a_medium_stays_when_its_exchange_fails_half_way() {
    let home = Home::new();
    let Some(writer) = machine(&home) else { return };
    let (old, new) = (file(&home, "old"), file(&home, "new"));
    home.ok(&["media", "insert", "Demo", &new, "--read-write"]);
    writer.start();

    let hardware = "--arch x86_64 --machine q35 --firmware bios --no-disk --no-display --network none --memory 64MiB";
    let reader = home.create("Reader", hardware.split(' '));
    home.ok(&["drive", "add", "Reader", "--cd"]);
    home.ok(&["media", "insert", "Reader", &old]);
    reader.start();
    // QEMU has opened it, and the old one is out, when it turns out that another machine writes to it. It lets go of it, so that it fails
    // the same way again.
    let failure = home.refused(&["media", "insert", "Reader", &new], 1);
    assert!(failure["message"].to_string().contains("put the medium into the drive"), "{failure:#}");
    assert_eq!(home.refused(&["media", "insert", "Reader", &new], 1), failure);
    let medium = |home: &Home| home.json(&["media", "list", "Reader"])[0]["medium"].clone();
    assert_eq!(medium(&home), old);
    writer.viv("stop", &["--force"]);
    home.ok(&["media", "insert", "Reader", &new]);
    assert_eq!(medium(&home), new);
    reader.viv("stop", &["--force"]);
    assert_eq!(medium(&home), new);
}

/// A block device with a file behind it; it goes with this.
struct Loop(String);

impl Loop {
    fn of(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok().filter(|made| made.status.success());
        if made.is_none() {
            not_possible_here("a block device can only be made by root");
        }
        made.map(|made| Self(String::from_utf8_lossy(&made.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_left_untouched_by_a_disposable_run() {
    let home = Home::new();
    let Some(guest) = machine(&home) else { return };
    let file = home.path().join("file");
    fs::write(&file, vec![7; 8 << 20]).unwrap();
    let Some(device) = Loop::of(&file) else { return };
    home.ok(&["media", "insert", "Demo", &device.0, "--read-write"]);
    guest.viv("start", &["--wait", "--disposable"]);
    // The guest's disk is as large as the device.
    let handed = home.json(&["command", "Demo"])["files"].clone();
    let mut paths = handed.as_array().into_iter().flatten().filter_map(|file| file["path"].as_str());
    let overlay = paths.find(|path| path.ends_with(".qcow2")).unwrap_or_else(|| panic!("no overlay: {handed:#}"));
    let header = fs::read(overlay).unwrap();
    assert_eq!(header[24..32], (8_u64 << 20).to_be_bytes(), "qcow2's virtual size");
    guest.viv("stop", &["--force"]);
    guest.start();
    guest.viv("stop", &["--force"]);
    assert!(fs::read(&file).unwrap().iter().all(|byte| *byte == 7));
}
