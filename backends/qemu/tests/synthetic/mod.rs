//! Facts of computers and emulators that need not exist.

#![allow(dead_code)] // each test uses some of it

use std::collections::BTreeMap;
use std::path::PathBuf;

use backend_qemu::command_line::{self, CommandLine, Helper, Image, Options, Paths, Request};
use backend_qemu::facts::{AudioServer, Board, Bus, BusKind, Cpu, Decision, Emulator, Host, MachineType, Names};
use backend_qemu::firmware::{Catalogue, Firmware};
use bundle::qemu::{Configuration, Display, Drive, DriveInterface, ImageType, Network, Serial};
use bundle::{Architecture, FileName, Problem, tables};

/// Devices with the class of their bus, besides those of UTM's lists.
const DEVICES: &[(&str, &str)] = &[
    ("ide-hd", "ide-device"),
    ("ide-cd", "ide-device"),
    ("scsi-hd", "scsi-device"),
    ("scsi-cd", "scsi-device"),
    ("floppy", "floppy"),
    ("usb-storage", "usb-device"),
    ("usb-bot", "usb-device"),
    ("usb-tablet", "usb-device"),
    ("usb-mouse", "usb-device"),
    ("usb-kbd", "usb-device"),
    ("usb-redir", "usb-device"),
    ("virtserialport", "virtio-serial-port"),
    ("virtconsole", "virtio-serial-port"),
    ("hda-duplex", "hda-codec"),
];
const PCI: &[&str] =
    &["lsi53c895a", "nvme", "nec-usb-xhci", "qemu-xhci", "ich9-usb-ehci1", "ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3"];
const VIRTIO: &[&str] = &["blk", "net", "gpu", "serial", "scsi", "9p", "rng", "balloon", "keyboard", "tablet", "sound"];

/// An emulator with everything that QEMU 10 has for the architecture, of UTM's lists and of what is needed beside them.
pub fn emulator(architecture: Architecture) -> Emulator {
    let mut emulator = Emulator { target: architecture.as_str().to_owned(), version: "10.0.2".to_owned(), ..Emulator::default() };
    emulator.identity.path = PathBuf::from(format!("/usr/bin/qemu-system-{architecture}"));
    let mut add = |name: &str, class: &str| {
        emulator.types.insert(name.to_owned(), class.to_owned());
        emulator.devices.insert(name);
    };
    let (s390x, m68k) = (architecture == Architecture::S390x, architecture == Architecture::M68k);
    let x86 = matches!(architecture, Architecture::X86_64 | Architecture::I386);
    let lists = [tables::display_devices, tables::network_devices, tables::sound_devices, tables::serial_devices];
    for name in lists.iter().flat_map(|list| list(architecture)) {
        let class = match *name {
            "virtio-ramfb" | "virtio-ramfb-gl" | "screamer" => continue,
            "isa-vga" | "isa-cirrus-vga" | "ne2k_isa" | "sb16" | "gus" | "cs4231a" | "adlib" | "isa-serial" => "isa-device",
            "ramfb" | "lance" | "dp8393x" | "eTSEC" | "tcx" | "cg3" | "sunhme-system" => "sys-bus-device",
            "nubus-macfb" => "nubus-device",
            name if name.starts_with("usb-") => "usb-device",
            name if name.ends_with("-device") => "virtio-device",
            name if name.ends_with("-ccw") => "virtio-ccw-device",
            "virtserialport" => "virtio-serial-port",
            _ => "pci-device",
        };
        add(name, class);
    }
    for (name, class) in DEVICES {
        add(name, class);
    }
    for function in VIRTIO {
        add(&format!("virtio-{function}-device"), "virtio-device");
        if s390x {
            add(&format!("virtio-{function}-ccw"), "virtio-ccw-device");
        }
        if !m68k {
            add(&format!("virtio-{function}-pci"), "pci-device");
        }
    }
    if !m68k && !s390x {
        PCI.iter().for_each(|name| add(name, "pci-device"));
    }
    if x86 {
        for (name, class) in [("isa-fdc", "isa-device"), ("tpm-tis", "isa-device"), ("PIIX4_PM", "pci-device"), ("ICH9-LPC", "pci-device")]
        {
            add(name, class);
        }
        add("vmgenid", "device");
    } else {
        add("tpm-tis-device", "sys-bus-device");
    }
    let names = |names: &[&str]| names.iter().copied().collect::<Names>();
    for name in ["virtio-balloon-pci", "virtio-balloon-ccw"] {
        emulator.properties.insert(name.to_owned(), names(&["free-page-reporting", "deflate-on-oom"]));
    }
    for name in ["VGA", "virtio-vga", "qxl-vga", "cirrus-vga"] {
        emulator.properties.insert(name.to_owned(), names(&["vgamem_mb", "edid"]));
    }
    emulator.properties.insert("max-x86_64-cpu".to_owned(), names(&["erms", "fsrm", "la57"]));
    for target in tables::machines(architecture) {
        let (alias_of, properties): (Option<&str>, &[&str]) = match *target {
            "q35" if x86 => (Some("pc-q35-10.0"), &["vmport", "i8042", "hpet", "pcspk-audiodev", "smm", "pflash0", "pflash1"]),
            "pc" if x86 => (Some("pc-i440fx-10.0"), &["vmport", "i8042", "hpet", "pcspk-audiodev", "smm", "pflash0", "pflash1"]),
            "isapc" => (None, &["vmport", "hpet", "pcspk-audiodev"]),
            "virt" if architecture == Architecture::Aarch64 => {
                (Some("virt-10.0"), &["gic-version", "virtualization", "pflash0", "pflash1"])
            }
            "virt" => (Some("virt-10.0"), &["gic-version", "pflash0", "pflash1"]),
            "q800" => (None, &["audiodev"]),
            _ => (None, &[]),
        };
        let cpus_max = if matches!(architecture, Architecture::M68k | Architecture::Sparc) { 1 } else { 64 };
        let kind = MachineType { alias_of: alias_of.map(str::to_owned), cpus_max, properties: names(properties), ..MachineType::default() };
        emulator.machines.insert((*target).to_owned(), kind);
    }
    for cpu in tables::cpus(architecture).iter().chain(&["max"]) {
        emulator.cpus.insert((*cpu).to_owned(), Cpu::default());
    }
    emulator.netdevs = names(&["user", "stream", "dgram", "tap"]);
    emulator.chardevs = names(&["socket", "pty", "spicevmc", "spiceport"]);
    emulator.displays = names(&["none", "dbus"]);
    emulator.audio = names(&["none", "dbus", "pipewire", "pa", "alsa"]);
    emulator.default_audio = true;
    emulator.block_drivers = names(&["raw", "qcow2", "vmdk", "vdi", "vhdx", "file", "host_device", "null-co"]);
    emulator.options = ["sandbox", "spice", "add-fd", "fsdev"].iter().map(|option| ((*option).to_owned(), Names::default())).collect();
    emulator.options.insert("chardev".into(), names(&["reconnect-ms", "reconnect"]));
    emulator.kvm = true;
    emulator
}

