//! Disks, CDs and floppies: the device for each drive. The list of drives is also the order in which they are tried for booting.

use std::collections::{BTreeMap, BTreeSet};

use bundle::qemu::{Drive, DriveInterface, ImageType};
use bundle::{Architecture, Problem};

use super::builder::{Builder, printable};
use super::nodes::{self, Graph, Use};
use super::request::Image;
use super::result::{DriveNames, Subject};
use crate::facts::BusKind;

/// Addresses that are taken, by interface.
#[derive(Default)]
struct Taken {
    next: BTreeMap<DriveInterface, usize>,
    names: BTreeSet<String>,
    /// Place of the next drive that gets one in the boot order.
    boot: usize,
    scsi_bus: Option<String>,
    floppy_bus: Option<String>,
}

/// A drive with what is known about it.
struct Candidate<'d> {
    index: usize,
    drive: &'d Drive,
    image: Option<&'d Image>,
    cd: bool,
    key: String,
    /// Node name, and first part of the names of further nodes.
    node: String,
    /// Name of the device.
    id: String,
}

pub(super) fn add(b: &mut Builder<'_>) {
    let mut taken = Taken::default();
    // PCs start a kernel through an option ROM, which is the first in the boot order. Two firsts are one too many for QEMU.
    let kernel = |drive: &Drive| drive.image_type == ImageType::LinuxKernel;
    if b.configuration().drives.iter().any(kernel) || super::user::words(b.configuration()).iter().any(|word| word == "-kernel") {
        taken.boot = 1;
    }
    // Whoever sets the firmware's boot device means that and not our order.
    let order_is_set = matches!(b.architecture(), Architecture::Ppc | Architecture::Ppc64)
        && super::user::words(b.configuration())
            .windows(2)
            .any(|pair| matches!(pair, [option, value] if option == "-prom-env" && value.starts_with("boot-device=")));
    let configuration = b.configuration();
    for (index, drive) in configuration.drives.iter().enumerate() {
        let cd = match drive.image_type {
            ImageType::Disk => false,
            ImageType::Cd => true,
            // Boot files are another subject; a drive without a type is not attached, as in UTM.
            _ => continue,
        };
        let key = format!("Drive[{index}]");
        let Some((node, id)) = names(b, &mut taken, &key, &drive.identifier) else { continue };
        let image = b.request.images.get(&drive.identifier);
        if let Some(name) = &drive.image_name
            && image.is_none()
        {
            b.fatal(format!("{key}.ImageName"), format!("the image {} is missing", printable(name.as_str())));
            continue;
        }
        let candidate = Candidate { index, drive, image, cd, key, node, id };
        attach(b, &mut taken, &candidate, !order_is_set);
    }
}

/// Node and device names; node names have at most 31 characters, of which 6 are for suffixes.
fn names(b: &mut Builder<'_>, taken: &mut Taken, key: &str, identifier: &str) -> Option<(String, String)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if identifier.is_empty() || identifier.len() > 128 || !identifier.chars().all(plain) {
        let message = format!("{} cannot name a drive", printable(identifier));
        b.report(Problem::fatal(format!("{key}.Identifier"), message).with_hint("use up to 128 letters, digits and . - _"));
        return None;
    }
    let id = format!("drive{identifier}");
    if !taken.names.insert(id.clone()) {
        b.fatal(format!("{key}.Identifier"), format!("{} names two drives", printable(identifier)));
        return None;
    }
    let short: String = identifier.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    let mut node = format!("drive{short}");
    let mut number = 0;
    while !taken.names.insert(format!("node {node}")) {
        number += 1;
        node = format!("drive{}x{number}", short.chars().take(15).collect::<String>());
    }
    Some((node, id))
}

