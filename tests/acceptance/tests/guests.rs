//! Real guests of every architecture: each to its prompt, a command typed and answered, and a clean end.

use std::time::Duration;

use acceptance::guests::{Assembled, Guests};
use acceptance::{Guest, Home, PATIENCE, emulator, eventually};

/// Answers, and is switched off in the way that the guest knows.
fn answers_and_ends(guest: &Guest<'_>, about: &Assembled) {
    answers(guest, about);
    ends(guest, about);
}

fn answers(guest: &Guest<'_>, about: &Assembled) {
    guest.start();
    guest.hears(&about.ready);
    guest.up();
    assert_eq!(guest.run("echo $((6 * 7)) on $(cat /etc/vivarium/name)"), format!("42 on {}", about.name));
}

fn ends(guest: &Guest<'_>, about: &Assembled) {
    if about.power_button {
        guest.viv("stop", &["--timeout", &PATIENCE.as_secs().to_string()]);
        assert_eq!(guest.ending()["reason"], "guest_shutdown");
    } else if about.powers_off {
        guest.types_last("poweroff -f");
        assert_eq!(guest.ending()["reason"], "guest_shutdown");
    } else {
        guest.viv("stop", &["--force"]);
        assert_eq!(guest.ending()["reason"], "forced");
    }
}

/// Boots a guest's kernel on one machine type.
fn kernel(name: &str, machine: &str) {
    let Some(about) = Guests::find(name) else { return };
    let home = Home::new();
    let mut arguments = about.arguments(machine, "");
    arguments.extend(about.cpu.iter().flat_map(|cpu| ["--cpu".to_owned(), cpu.clone()]));
    let guest = home.create("Guest", arguments);
    answers_and_ends(&guest, &about);
}

#[test]
fn x86_64_on_a_q35() {
    kernel("x86_64", "q35");
}

#[test]
fn x86_64_on_a_pc() {
    kernel("x86_64", "pc");
}

/// What a kernel must be told on a microvm that is emulated on this computer: there is no clock that it could measure others by.
fn clock() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let frequencies =
        text.lines().filter_map(|line| line.strip_prefix("cpu MHz")?.trim_start_matches(['\t', ' ', ':']).parse::<f64>().ok());
    // What counts is emulated at about that speed; a computer that does not say it counts nanoseconds.
    let megahertz = frequencies.fold(0.0, f64::max);
    format!("tsc_early_khz={:.0}", if megahertz > 0.0 { megahertz * 1000.0 } else { 1e6 })
}

#[test]
fn x86_64_on_a_microvm() {
    let Some(about) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let guest = home.create("Guest", about.arguments("microvm", &clock()));
    answers_and_ends(&guest, &about);
    // It is noticed as well where nobody asked for it.
    answers(&guest, &about);
    guest.types_last("poweroff -f");
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
}

#[test]
fn a_microvm_without_acpi_tables_is_only_ended_by_force() {
    let Some(about) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let guest = home.create("Guest", about.arguments("microvm", "acpi=off"));
    answers(&guest, &about);
    let failure = home.refused(&["stop", "Guest", "--timeout", "3"], 1);
    assert_eq!(failure["kind"], "timeout", "{failure:#}");
    assert!(
        failure["hint"].as_str().is_some_and(|hint| hint.contains("power button") && hint.contains("viv stop Guest --force")),
        "{failure:#}"
    );
    // The guest halts, and has no power to switch off.
    guest.types("poweroff -f", "System halted");
    assert_eq!(guest.state(), "running");
    ends(&guest, &Assembled { power_button: false, powers_off: false, ..about });
}

#[test]
fn i386_on_a_pc() {
    kernel("i386", "pc");
}

#[test]
fn i386_on_a_q35() {
    kernel("i386", "q35");
}

#[test]
fn aarch64() {
    kernel("aarch64", "virt");
}

#[test]
fn arm() {
    kernel("arm", "virt");
}

#[test]
fn armv6_on_a_raspberry_pi_zero() {
    kernel("armv6", "raspi0");
}

#[test]
fn ppc64() {
    kernel("ppc64", "pseries");
}

#[test]
fn s390x() {
    kernel("s390x", "s390-ccw-virtio");
}

#[test]
fn riscv64() {
    kernel("riscv64", "virt");
}

#[test]
fn mips64el() {
    kernel("mips64el", "malta");
}

#[test]
fn mipsel() {
    kernel("mipsel", "malta");
}

/// Every guest that was assembled has a test here.
#[test]
fn none_is_left_out() {
    let Some(all) = Guests::load() else { return };
    let known = ["x86_64", "i386", "aarch64", "arm", "armv6", "ppc64", "s390x", "riscv64", "loongarch64", "mips64el", "mipsel"];
    let missing: Vec<&str> = all.guests.iter().map(|guest| guest.name.as_str()).filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "without a test: {missing:?}");
}