/// A workstation with everything installed.
pub fn host() -> Host {
    let firmware = |code: &str, variables: &str, architecture: &str, machine: &str, secure: bool| Firmware {
        code: PathBuf::from(format!("/firmware/{code}")),
        code_driver: "raw".to_owned(),
        variables: PathBuf::from(format!("/firmware/{variables}")),
        variables_driver: "raw".to_owned(),
        targets: vec![(architecture.to_owned(), vec![machine.to_owned()])],
        secure_boot: secure,
        enrolled_keys: secure,
        requires_smm: secure && architecture == "x86_64",
    };
    Host {
        architecture: Some(Architecture::X86_64),
        cores: 4,
        threads: 8,
        memory: 32768,
        kernel: "6.12".to_owned(),
        audio: vec![AudioServer { driver: "pipewire".to_owned(), path: "/run/user/1000/pipewire-0".into() }],
        passt: Some("/usr/bin/passt".into()),
        swtpm: Some("/usr/bin/swtpm".into()),
        bridge_helper: Some("/usr/lib/qemu/qemu-bridge-helper".into()),
        firmware: Catalogue {
            entries: vec![
                firmware("x86_64-secure.fd", "x86_64-secure-vars.fd", "x86_64", "pc-q35-*", true),
                firmware("x86_64.fd", "x86_64-vars.fd", "x86_64", "pc-*", false),
                firmware("aarch64.fd", "aarch64-vars.fd", "aarch64", "virt-*", false),
                firmware("riscv64.fd", "riscv64-vars.fd", "riscv64", "virt-*", false),
            ],
        },
        ..Host::default()
    }
}

/// A board with these buses.
pub fn board(buses: &[(&str, BusKind)]) -> Board {
    let bus = |(name, kind): &(&str, BusKind)| Bus { name: (*name).to_owned(), kind: *kind };
    let devices = ["i8257"].iter().map(|&name| name.to_owned()).collect();
    Board { buses: buses.iter().map(bus).collect(), cpus: 1, memory: 128 << 20, devices, ..Board::default() }
}

/// A q35 with USB.
pub fn q35() -> Board {
    let mut board = board(&[("pcie.0", BusKind::Pci), ("isa.0", BusKind::Isa), ("usb-bus.0", BusKind::Usb)]);
    board.buses.extend((0..6).map(|n| Bus { name: format!("ide.{n}"), kind: BusKind::Ide }));
    board.devices.insert("ich9-ahci".to_owned());
    board
}

/// A machine with all that decides how it starts; tests change what they are about.
pub struct Case {
    pub configuration: Configuration,
    pub emulator: Emulator,
    pub board: Option<Board>,
    pub host: Host,
    pub accelerator: Decision,
    pub images: BTreeMap<String, Image>,
    pub shared_directory: Option<PathBuf>,
    pub sound_by_host: bool,
    pub generation: Option<uuid::Uuid>,
    pub options: Options,
}