impl Candidate<'_> {
    /// Writable by the guest: not a CD, not protected.
    fn writable(&self) -> bool {
        !self.cd && !self.drive.read_only && !self.image.is_some_and(|image| image.read_only)
    }

    fn removable(&self) -> bool {
        self.cd || self.drive.is_external()
    }

    /// What the guest reads as serial number: 20 characters of the identifier.
    fn serial(&self) -> String {
        self.drive.identifier.chars().filter(|c| *c != '-').take(20).collect()
    }

    fn use_of(&self) -> Use<'_> {
        Use { key: &self.key, name: &self.node, writable: self.writable(), subject: Subject::Drive }
    }

    /// The nodes, or nothing for an empty drive that can be empty.
    fn graph(&self, b: &mut Builder<'_>, can_be_empty: bool) -> Option<Graph> {
        match self.image {
            Some(image) => nodes::add(b, image, &self.use_of()),
            None if can_be_empty => None,
            None => Some(nodes::placeholder(b, &self.node)),
        }
    }

    /// Tells what it is called. `device`: whether there is one, and it can be empty.
    fn register(&self, b: &mut Builder<'_>, device: Option<bool>, graph: Option<Graph>) {
        let Graph { nodes, sets } = graph.unwrap_or_default();
        b.out.drives.push(DriveNames {
            identifier: self.drive.identifier.clone(),
            device: device.map(|_| self.id.clone()),
            nodes,
            sets,
            empty: self.image.is_none(),
            removable: device == Some(true) && self.removable(),
        });
    }
}

fn attach(b: &mut Builder<'_>, taken: &mut Taken, candidate: &Candidate<'_>, boot_order: bool) {
    let interface = candidate.drive.interface;
    let n = {
        let next = taken.next.entry(interface).or_insert(0);
        let n = *next;
        *next += 1;
        n
    };
    let key = format!("{}.Interface", candidate.key);
    let target = b.target();
    let lacks = |bus: &str| format!("the machine {target} has no {bus} bus");
    let kind = match interface {
        DriveInterface::Ide => Some(BusKind::Ide),
        DriveInterface::Scsi => None,
        DriveInterface::Usb => Some(BusKind::Usb),
        DriveInterface::Nvme => Some(BusKind::Pci),
        _ => None,
    };
    if let Some(kind) = kind.filter(|kind| !b.has_bus(*kind)) {
        return b.report(Problem::fatal(key, lacks(kind.name())).with_hint(suggestion(b)));
    }
    let device = match interface {
        DriveInterface::Ide => ide(b, candidate, n),
        DriveInterface::Scsi => scsi(b, taken, candidate, n),
        DriveInterface::VirtIo => virtio(b, candidate),
        DriveInterface::Nvme => Some((format!("nvme,serial={}", candidate.drive.identifier), Vec::new())),
        DriveInterface::Usb => usb(b, candidate),
        DriveInterface::Floppy if b.has_bus(BusKind::Isa) && b.is_pc() => floppy(b, taken, candidate, n),
        DriveInterface::Floppy => return board_drive(b, candidate, "floppy", n),
        DriveInterface::Sd => return board_drive(b, candidate, "sd", n),
        DriveInterface::Mtd => return board_drive(b, candidate, "mtd", n),
        DriveInterface::PFlash => return flash(b, candidate, n),
        DriveInterface::None => {
            // Only a node: additional arguments may use it.
            let graph = candidate.graph(b, true);
            return candidate.register(b, None, graph);
        }
    };
    let Some((mut device, before)) = device else { return };
    let name = device.split(',').next().unwrap_or_default().to_owned();
    if !b.exists(&key, &name) {
        return;
    }
    let can_be_empty = matches!(name.as_str(), "ide-cd" | "scsi-cd" | "floppy");
    let empty = candidate.image.is_none();
    if empty && !can_be_empty && candidate.drive.is_external() && !b.emulator().block_drivers.contains("null-co") {
        return b.fatal(candidate.key.clone(), "the drive is empty, and the installed QEMU cannot make an empty drive of this kind");
    }
    let graph = candidate.graph(b, can_be_empty);
    if graph.is_none() && !(empty && can_be_empty) {
        return;
    }
    for line in before {
        b.device(Subject::Drive, line);
    }
    if let Some(graph) = &graph {
        device.push_str(&format!(",drive={}", graph.top()));
    }
    device.push_str(&format!(",id={}", candidate.id));
    if boot_order && name == "floppy" {
        // A floppy's place in the order belongs to the controller, which may be part of the board.
        let letter = if n == 0 { 'A' } else { 'B' };
        b.option(Subject::Drive, "-global", format!("isa-fdc.bootindex{letter}={}", taken.boot));
    } else if boot_order {
        device.push_str(&format!(",bootindex={}", taken.boot));
    }
    taken.boot += 1;
    b.device(Subject::Drive, device);
    candidate.register(b, Some(can_be_empty), graph);
}

