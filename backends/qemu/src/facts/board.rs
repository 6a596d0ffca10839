//! One machine type as it is when started: buses, processors, memory.
//!
//! A machine type's name says little about what can be plugged into it. The machine is therefore started once, stopped before its first
//! instruction and without any device of ours, and asked for its device tree. The answer is cached like everything about an emulator. A
//! machine that cannot be started like this cannot be started with devices either, and then QEMU's own words are the finding.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::{Emulator, Error, cache};

const DEADLINE: Duration = Duration::from_secs(20);

/// Kinds of buses that devices of ours plug into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusKind {
    /// PCI and PCI Express.
    Pci,
    /// ISA.
    Isa,
    /// One transport slot of virtio-mmio, or any other virtio transport without PCI or channels.
    VirtioMmio,
    /// Channel I/O of s390x.
    Ccw,
    /// USB.
    Usb,
    /// SCSI.
    Scsi,
    /// IDE and SATA.
    Ide,
    /// Floppy drives.
    Floppy,
    /// SD cards.
    Sd,
    /// NuBus.
    Nubus,
    /// VIO of pSeries.
    SpaprVio,
    /// Ports of virtio-serial.
    VirtioSerial,
    /// HD Audio codecs.
    Hda,
    /// The system bus: only for devices that the board expects.
    System,
}

impl BusKind {
    /// From the QOM class that all devices of one kind of bus descend from.
    pub fn of_device_class(class: &str) -> Option<Self> {
        Some(match class {
            "pci-device" => Self::Pci,
            "isa-device" => Self::Isa,
            "virtio-device" => Self::VirtioMmio,
            "virtio-ccw-device" | "ccw-device" => Self::Ccw,
            "usb-device" => Self::Usb,
            "scsi-device" => Self::Scsi,
            "ide-device" => Self::Ide,
            "floppy" => Self::Floppy,
            "sd-card" => Self::Sd,
            "nubus-device" => Self::Nubus,
            "vio-spapr-device" | "spapr-vio-device" => Self::SpaprVio,
            "virtio-serial-port" => Self::VirtioSerial,
            "hda-codec" => Self::Hda,
            "sys-bus-device" => Self::System,
            _ => return None,
        })
    }

    /// From the type of a bus in the device tree.
    fn of_bus_type(kind: &str) -> Option<Self> {
        Some(match kind {
            "PCI" | "PCIE" => Self::Pci,
            "ISA" => Self::Isa,
            "virtio-mmio-bus" => Self::VirtioMmio,
            "virtual-css-bus" => Self::Ccw,
            "usb-bus" => Self::Usb,
            "SCSI" => Self::Scsi,
            "IDE" => Self::Ide,
            "floppy-bus" => Self::Floppy,
            "nubus-bus" => Self::Nubus,
            "spapr-vio-bus" => Self::SpaprVio,
            "System" => Self::System,
            kind if kind.ends_with("sd-bus") || kind == "sdhci-bus" || kind.ends_with("sdhost-bus") => Self::Sd,
            _ => return None,
        })
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pci => "PCI",
            Self::Isa => "ISA",
            Self::VirtioMmio => "virtio-mmio",
            Self::Ccw => "channel I/O",
            Self::Usb => "USB",
            Self::Scsi => "SCSI",
            Self::Ide => "IDE",
            Self::Floppy => "floppy",
            Self::Sd => "SD card",
            Self::Nubus => "NuBus",
            Self::SpaprVio => "VIO",
            Self::VirtioSerial => "virtio-serial",
            Self::Hda => "HD Audio",
            Self::System => "system",
        }
    }
}

/// A bus of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bus {
    /// What `bus=` takes. Not always unique.
    pub name: String,
    /// Its kind.
    pub kind: BusKind,
}

/// What a machine is tried with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Value of `-machine`: type and overriding properties.
    pub machine: String,
    /// Value of `-cpu`.
    pub cpu: Option<String>,
    /// Memory in MiB; a board that refuses it is tried with its own amount.
    pub memory: Option<u64>,
}

/// What a machine type turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// What was tried.
    pub probe: Probe,
    /// Why it does not start, in QEMU's words; everything else is then empty.
    pub refusal: Option<String>,
    /// Its buses, in the order of the board: the first bus of a kind comes first.
    pub buses: Vec<Bus>,
    /// QOM types of the devices that it has on its own.
    pub devices: BTreeSet<String>,
    /// vCPUs that it has without `-smp`.
    pub cpus: u64,
    /// Memory in bytes that it has without `-m`.
    pub memory: u64,
    /// Whether it takes the amount of memory that the probe asked for.
    pub takes_memory: bool,
}

impl Board {
    /// Whether it has a bus of this kind.
    pub fn has(&self, kind: BusKind) -> bool {
        self.buses.iter().any(|bus| bus.kind == kind)
    }

    /// Its buses of one kind.
    pub fn of_kind(&self, kind: BusKind) -> impl Iterator<Item = &Bus> {
        self.buses.iter().filter(move |bus| bus.kind == kind)
    }

    /// Tries the machine, or recalls what it was.
    ///
    /// A machine that QEMU refuses is an answer ([`Board::refusal`]); an error means that nothing was learnt.
    pub async fn find(emulator: &Emulator, probe: Probe, cache_directory: Option<&Path>) -> Result<Self, Error> {
        let question = serde_json::to_string(&probe).unwrap_or_default();
        let place = cache_directory.map(|directory| cache::Place::new(directory, "board", &emulator.identity, &question));
        if let Some(board) = place.as_ref().and_then(cache::Place::load::<Self>).filter(|board| board.probe == probe) {
            return Ok(board);
        }
        let board = Self::ask(emulator, probe).await?;
        if let Some(place) = place {
            place.store(&board);
        }
        Ok(board)
    }

