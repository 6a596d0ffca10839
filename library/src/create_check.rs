//! What is wrong with a request for a machine, by the option that it is about.

use std::fs::File;
use std::path::Path;

use bundle::tables::{self, capabilities};
use bundle::{Problem, nearest};
use disk_image::Doubt;
use machine::Offer;

use crate::create_plan::{architecture, machine_is_possible, target};
use crate::{
    BackendChoice, CreateSpec, DiskSpec, Error, ErrorKind, Firmware, NetworkSpec, Os, arguments, create_devices, host, images, media,
};
use bundle::qemu::ImageType;

/// Findings about the options of a request.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    /// How many of them are about files that are not there.
    missing: usize,
}

impl Findings {
    fn wrong(&mut self, what: &str, message: impl Into<String>) {
        self.problems.push(Problem::fatal(what, message));
    }

    fn wrong_hint(&mut self, what: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::fatal(what, message).with_hint(hint));
    }

    /// The file of an option, with what is wrong with it.
    fn file(&mut self, what: &str, path: &Path, wrong: Option<String>) {
        if let Some(message) = wrong {
            self.missing += usize::from(!path.exists());
            self.wrong(what, message);
        }
    }

    /// What makes one doubt that a file is what it is given as. `--force` is what `viv` calls [`CreateSpec::unchecked`].
    fn doubt(&mut self, what: &str, path: &Path, kind: &str, look: impl Fn(&File) -> std::io::Result<Option<Doubt>>) {
        // A drive with a disc in it is what it is.
        if !std::fs::metadata(path).is_ok_and(|data| data.is_file()) {
            return;
        }
        let (message, hint) = match File::open(path).and_then(|file| look(&file)) {
            Ok(None) => return,
            Ok(Some(doubt @ Doubt::Compressed(_))) => (format!("Not {kind}: {doubt}; unpack it first: {}", path.display()), None),
            Ok(Some(doubt)) => (format!("Not {kind}: {doubt}: {}", path.display()), Some("`--force` takes it all the same")),
            Err(error) => (format!("Cannot read: {error}: {}", path.display()), None),
        };
        match hint {
            Some(hint) => self.wrong_hint(what, message, hint),
            None => self.wrong(what, message),
        }
    }

    fn error(self, message: &str) -> Result<(), Error> {
        let kind = match self.problems.len() {
            0 => return Ok(()),
            all if all == self.missing => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        };
        Err(Error::new(kind, message).with_problems(self.problems))
    }
}

/// Refuses a request with everything that makes no sense in it, whatever there is on this computer.
pub(crate) fn check(spec: &CreateSpec) -> Result<(), Error> {
    let mut findings = Findings::default();
    machine(spec, &mut findings);
    files(spec, &mut findings);
    boot(spec, &mut findings);
    network(spec, &mut findings);
    findings.error("Such a machine cannot be made")
}

fn machine(spec: &CreateSpec, findings: &mut Findings) {
    let architecture = architecture(spec);
    let native = spec.backend == BackendChoice::Native;
    if let Some(machine) = &spec.machine {
        if native {
            findings.wrong("machine", "The native backend has one machine only");
        } else if machine == "none" {
            findings.wrong("machine", "\"none\" is a machine without processor and memory, which nothing can run on");
        } else if !machine_is_possible(architecture, machine) {
            let similar = nearest(machine, tables::machines(architecture).iter().copied());
            unknown(findings, "machine", machine, &format!("is not a machine of {architecture}"), &similar);
        }
    }
    if let Some(cpu) = &spec.cpu {
        if native {
            findings.wrong("cpu", "The native backend has the processor of this computer");
        } else if !tables::cpu_is_known(architecture, cpu) {
            let similar = nearest(cpu, tables::cpus(architecture).iter().copied());
            unknown(findings, "cpu", cpu, &format!("is not a processor model of {architecture}"), &similar);
        }
    }
    if native && Some(architecture) != host::architecture() {
        let message = format!("The native backend runs guests of this computer's architecture only, not {architecture}");
        findings.wrong("architecture", message);
    }
    if native && spec.os == Os::Windows {
        findings.wrong("os", "The native backend cannot run Windows; use QEMU");
    }
    if spec.os == Os::MacOs && !(native && cfg!(target_os = "macos")) {
        findings.wrong("os", "macOS guests need Apple hardware and macOS");
    }
    if spec.virtualize == Some(true) && !tables::hypervisor_is_possible(architecture, host::architecture()) {
        findings.wrong("virtualize", format!("This computer's processor does not run {architecture} instructions; they can be emulated"));
    }
    if spec.virtualize == Some(false) && native {
        findings.wrong("virtualize", "The native backend has the processor of this computer; QEMU emulates others");
    }
    if spec.memory_mib == Some(0) {
        findings.wrong("memory", "A machine needs memory");
    }
    if spec.cpus == Some(0) {
        findings.wrong("cpus", "A machine needs a processor");
    }
    if spec.tpm == Some(true) && native {
        findings.wrong("tpm", "The native backend has no TPM");
    }
}