/// The interfaces that this machine has, as advice.
fn suggestion(b: &Builder<'_>) -> String {
    let mut names = Vec::new();
    if b.virtio("blk").is_some() {
        names.push("VirtIO");
    }
    for (kind, name) in [(BusKind::Ide, "IDE"), (BusKind::Scsi, "SCSI"), (BusKind::Usb, "USB"), (BusKind::Sd, "SD")] {
        if b.has_bus(kind) {
            names.push(name);
        }
    }
    if b.has_bus(BusKind::Pci) {
        names.push("NVMe");
    }
    if names.is_empty() { "use a kernel image instead of a drive".to_owned() } else { format!("it can have {}", names.join(", ")) }
}

type Device = Option<(String, Vec<String>)>;

fn ide(b: &mut Builder<'_>, candidate: &Candidate<'_>, n: usize) -> Device {
    let device = if candidate.cd { "ide-cd" } else { "ide-hd" };
    let single = b.is_pc() || matches!(b.target(), "microvm" | "cubieboard" | "highbank" | "midway" | "xlnx-zcu102" | "xlnx_zcu102");
    let buses: Option<Vec<String>> = b.request.board.map(|board| board.of_kind(BusKind::Ide).map(|bus| bus.name.clone()).collect());
    let sata = b.request.board.is_some_and(|board| board.devices.iter().any(|device| device.contains("ahci")));
    let (bus, unit) = if candidate.drive.interface_version >= 1 && !single && !sata { (n / 2, n % 2) } else { (n, 0) };
    let name = |bus: usize| format!("ide.{bus}");
    let (bus, unit) = match &buses {
        Some(buses) if !buses.contains(&name(bus)) => {
            // The first units are all taken: the second ones are left, on controllers that have them.
            let count = buses.len();
            match n.checked_sub(count) {
                Some(second) if unit == 0 && !sata && buses.contains(&name(second)) => (second, 1),
                _ => {
                    let target = b.target();
                    let most = if sata { count } else { 2 * count };
                    b.report(
                        Problem::fatal(
                            format!("{}.Interface", candidate.key),
                            format!("the machine {target} has room for {most} IDE drives"),
                        )
                        .with_hint(suggestion(b)),
                    );
                    return None;
                }
            }
        }
        _ => (bus, unit),
    };
    Some((format!("{device},bus={},unit={unit}", name(bus)), Vec::new()))
}

fn scsi(b: &mut Builder<'_>, taken: &mut Taken, candidate: &Candidate<'_>, n: usize) -> Device {
    let mut before = Vec::new();
    if taken.scsi_bus.is_none() {
        let sparc = matches!(b.architecture(), Architecture::Sparc | Architecture::Sparc64);
        let believed = b.request.board.is_none() && (sparc || b.target() == "q800");
        let own = b.bus_name(BusKind::Scsi).or_else(|| believed.then(|| "scsi.0".to_owned()));
        taken.scsi_bus = match own {
            // UTM gives every board but these its own controller, and guests know their disks by it.
            Some(bus) if sparc || b.architecture() == Architecture::M68k => Some(bus),
            own => {
                let controller = if b.architecture() == Architecture::M68k { None } else { Some("lsi53c895a") };
                let controller = controller.filter(|name| b.has_bus(BusKind::Pci) && b.emulator().has_device(name)).map(str::to_owned);
                match controller.or_else(|| own.is_none().then(|| b.virtio("scsi")).flatten()) {
                    Some(controller) => {
                        before.push(format!("{controller},id=scsi0"));
                        Some("scsi0.0".to_owned())
                    }
                    None => own,
                }
            }
        };
    }
    let Some(bus) = taken.scsi_bus.clone() else {
        let target = b.target();
        let message = format!("the machine {target} has no SCSI bus, and no controller fits into it");
        b.report(Problem::fatal(format!("{}.Interface", candidate.key), message).with_hint(suggestion(b)));
        return None;
    };
    // The controller itself is number 7 of a parallel bus.
    if n >= 7 {
        b.report(Problem::fatal(format!("{}.Interface", candidate.key), "a SCSI bus has room for 7 drives").with_hint(suggestion(b)));
        return None;
    }
    let device = if candidate.cd { "scsi-cd" } else { "scsi-hd" };
    Some((format!("{device},bus={bus},channel=0,scsi-id={n}"), before))
}