    async fn ask(emulator: &Emulator, probe: Probe) -> Result<Self, Error> {
        let with_own_memory = match Self::attempt(emulator, &probe, None).await? {
            Ok(board) => board,
            Err(refusal) => return Ok(Self { probe, refusal: Some(refusal), ..Self::default() }),
        };
        let takes_memory = match probe.memory {
            None => true,
            Some(memory) if memory.saturating_mul(1 << 20) == with_own_memory.memory => true,
            Some(memory) => match Self::attempt(emulator, &probe, Some(memory)).await? {
                Ok(board) => board.memory == memory.saturating_mul(1 << 20),
                Err(_) => false,
            },
        };
        Ok(Self { probe, takes_memory, ..with_own_memory })
    }

    /// The outer error: nothing learnt. The inner one: QEMU's refusal.
    async fn attempt(emulator: &Emulator, probe: &Probe, memory: Option<u64>) -> Result<Result<Self, String>, Error> {
        let mut arguments: Vec<OsString> =
            ["-nodefaults", "-no-user-config", "-S", "-display", "none", "-accel", "tcg"].map(Into::into).into();
        // Boards with sound of their own insist on a backend.
        if emulator.default_audio {
            arguments.extend(["-audio", "none"].map(Into::into));
        }
        arguments.extend(["-machine".into(), (&probe.machine).into()]);
        if let Some(cpu) = &probe.cpu {
            arguments.extend(["-cpu".into(), cpu.into()]);
        }
        if let Some(memory) = memory {
            arguments.extend(["-m".into(), format!("{memory}M").into()]);
        }
        let mut talk = match Conversation::start(&emulator.identity.path, &arguments, DEADLINE).await {
            Ok(talk) => talk,
            Err(Error::Ended { stderr, status, .. }) => return Ok(Err(refusal(&stderr, &status))),
            Err(error) => return Err(error),
        };
        let answers = async {
            let tree = talk.human("info qtree").await?;
            let cpus = talk.ask("query-cpus-fast").await?;
            let memory = talk.ask("query-memory-size-summary").await?;
            Ok::<_, Error>((tree, cpus, memory))
        }
        .await;
        let (tree, cpus, memory) = match answers {
            Ok(answers) => answers,
            Err(Error::Ended { stderr, status, .. }) => return Ok(Err(refusal(&stderr, &status))),
            Err(error) => return Err(error),
        };
        talk.quit().await;
        let (buses, devices) = parse_tree(&tree);
        Ok(Ok(Self {
            probe: Probe::default(),
            refusal: None,
            buses,
            devices,
            cpus: cpus.as_array().map_or(1, |cpus| cpus.len() as u64),
            memory: memory.get("base-memory").and_then(serde_json::Value::as_u64).unwrap_or(0),
            takes_memory: true,
        }))
    }
}

fn refusal(stderr: &str, status: &str) -> String {
    // QEMU prefixes its messages with the program; what matters comes after the first colon of the last line that is not a warning.
    let line = stderr.lines().rev().find(|line| !line.contains("warning:") && !line.trim().is_empty()).unwrap_or("").trim();
    let line = match line.split_once(": ") {
        Some((program, rest)) if program.contains("qemu-system") => rest,
        _ => line,
    };
    if line.is_empty() { format!("it ended ({status}) without a word") } else { line.to_owned() }
}

/// Buses and devices of the output of `info qtree`.
///
/// The tree lists the bus that was added last first, so the result is turned round.
fn parse_tree(text: &str) -> (Vec<Bus>, BTreeSet<String>) {
    let mut buses = Vec::new();
    let mut devices = BTreeSet::new();
    let mut name: Option<&str> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(bus) = line.strip_prefix("bus: ") {
            name = Some(bus);
        } else if let Some(kind) = line.strip_prefix("type ") {
            if let (Some(name), Some(kind)) = (name.take(), BusKind::of_bus_type(kind.trim())) {
                buses.push(Bus { name: name.to_owned(), kind });
            }
        } else if let Some(device) = line.strip_prefix("dev: ") {
            devices.insert(device.split(',').next().unwrap_or(device).to_owned());
        }
    }
    // Numbered siblings (ide.5 ... ide.0) are sorted; everything else keeps the order of the board.
    buses.reverse();
    buses.sort_by_key(|bus| (bus.kind, numbered(&bus.name)));
    (buses, devices)
}

/// The number at the end of `ide.3`.
fn numbered(name: &str) -> Option<u32> {
    name.rsplit_once('.').and_then(|(_, number)| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "bus: main-system-bus\r\n  type System\r\n  dev: q35-pcihost, id \"\"\r\n    bus: pcie.0\r\n      type PCIE\r\n      \
                        dev: ich9-ahci, id \"\"\r\n        bus: ide.1\r\n          type IDE\r\n        bus: ide.0\r\n          type IDE\r\n";

    #[test]
    fn the_device_tree_gives_buses_in_order() {
        let (buses, devices) = parse_tree(TREE);
        let names: Vec<&str> = buses.iter().map(|bus| bus.name.as_str()).collect();
        assert_eq!(names, ["pcie.0", "ide.0", "ide.1", "main-system-bus"]);
        assert!(devices.contains("ich9-ahci"));
    }

    #[test]
    fn a_refusal_is_the_last_line_without_the_program() {
        let stderr = "qemu-system-arm: warning: nic lan9118.0 has no peer\nqemu-system-arm: Invalid RAM size, should be 16 MiB";
        assert_eq!(refusal(stderr, "exit status: 1"), "Invalid RAM size, should be 16 MiB");
        assert_eq!(refusal("", "signal: 6"), "it ended (signal: 6) without a word");
    }
}