/// A name that does not exist, with those that look like it, and how to see all.
fn unknown(findings: &mut Findings, what: &str, name: &str, is_not: &str, similar: &[String]) {
    let meant = if similar.is_empty() { String::new() } else { format!("did you mean {}? ", similar.join(", ")) };
    findings.wrong_hint(what, format!("\"{}\" {is_not}", name.escape_debug()), format!("{meant}`--{what} help` lists them"));
}

fn files(spec: &CreateSpec, findings: &mut Findings) {
    for (what, path) in [("kernel", &spec.kernel), ("initrd", &spec.initrd), ("dtb", &spec.dtb), ("bios", &spec.bios)] {
        if let Some(path) = path {
            findings.file(what, path, not_a_file(path));
        }
    }
    for path in &spec.isos {
        match media::wrong_with(path) {
            None if !spec.unchecked => findings.doubt("iso", path, "the image of a CD or DVD", disk_image::doubt_as_disc),
            wrong => findings.file("iso", path, wrong),
        }
    }
    for disk in spec.disks.iter().flatten() {
        match (&disk.source, images::wrong_with(disk)) {
            (Some(source), None) if !spec.unchecked => findings.doubt("disk", source, "a disk image", disk_image::doubt_as_disk),
            (Some(source), wrong) => findings.file("disk", source, wrong),
            (None, wrong) => wrong.into_iter().for_each(|message| findings.wrong("disk", message)),
        }
    }
}

fn not_a_file(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(data) if data.is_file() && data.len() == 0 => Some(format!("It is empty: {}", path.display())),
        Ok(data) if data.is_file() => None,
        Ok(_) => Some(format!("Not a file: {}", path.display())),
        Err(error) => Some(format!("Cannot open: {error}: {}", path.display())),
    }
}

fn boot(spec: &CreateSpec, findings: &mut Findings) {
    let native = spec.backend == BackendChoice::Native;
    let kernel = spec.kernel.is_some();
    for (what, given) in [("initrd", spec.initrd.is_some()), ("dtb", spec.dtb.is_some()), ("append", spec.append.is_some())] {
        if given && !kernel {
            findings.wrong(what, "Only makes sense with a kernel");
        }
    }
    if native && spec.dtb.is_some() {
        findings.wrong("dtb", "The native backend makes the device tree itself");
    }
    if native && spec.bios.is_some() {
        findings.wrong("bios", "The native backend boots UEFI or a kernel");
    }
    if let Some(text) = &spec.append
        && !native
        && arguments::quoted(text).is_none()
    {
        findings.wrong("append", "UTM's format cannot hold blanks both inside and outside of double quotes");
    }
    let architecture = architecture(spec);
    match spec.firmware {
        None => {}
        Some(Firmware::Uefi) if !native && !capabilities(architecture, &target(spec)).uefi => {
            findings.wrong("firmware", format!("There is no UEFI for {architecture}"));
        }
        Some(Firmware::Uefi) if !native && (kernel || spec.bios.is_some()) => {
            let message = "A kernel is started directly, and firmware of one's own instead of UEFI";
            findings.wrong_hint("firmware", message, "leave one of the two out");
        }
        Some(Firmware::Uefi) => {}
        Some(Firmware::None | Firmware::Bios) if native && !kernel => {
            findings.wrong("firmware", "The native backend boots UEFI or a kernel");
        }
        Some(Firmware::None) if spec.bios.is_some() => {
            findings.wrong("firmware", "Firmware is given, and none is asked for");
        }
        Some(Firmware::None) if !kernel => {
            findings.wrong_hint("firmware", "Without firmware a machine starts nothing but a kernel", "give it one with --kernel");
        }
        Some(Firmware::None | Firmware::Bios) => {}
    }
}