fn virtio(b: &mut Builder<'_>, candidate: &Candidate<'_>) -> Device {
    let Some(device) = b.virtio("blk") else {
        let target = b.target();
        let message = format!("the machine {target} has no bus for VirtIO");
        b.report(Problem::fatal(format!("{}.Interface", candidate.key), message).with_hint(suggestion(b)));
        return None;
    };
    Some((format!("{device},serial={}", candidate.serial()), Vec::new()))
}

fn usb(b: &mut Builder<'_>, candidate: &Candidate<'_>) -> Device {
    // See the keyboard: each controller has one port, and it is taken.
    if b.request.board.is_some_and(|board| board.devices.contains("usb-chipidea")) {
        let target = b.target();
        let problem = Problem::fatal(format!("{}.Interface", candidate.key), format!("the USB ports of the machine {target} are taken"));
        b.report(problem.with_hint(suggestion(b)));
        return None;
    }
    let bus = b.usb_bus.clone().or_else(|| b.bus_name(BusKind::Usb)).unwrap_or_else(|| "usb-bus.0".to_owned());
    if candidate.cd {
        // A CD cannot be made by usb-storage from a node; the bridge with its drive is the same to the guest.
        let bridge = format!("usb{}", candidate.index);
        return Some((format!("scsi-cd,bus={bridge}.0,scsi-id=0,lun=0"), vec![format!("usb-bot,id={bridge},bus={bus}")]));
    }
    let removable = if candidate.removable() { "on" } else { "off" };
    Some((format!("usb-storage,bus={bus},removable={removable}"), Vec::new()))
}

fn floppy(b: &mut Builder<'_>, taken: &mut Taken, candidate: &Candidate<'_>, n: usize) -> Device {
    let mut before = Vec::new();
    if n >= 2 {
        b.report(Problem::fatal(format!("{}.Interface", candidate.key), "a PC has room for 2 floppy drives"));
        return None;
    }
    if taken.floppy_bus.is_none() {
        taken.floppy_bus = Some(match b.bus_name(BusKind::Floppy) {
            Some(bus) => bus,
            None => {
                before.push("isa-fdc,id=fdc0".to_owned());
                "fdc0.0".to_owned()
            }
        });
    }
    let bus = taken.floppy_bus.clone()?;
    Some((format!("floppy,bus={bus},unit={n}"), before))
}

/// Devices that only the board itself has: `-drive if=`.
fn board_drive(b: &mut Builder<'_>, candidate: &Candidate<'_>, interface: &str, n: usize) {
    let key = format!("{}.Interface", candidate.key);
    let target = b.target();
    for (name, kind) in [("sd", BusKind::Sd), ("floppy", BusKind::Floppy)] {
        if interface == name && !b.has_bus(kind) {
            let problem = Problem::fatal(key, format!("the machine {target} has no {} drive", kind.name()));
            return b.report(problem.with_hint(suggestion(b)));
        }
    }
    if interface == "sd" {
        if !candidate.writable() {
            let problem = Problem::fatal(key, "an SD card can be written to; a CD or a protected image cannot be one");
            return b.report(problem.with_hint(suggestion(b)));
        }
        if let Some(size) = candidate.image.and_then(|image| image.virtual_size).filter(|size| !size.is_power_of_two()) {
            let larger = size.checked_next_power_of_two().unwrap_or(size) >> 20;
            let problem = Problem::fatal(key, format!("the size of an SD card is a power of two, and this image has {size} bytes"));
            return b.report(problem.with_hint(format!("resize the image to {larger} MiB")));
        }
    }
    let Some(image) = candidate.image else {
        return b.note(candidate.key.clone(), "the drive is empty and is left out: this kind of drive needs its medium from the start");
    };
    let graph = nodes::legacy(b, image, &candidate.use_of(), interface, n);
    candidate.register(b, None, graph);
}

/// Flash memory: a property of machines that name theirs, `-drive if=pflash` on other boards.
fn flash(b: &mut Builder<'_>, candidate: &Candidate<'_>, n: usize) {
    let property = format!("pflash{n}");
    if !b.machine_has(&property) {
        return board_drive(b, candidate, "pflash", n);
    }
    if let Some(image) = candidate.image
        && let Some(graph) = nodes::add(b, image, &candidate.use_of())
    {
        b.machine_properties.push(format!("{property}={}", graph.top()));
        candidate.register(b, None, Some(graph));
    }
}
