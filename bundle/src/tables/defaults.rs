//! What a new machine gets: UTM's rules per architecture and machine.
//!
//! The rules test raw machine names, as UTM does, so `pc-q35-9.2` is treated as a `pc`; `virt` means exactly that or a name with the prefix
//! `virt-`. They differ from UTM's in three places, each where UTM's choice cannot start:
//!
//! - a device that the architecture does not offer is passed over (UTM gives m68k `virt` a `virtio-ramfb`, which is not there);
//! - m68k `virt` gets `virtio-gpu-device`, for the first of its list, `nubus-macfb`, needs a bus that only `q800` has;
//! - where there is no USB, a CD is a VirtIO drive, and s390x has VirtIO drives only (UTM chooses IDE).

use crate::Architecture;
use crate::qemu::{
    Configuration, DirectoryShareMode, Display, DriveInterface, ImageType, Network, NetworkMode, Serial, Sound, UsbBusSupport,
};

use super::{capabilities, default_machine, display_devices, hypervisor_is_possible, machine_is_known, network_devices, sound_devices};

/// A new configuration for an architecture and machine, without drives.
///
/// `host` is the architecture whose guests the host runs with a hypervisor, if it has one.
pub fn default_configuration(architecture: Architecture, target: &str, host: Option<Architecture>) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.system.architecture = architecture;
    configuration.system.target = target.to_owned();
    reset_for_machine(&mut configuration, host);
    configuration
}

/// Sets what depends on `System.Architecture` and `System.Target` to its default: firmware, hypervisor, USB, sharing, display, network, sound,
/// CPU model. Drives, memory, CPU count and everything else stay.
///
/// `host` is the architecture whose guests the host runs with a hypervisor, if it has one.
pub fn reset_for_machine(configuration: &mut Configuration, host: Option<Architecture>) {
    let machine = Machine { architecture: configuration.system.architecture, target: configuration.system.target.clone() };
    let can = capabilities(machine.architecture, &machine.target);

    configuration.system.cpu = "default".to_owned();

    let firmware = machine.is_pc() || machine.is_q35() || can.uefi && machine.is_virt();
    configuration.qemu.uefi_boot = firmware;
    configuration.qemu.rng_device = firmware;
    configuration.qemu.hypervisor = hypervisor_is_possible(machine.architecture, host);

    configuration.input.usb_bus_support = if !can.usb {
        UsbBusSupport::Disabled
    } else if machine.is_pc() || machine.is_q35() || machine.is_arm_virt() {
        UsbBusSupport::Usb3
    } else {
        UsbBusSupport::Usb2
    };

    let (share_mode, clipboard) = if machine.is_pc() || machine.is_q35() || machine.is_arm_virt() {
        (DirectoryShareMode::WebDav, true)
    } else if machine.is_q800() || machine.is_mac99() {
        (DirectoryShareMode::VirtFs, false)
    } else {
        (DirectoryShareMode::None, false)
    };
    configuration.sharing.directory_share_mode = share_mode;
    configuration.sharing.clipboard_sharing = clipboard;

    match machine.display() {
        Some(hardware) => {
            configuration.displays = vec![Display {
                hardware: hardware.to_owned(),
                dynamic_resolution: can.agent && !machine.is_pc() && machine.target != "isapc",
                ..Display::default()
            }];
        }
        None => {
            configuration.displays = Vec::new();
            configuration.serials = vec![Serial::default()];
        }
    }

    let network = |hardware: &str| Network { hardware: hardware.to_owned(), mode: NetworkMode::Shared, ..Network::default() };
    configuration.networks = machine.network().map(network).into_iter().collect();
    let sound = |hardware: &str| Sound { hardware: hardware.to_owned(), ..Sound::default() };
    configuration.sounds = machine.sound().map(sound).into_iter().collect();
}