fn network(spec: &CreateSpec, findings: &mut Findings) {
    let native = spec.backend == BackendChoice::Native;
    if !spec.port_forwards.is_empty() && !matches!(spec.network, None | Some(NetworkSpec::User)) {
        findings.wrong("forward", "Ports can be forwarded with NAT only");
    }
    if native && (!spec.port_forwards.is_empty() || spec.network == Some(NetworkSpec::Host)) {
        findings.wrong("network", "The native backend has NAT without port forwarding, and bridges");
    }
    if let Some(NetworkSpec::Bridged(interface)) = &spec.network
        && (interface.is_empty() || interface.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()))
    {
        findings.wrong("network", format!("\"{}\" cannot be the name of a network interface", interface.escape_debug()));
    }
}

/// Refuses what was asked for and the machine type does not offer.
pub(crate) fn check_offer(spec: &CreateSpec, offer: &Offer) -> Result<(), Error> {
    let mut findings = Findings::default();
    let target = target(spec);
    if let Some(need) = &offer.needs
        && !(need.firmware && spec.bios.is_some() || need.kernel && spec.kernel.is_some())
    {
        let hint = match (need.firmware, need.kernel) {
            (true, false) => "give it its firmware with --bios",
            (false, true) => "give it a kernel with --kernel",
            _ => "give it a kernel with --kernel, or its firmware with --bios",
        };
        findings.wrong_hint("machine", format!("The machine {target} does not start by itself: QEMU says \"{}\"", need.said), hint);
    }
    if let Some(memory) = spec.memory_mib.filter(|memory| *memory > 0 && *memory != offer.memory_mib) {
        let hint = format!("it takes {} MiB", offer.memory_mib);
        findings.wrong_hint("memory", format!("The machine {target} cannot have {memory} MiB of memory"), hint);
    }
    if let Some(cpus) = spec.cpus.filter(|cpus| *cpus > offer.cpus_max) {
        findings.wrong("cpus", format!("The machine {target} has at most {} processors, not {cpus}", offer.cpus_max));
    }
    let devices = create_devices::Devices { architecture: architecture(spec), target: &target, os: spec.os, offer: Some(offer) };
    let asks_for_disk = |disk: &DiskSpec| disk.interface.is_none();
    if spec.disks.iter().flatten().any(asks_for_disk) && devices.interface(ImageType::Disk).is_none() {
        findings.wrong("disk", format!("The machine {target} has no place for a disk"));
    }
    if !spec.isos.is_empty() && devices.interface(ImageType::Cd).is_none() {
        findings.wrong("iso", format!("The machine {target} has no place for a CD drive"));
    }
    match spec.firmware {
        Some(Firmware::Uefi) if offer.uefi.is_none() => {
            findings.wrong("firmware", format!("The machine {target} has no place for UEFI firmware"));
        }
        Some(Firmware::Bios) if offer.firmware.is_none() && spec.kernel.is_none() && spec.bios.is_none() => {
            let other = if offer.uefi.is_some() { "choose UEFI, or give it a kernel" } else { "give it a kernel, or firmware with --bios" };
            findings.wrong_hint("firmware", format!("QEMU has no firmware of its own for the machine {target}"), other);
        }
        _ => {}
    }
    if spec.display == Some(true) && offer.displays.is_empty() {
        findings.wrong("display", format!("The machine {target} has no place for a screen"));
    }
    let asks_for_network = !spec.port_forwards.is_empty() || spec.network.as_ref().is_some_and(|wanted| *wanted != NetworkSpec::None);
    if asks_for_network && offer.networks.is_empty() {
        findings.wrong("network", format!("The machine {target} has no place for a network card"));
    }
    findings.error("Such a machine cannot be made")
}

#[cfg(test)]
mod tests {
    use bundle::Architecture;
    use machine::{BootNeed, UefiOffer};

