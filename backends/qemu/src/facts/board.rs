//! One machine type as it is when started: buses, what is soldered to it, processors, memory.
//!
//! A machine type's name says little about what can be plugged into it. The machine is therefore started once, stopped before its first
//! instruction and without any device of ours ([`super::trial`]), and asked what it is. The answer is cached like everything about an
//! emulator. A machine that cannot be started like this cannot be started with devices either, and then QEMU's own words are the finding.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::trial::{Trial, Tried};
use super::{Emulator, Error, cache};

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

    /// From the QOM type that all buses of one kind descend from.
    pub(crate) fn of_bus_type(kind: &str) -> Option<Self> {
        Some(match kind {
            "PCI" => Self::Pci,
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
            "sd-bus" => Self::Sd,
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
    /// Memory in MiB; `None` and 0 leave it to the board.
    pub memory: Option<u64>,
    /// vCPUs; `None` leaves them to the board.
    pub cpus: Option<u64>,
}

/// What a machine type turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// What was tried.
    pub probe: Probe,
    /// Why it does not start by itself, in QEMU's words. Unless [`Board::boot`] says what it lacks, everything else is then empty.
    pub refusal: Option<String>,
    /// What a board that is refused starts with.
    pub boot: Option<BootFile>,
    /// Its buses, in the order of the board: the first bus of a kind comes first.
    pub buses: Vec<Bus>,
    /// QOM types of the devices that it has on its own.
    pub devices: BTreeSet<String>,
    /// QOM type of the network card that is soldered to it.
    pub network_card: Option<String>,
    /// QOM types of the screens that are soldered to it.
    pub screens: Vec<String>,
    /// Whether it has a serial port.
    pub serial: bool,
    /// File name of the firmware that QEMU gives it unasked: a BIOS, Open Firmware, OpenSBI.
    pub firmware: Option<String>,
    /// vCPUs that it had in the trial.
    pub cpus: u64,
    /// Memory in bytes that it had in the trial.
    pub memory: u64,
    /// Where it refuses the memory that was asked for: the next smaller power of two in MiB that it takes, 0 where it takes none but its own.
    pub memory_instead: Option<u64>,
    /// Whether it refuses the number of vCPUs that was asked for.
    pub refuses_cpus: bool,
}

/// What a board does not start without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// `-bios` will do.
    pub bios: bool,
    /// `-kernel` will do.
    pub kernel: bool,
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
        let mut board = Self { probe: probe.clone(), ..Self::ask(emulator, &probe).await? };
        if board.has(BusKind::Sd) && !Self::takes_sd_card(emulator, &probe).await? {
            board.buses.retain(|bus| bus.kind != BusKind::Sd);
        }
        if let Some(place) = place {
            place.store(&board);
        }
        Ok(board)
    }

    /// Whether the board fills its slot with the card that `-drive if=sd` gives it. Some leave it empty where there are no default devices.
    async fn takes_sd_card(emulator: &Emulator, probe: &Probe) -> Result<bool, Error> {
        let trial = Trial { emulator, probe, memory: None, cpus: None, boot: None, sd_card: true };
        Ok(!matches!(trial.run().await?, Tried::Refused(refusal) if refusal.contains("does not support if=sd")))
    }

    async fn ask(emulator: &Emulator, probe: &Probe) -> Result<Self, Error> {
        let memory = probe.memory.filter(|memory| *memory > 0);
        let all = Trial { emulator, probe, memory, cpus: probe.cpus, boot: None, sd_card: false };
        if let Tried::Accepted(board) = all.run().await?
            && memory.is_none_or(|memory| board.memory == memory << 20)
        {
            return Ok(*board);
        }
        let bare = Trial { memory: None, cpus: None, ..all };
        match bare.run().await? {
            Tried::Accepted(board) => Self::sized(bare, memory, *board).await,
            Tried::Refused(refusal) => Self::booted(bare, memory, refusal).await,
        }
    }

    /// Tries a board that is refused with an empty file in place of what it may lack.
    async fn booted(bare: Trial<'_>, memory: Option<u64>, refusal: String) -> Result<Self, Error> {
        let failed = |source| Error::Start { program: bare.emulator.identity.path.clone(), source };
        let file = tempfile::NamedTempFile::new().map_err(failed)?;
        file.as_file().set_len(4096).map_err(failed)?;
        let with = |option| Trial { boot: Some((option, file.path())), ..bare };
        let (bios, kernel) = (with("-bios").run().await?, with("-kernel").run().await?);
        // A kernel in a format that is not one of the board's is refused for another reason.
        let kernel_will_do = !matches!(&kernel, Tried::Refused(again) if *again == refusal);
        let boot = BootFile { bios: matches!(bios, Tried::Accepted(_)), kernel: kernel_will_do };
        let (option, board) = match (bios, kernel) {
            (Tried::Accepted(board), _) => ("-bios", board),
            (_, Tried::Accepted(board)) => ("-kernel", board),
            _ => return Ok(Self { refusal: Some(refusal), ..Self::default() }),
        };
        let board = Self::sized(with(option), memory, *board).await?;
        Ok(Self { refusal: Some(refusal), boot: Some(boot), firmware: None, ..board })
    }

    /// Finds out which of memory and vCPUs a board refuses that starts without being asked for either.
    async fn sized(bare: Trial<'_>, memory: Option<u64>, own: Self) -> Result<Self, Error> {
        let refuses_cpus = match bare.probe.cpus {
            Some(cpus) if cpus != own.cpus => matches!(Trial { cpus: Some(cpus), ..bare }.run().await?, Tried::Refused(_)),
            _ => false,
        };
        let Some(wanted) = memory.filter(|wanted| wanted << 20 != own.memory) else {
            return Ok(Self { refuses_cpus, ..own });
        };
        let mut asked = wanted;
        loop {
            match (Trial { memory: Some(asked), ..bare }).run().await? {
                Tried::Accepted(board) if board.memory == asked << 20 => {
                    let memory_instead = (asked != wanted).then_some(asked);
                    return Ok(Self { refuses_cpus, memory_instead, ..*board });
                }
                // This computer's limit and not the board's: the start fails with these very words.
                Tried::Refused(refusal) if refusal.contains("cannot set up guest memory") => return Ok(Self { refuses_cpus, ..own }),
                _ => {}
            }
            asked = asked.saturating_sub(1).checked_ilog2().map_or(0, |log| 1 << log);
            if asked << 20 <= own.memory {
                return Ok(Self { refuses_cpus, memory_instead: Some(0), ..own });
            }
        }
    }
}
