//! What a backend can make a new machine of, before there is one: plain data for whoever chooses.

use serde::{Deserialize, Serialize};

/// One machine type as a backend can run it here. Devices and interfaces are named as configurations name them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offer {
    /// How a hard disk can be attached.
    pub disks: Vec<String>,
    /// How a CD can be attached.
    pub cds: Vec<String>,
    /// Screens that fit.
    pub displays: Vec<String>,
    /// Network cards that fit.
    pub networks: Vec<String>,
    /// Sound cards that fit.
    pub sounds: Vec<String>,
    /// The screen that is part of the board; one of `displays`.
    pub own_display: Option<String>,
    /// The network card that is part of the board; one of `networks`.
    pub own_network: Option<String>,
    /// Whether it has USB.
    pub usb: bool,
    /// Whether paravirtual devices fit: random numbers, memory balloon, guest agent.
    pub virtio: bool,
    /// Whether it has a serial port.
    pub serial: bool,
    /// Memory in MiB: what was asked for, or what the board takes instead.
    pub memory_mib: u64,
    /// Processors that it has unasked.
    pub cpus: u32,
    /// The most processors.
    pub cpus_max: u32,
    /// UEFI firmware, where the machine type has a place for it.
    pub uefi: Option<UefiOffer>,
    /// File of the firmware that it starts with unasked: a BIOS, Open Firmware, OpenSBI.
    pub firmware: Option<String>,
    /// What must be given with it, where it does not start by itself.
    pub needs: Option<BootNeed>,
}

/// Whether UEFI firmware is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UefiOffer {
    /// Whether it is installed.
    pub installed: bool,
    /// The package that has it.
    pub package: String,
}

/// What a machine type does not start without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootNeed {
    /// Firmware will do.
    pub firmware: bool,
    /// A kernel will do.
    pub kernel: bool,
    /// What the backend says when it has neither.
    pub said: String,
}

/// The names that an architecture has here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Catalog {
    /// Machine types.
    pub machines: Vec<Named>,
    /// Processor models.
    pub cpus: Vec<Named>,
}

/// A machine type or a processor model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Named {
    /// What configurations call it.
    pub name: String,
    /// What it is, where the backend says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is what a machine gets that names none.
    #[serde(default)]
    pub usual: bool,
    /// Whether the backend plans to drop it.
    #[serde(default)]
    pub deprecated: bool,
}