    use super::*;

    fn keys(refused: Result<(), Error>) -> Vec<String> {
        refused.map_or_else(|error| error.problems().iter().map(|problem| problem.key_path.clone()).collect(), |()| Vec::new())
    }

    #[test]
    fn what_a_board_cannot_have_is_refused_where_it_was_asked_for() {
        let bare = Offer { memory_mib: 16, cpus_max: 1, ..Offer::default() };
        let spec = CreateSpec {
            architecture: Some(Architecture::Rx),
            memory_mib: Some(512),
            cpus: Some(2),
            disks: Some(vec![DiskSpec::of_size(1 << 30)]),
            isos: vec!["/a.iso".into()],
            network: Some(NetworkSpec::User),
            firmware: Some(Firmware::Bios),
            ..CreateSpec::default()
        };
        assert_eq!(keys(check_offer(&spec, &bare)), ["memory", "cpus", "disk", "iso", "firmware", "network"]);
        assert_eq!(keys(check_offer(&CreateSpec { architecture: Some(Architecture::Rx), ..CreateSpec::default() }, &bare)), [""; 0]);
    }

    #[test]
    fn firmware_means_what_it_says() {
        let spec = |firmware, kernel: bool| CreateSpec {
            architecture: Some(Architecture::Aarch64),
            firmware: Some(firmware),
            kernel: kernel.then(|| "/proc/self/exe".into()),
            ..CreateSpec::default()
        };
        let virt = Offer { uefi: Some(UefiOffer { installed: true, package: "x".into() }), ..Offer::default() };
        assert_eq!(keys(check(&spec(Firmware::None, false))), ["firmware"]);
        assert_eq!(keys(check(&spec(Firmware::None, true))), [""; 0]);
        assert_eq!(keys(check(&spec(Firmware::Uefi, true))), ["firmware"]);
        // This machine has none of its own: a BIOS is a thing of other machines.
        assert_eq!(keys(check_offer(&spec(Firmware::Bios, false), &virt)), ["firmware"]);
        assert_eq!(keys(check_offer(&spec(Firmware::Uefi, false), &Offer::default())), ["firmware"]);
        let pc = Offer { firmware: Some("bios.bin".to_owned()), ..virt };
        assert_eq!(keys(check_offer(&spec(Firmware::Bios, false), &pc)), [""; 0]);
    }

    #[test]
    fn a_board_that_needs_firmware_is_refused_without_it() {
        let need = |firmware, kernel| Offer { needs: Some(BootNeed { firmware, kernel, said: "no ROM".to_owned() }), ..Offer::default() };
        let spec = CreateSpec { architecture: Some(Architecture::M68k), machine: Some("q800".to_owned()), ..CreateSpec::default() };
        let refused = check_offer(&spec, &need(true, false)).unwrap_err();
        assert!(refused.problems()[0].message.contains("no ROM") && refused.problems()[0].hint.as_deref().unwrap().contains("--bios"));
        let with_rom = CreateSpec { bios: Some("/rom".into()), ..spec };
        assert_eq!(keys(check_offer(&with_rom, &need(true, false))), [""; 0]);
        assert_eq!(keys(check_offer(&with_rom, &need(false, true))), ["machine"]);
    }

    #[test]
    fn unknown_names_come_with_those_that_look_like_them() {
        let spec = |machine: &str, cpu: &str| CreateSpec {
            architecture: Some(Architecture::X86_64),
            machine: Some(machine.to_owned()),
            cpu: Some(cpu.to_owned()),
            ..CreateSpec::default()
        };
        let refused = check(&spec("q53", "Skylark-Client")).unwrap_err();
        let hints: Vec<&str> = refused.problems().iter().filter_map(|problem| problem.hint.as_deref()).collect();
        assert!(hints[0].contains("q35") && hints[0].contains("`--machine help`"), "{hints:?}");
        assert!(hints[1].contains("Skylake-Client") && hints[1].contains("`--cpu help`"), "{hints:?}");
        // A version that this program does not know may be one that the installed QEMU does.
        assert_eq!(keys(check(&spec("pc-q35-99.0", "max"))), [""; 0]);
    }
}