/// Where a new drive is attached. Only disks and CDs are attached to anything.
pub fn default_drive_interface(architecture: Architecture, target: &str, image_type: ImageType) -> DriveInterface {
    if !matches!(image_type, ImageType::Disk | ImageType::Cd) {
        return DriveInterface::None;
    }
    let machine = Machine { architecture, target: target.to_owned() };
    if machine.is_virt() || machine.target.starts_with("pseries") {
        let usb = capabilities(architecture, target).usb;
        if image_type == ImageType::Cd && usb { DriveInterface::Usb } else { DriveInterface::VirtIo }
    } else {
        match architecture {
            Architecture::Sparc | Architecture::Sparc64 | Architecture::M68k => DriveInterface::Scsi,
            Architecture::S390x => DriveInterface::VirtIo,
            _ => DriveInterface::Ide,
        }
    }
}

/// The machine to use when `target` is not one of the architecture's.
pub(crate) fn known_or_default_machine(architecture: Architecture, target: &str) -> &str {
    if machine_is_known(architecture, target) { target } else { default_machine(architecture) }
}

/// An architecture and machine, and UTM's questions about the two.
struct Machine {
    architecture: Architecture,
    target: String,
}

impl Machine {
    fn is_pc(&self) -> bool {
        self.target.starts_with("pc")
    }

    fn is_q35(&self) -> bool {
        self.target.starts_with("q35")
    }

    fn is_virt(&self) -> bool {
        self.target == "virt" || self.target.starts_with("virt-")
    }

    fn is_arm_virt(&self) -> bool {
        self.is_virt() && matches!(self.architecture, Architecture::Arm | Architecture::Aarch64)
    }

    fn is_mac99(&self) -> bool {
        self.target == "mac99" && matches!(self.architecture, Architecture::Ppc | Architecture::Ppc64)
    }

    fn is_q800(&self) -> bool {
        self.target == "q800" && self.architecture == Architecture::M68k
    }

    fn display(&self) -> Option<&'static str> {
        let preferred = if self.is_pc() {
            "cirrus-vga"
        } else if self.is_q35() {
            "virtio-vga"
        } else if self.target == "isapc" {
            "isa-vga"
        } else if self.is_virt() {
            "virtio-ramfb"
        } else if self.is_q800() {
            "nubus-macfb"
        } else {
            "VGA"
        };
        let virtio = if self.is_virt() { "virtio-gpu-device" } else { "VGA" };
        choose(display_devices(self.architecture), &[preferred, "VGA", virtio])
    }

    fn network(&self) -> Option<&'static str> {
        let preferred: &[&str] = if self.is_pc() {
            &[if self.architecture == Architecture::I386 { "ne2k_isa" } else { "rtl8139" }]
        } else if self.is_q35() {
            &["e1000"]
        } else if self.target == "isapc" {
            &["ne2k_isa"]
        } else if self.is_virt() {
            &["virtio-net-pci"]
        } else if self.is_mac99() {
            &["sungem"]
        } else if self.is_q800() {
            &["dp8393x"]
        } else {
            &[]
        };
        choose(network_devices(self.architecture), preferred)
    }

    fn sound(&self) -> Option<&'static str> {
        let preferred: &[&str] = if self.is_pc() || self.target == "isapc" {
            &["sb16"]
        } else if self.target.starts_with("pseries") {
            &["AC97"]
        } else if self.is_q35() || self.is_virt() {
            &["intel-hda"]
        } else if self.is_mac99() {
            &["screamer"]
        } else if self.is_q800() {
            &["asc"]
        } else {
            &[]
        };
        choose(sound_devices(self.architecture), preferred)
    }
}

/// The first of `preferred` that is offered, else the first that is.
fn choose(offered: &'static [&'static str], preferred: &[&str]) -> Option<&'static str> {
    let found = preferred.iter().find_map(|name| offered.iter().find(|device| *device == name));
    found.or_else(|| offered.first()).copied()
}