/// A disk that somebody made elsewhere is imported, and starts by the UEFI that the machine gets by itself.
fn uefi_disk(name: &str) {
    let Some(about) = Guests::find(name) else { return };
    let disk = about.images["uefi_disk"].display().to_string();
    let home = Home::new();
    if let Some(firmware) = &about.firmware {
        home.install_firmware(&about.architecture, firmware);
    }
    home.ok(&["import", &disk, "--name", "Guest", "--arch", &about.architecture, "--memory", &format!("{}MiB", about.memory_mib)]);
    let guest = Guest::existing(&home, "Guest");
    answers(&guest, &about);
    guest.run("test -d /sys/firmware/efi");
    ends(&guest, &about);
    assert!(home.bundle("Guest").join("Data/efi_vars.fd").exists(), "what the firmware remembers is kept");
}

#[test]
fn x86_64_by_uefi() {
    uefi_disk("x86_64");
}

#[test]
fn aarch64_by_uefi() {
    uefi_disk("aarch64");
}

#[test]
fn arm_by_uefi() {
    uefi_disk("arm");
}

#[test]
fn riscv64_by_uefi() {
    uefi_disk("riscv64");
}

/// Its kernel is packed as only firmware can unpack it, so there is no test that hands it to QEMU.
#[test]
fn loongarch64_by_uefi() {
    uefi_disk("loongarch64");
}

#[test]
fn x86_64_by_bios_from_a_cd() {
    let Some(about) = Guests::find("x86_64") else { return };
    let iso = about.images["iso"].display().to_string();
    let home = Home::new();
    let guest = home.create("Guest", ["--arch", "x86_64", "--firmware", "bios", "--iso", &iso, "--memory", "512MiB"]);
    guest.start();
    guest.hears(&about.ready);
    guest.up();
    assert_ne!(guest.try_run("test -d /sys/firmware/efi").0, 0);
    guest.viv("stop", &["--timeout", &PATIENCE.as_secs().to_string()]);
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
}

/// Boots a CD on a PC until its screen is as it should be.
fn cd(medium: &str, firmware: &str, shows: impl Fn(&acceptance::Picture) -> bool) {
    let Some(iso) = Guests::medium(medium) else { return };
    if emulator("x86_64").is_none() {
        return;
    }
    let iso = iso.display().to_string();
    let home = Home::new();
    let arguments = ["--arch", "x86_64", "--firmware", firmware, "--iso", &iso, "--no-disk", "--network", "none", "--memory", "512MiB"];
    let guest = home.create("Guest", arguments);
    guest.start();
    let mut last = None;
    eventually("the screen is as it should be", PATIENCE, || {
        let picture = guest.picture();
        std::thread::sleep(Duration::from_millis(200));
        let seen = shows(&picture);
        last = Some((picture.width, picture.height, picture.lit()));
        seen.then_some(())
    });
    assert_eq!(guest.state(), "running");
    guest.viv("stop", &["--force"]);
}

#[test]
fn memtest_starts_from_a_cd() {
    // Its whole screen is blue, with the results in grey.
    let blue = |pixel: [u8; 3]| pixel[2] > 120 && pixel[0] < 80 && pixel[1] < 80;
    cd("memtest_iso", "bios", |picture| picture.share(blue) > 0.5);
}

#[test]
fn memtest_starts_by_uefi() {
    let blue = |pixel: [u8; 3]| pixel[2] > 120 && pixel[0] < 80 && pixel[1] < 80;
    cd("memtest_iso", "uefi", |picture| picture.share(blue) > 0.5);
}

#[test]
fn the_debian_installer_starts() {
    let (Some(kernel), Some(initrd)) = (Guests::medium("debian_installer_kernel"), Guests::medium("debian_installer_initrd")) else {
        return;
    };
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let (kernel, initrd) = (kernel.display().to_string(), initrd.display().to_string());
    // It would run on the screen's console too, and of two at once one now and then crashes. A bare `url` makes it run on one.
    let words = "console=ttyS0 DEBIAN_FRONTEND=text priority=critical --- url";
    let mut arguments = vec!["--arch", "x86_64", "--kernel", &kernel, "--initrd", &initrd, "--append", words];
    arguments.extend(["--memory", "1GiB", "--no-display", "--disk", "2GiB"]);
    let guest = home.create("Installer", arguments);
    guest.start();
    guest.hears("Select a language");
    guest.viv("stop", &["--force"]);
}

/// A menu in a frame, with one entry highlighted: rows that are lit from side to side, which no text is.
fn is_grubs_menu(picture: &acceptance::Picture) -> bool {
    picture.rules(0.9) >= 8
}

#[test]
fn the_grub_rescue_cd_shows_its_menu() {
    cd("grub_rescue_iso", "bios", is_grubs_menu);
}

#[test]
fn a_firmware_that_finds_nothing_to_start_shows_no_menu() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let guest = home.create("Empty", ["--arch", "x86_64", "--firmware", "bios", "--no-disk", "--network", "none", "--memory", "256MiB"]);
    guest.start();
    // It says what it tries, and that there is no bootable device.
    let said = eventually("the firmware has said much", PATIENCE, || Some(guest.picture()).filter(|picture| picture.lit() > 3000));
    assert!(!is_grubs_menu(&said));
    guest.viv("stop", &["--force"]);
}