impl Case {
    /// A machine of an architecture and target, with nothing random in it and no drives.
    pub fn new(architecture: Architecture, target: &str) -> Self {
        let mut configuration = tables::default_configuration(architecture, target, None);
        configuration.information.name = "Test, machine".to_owned();
        configuration.information.uuid = uuid::Uuid::from_u128(0x11111111_2222_4333_8444_555555555555);
        for (index, network) in configuration.networks.iter_mut().enumerate() {
            network.mac_address = format!("02:00:00:00:00:{index:02X}");
        }
        Self {
            configuration,
            emulator: emulator(architecture),
            board: None,
            host: host(),
            accelerator: Decision::tcg("this is a test"),
            images: BTreeMap::new(),
            shared_directory: None,
            sound_by_host: false,
            generation: Some(uuid::Uuid::from_u128(0x66666666_7777_4888_9999_aaaaaaaaaaaa)),
            options: Options::default(),
        }
    }

    /// Adds a drive with an image in the bundle.
    pub fn drive(&mut self, identifier: &str, image_type: ImageType, interface: DriveInterface, driver: &str) -> &mut Drive {
        let name = format!("{identifier}.{driver}");
        self.images.insert(identifier.to_owned(), Image::single(format!("/machine.utm/Data/{name}"), driver));
        self.configuration.drives.push(Drive {
            image_name: name.parse::<FileName>().ok(),
            image_type,
            interface,
            identifier: identifier.to_owned(),
            ..Drive::default()
        });
        let last = self.configuration.drives.len() - 1;
        &mut self.configuration.drives[last]
    }

    /// Adds a drive for media from outside, with a medium if a path is given.
    pub fn external(&mut self, identifier: &str, image_type: ImageType, interface: DriveInterface, medium: Option<&str>) {
        self.configuration.drives.push(Drive {
            image_type,
            interface,
            identifier: identifier.to_owned(),
            read_only: image_type == ImageType::Cd,
            ..Drive::default()
        });
        if let Some(path) = medium {
            self.images.insert(identifier.to_owned(), Image::single(path, "raw"));
        }
    }

    pub fn network(&mut self) -> &mut Network {
        &mut self.configuration.networks[0]
    }

    pub fn serial(&mut self, serial: Serial) {
        self.configuration.serials.push(serial);
    }

    pub fn display(&mut self, hardware: &str) -> &mut Display {
        self.configuration.displays = vec![Display { hardware: hardware.to_owned(), ..Display::default() }];
        &mut self.configuration.displays[0]
    }

    pub fn build(&self) -> Result<CommandLine, Vec<Problem>> {
        let paths = Paths {
            data: "/machine.utm/Data".into(),
            runtime: "/run/user/1000/vivarium/0123456789abcdef".into(),
            scratch: "/scratch".into(),
            logs: "/logs".into(),
        };
        command_line::build(&Request {
            configuration: &self.configuration,
            emulator: &self.emulator,
            board: self.board.as_ref(),
            host: &self.host,
            accelerator: &self.accelerator,
            paths: &paths,
            images: &self.images,
            shared_directory: self.shared_directory.as_deref(),
            sound_by_host: self.sound_by_host,
            generation: self.generation,
            options: self.options,
        })
    }

    /// Everything about the command line, or the problems, as text.
    pub fn text(&self) -> String {
        match self.build() {
            Err(problems) => problems.iter().map(|problem| format!("{}: {problem}\n", problem.level)).collect(),
            Ok(line) => {
                let mut text = line.shell_quoted();
                let mut list = |title: &str, lines: Vec<String>| {
                    if !lines.is_empty() {
                        text.push_str(&format!("\n{title}:\n  {}\n", lines.join("\n  ")));
                    }
                };
                list("files", line.files.iter().map(|file| format!("{:?} {}", file.access, file.path.display())).collect());
                list(
                    "descriptors",
                    line.descriptors.iter().map(|descriptor| format!("{} {:?}", descriptor.fd, descriptor.source)).collect(),
                );
                list("preparations", line.preparations.iter().map(|preparation| format!("{preparation:?}")).collect());
                let helper = |helper: &Helper| {
                    let descriptors =
                        helper.descriptors.iter().map(|descriptor| format!("\n    {} {:?}", descriptor.fd, descriptor.source));
                    helper.shell_quoted() + &descriptors.collect::<String>()
                };
                list("helpers", line.helpers.iter().map(helper).collect());
                list("sockets made", vec![format!("{:?}", line.makes)]);
                list("drives", line.drives.iter().map(|drive| format!("{drive:?}")).collect());
                list("warnings", line.warnings.iter().map(|problem| format!("{}: {problem}", problem.level)).collect());
                text
            }
        }
    }
}
