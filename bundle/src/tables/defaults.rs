//! What a new machine gets: UTM's rules per architecture and machine.
//!
//! The rules test raw machine names, as UTM does, so `pc-q35-9.2` is treated as a `pc`; `virt` means exactly that or a name with the prefix
//! `virt-`. They differ from UTM's in three places, each where UTM's choice cannot start:
//!
//! - a device that the architecture does not offer is passed over (UTM gives m68k `virt` a `virtio-ramfb`, which is not there);
//! - a device that is part of one board is passed over on others (UTM gives ppc64 `pseries` an `eTSEC`, m68k `mcf5208evb` a `nubus-macfb`);
//! - where there is no USB, a CD is a VirtIO drive, and s390x has VirtIO drives only (UTM chooses IDE).

use crate::Architecture;
use crate::qemu::{
    Configuration, DirectoryShareMode, Display, DriveInterface, ImageType, Network, NetworkMode, Serial, Sound, UsbBusSupport,
};

use super::{
    capabilities, default_machine, display_devices, hypervisor_is_possible, machine_family, machine_is_known, network_devices,
    sound_devices,
};

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

/// The machine to use for `target`: itself, else the same machine without its version, else the default one of the architecture.
pub(crate) fn known_or_default_machine(architecture: Architecture, target: &str) -> &str {
    let family = machine_family(target);
    if machine_is_known(architecture, target) {
        target
    } else if machine_is_known(architecture, family) {
        family
    } else {
        default_machine(architecture)
    }
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
        self.choose(display_devices(self.architecture), &[preferred, "VGA"])
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
        self.choose(network_devices(self.architecture), preferred)
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
        self.choose(sound_devices(self.architecture), preferred)
    }

    /// The first of `preferred` that is offered, else the first that is.
    fn choose(&self, offered: &'static [&'static str], preferred: &[&str]) -> Option<&'static str> {
        let fitting = || offered.iter().copied().filter(|device| self.fits(device));
        preferred.iter().find_map(|name| fitting().find(|device| device == name)).or_else(|| fitting().next())
    }

    /// Whether the board can have the device, for devices that few boards of the architecture can have. Whether it has a PCI bus is not known here.
    fn fits(&self, device: &str) -> bool {
        match device {
            "eTSEC" => matches!(self.target.as_str(), "ppce500" | "mpc8544ds"),
            _ if self.architecture != Architecture::M68k => true,
            "nubus-macfb" | "dp8393x" | "asc" => self.is_q800(),
            _ => !device.starts_with("virtio-") || self.is_virt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::tables::{UefiFirmware, uefi_firmware};

    /// The defaults of a machine, a line each for what it has.
    fn shown(architecture: Architecture, target: &str) -> String {
        let configuration = default_configuration(architecture, target, Some(Architecture::X86_64));
        let on = |name: &str, set: bool| if set { format!(" {name}") } else { String::new() };
        let mut text = format!("{architecture} {target}\n");
        let firmware = on("uefi", configuration.qemu.uefi_boot) + &on("rng", configuration.qemu.rng_device);
        writeln!(text, "  qemu:{firmware}{}", on("hypervisor", configuration.qemu.hypervisor)).unwrap();
        let (sharing, usb) = (configuration.sharing, configuration.input.usb_bus_support);
        let clipboard = on("clipboard", sharing.clipboard_sharing);
        writeln!(text, "  usb: {usb}; share: {}{clipboard}", sharing.directory_share_mode).unwrap();
        for display in configuration.displays {
            writeln!(text, "  display: {}{}", display.hardware, on("dynamic", display.dynamic_resolution)).unwrap();
        }
        for serial in configuration.serials {
            writeln!(text, "  serial: {} {}", serial.mode, serial.target).unwrap();
        }
        for network in configuration.networks {
            writeln!(text, "  network: {} {}", network.mode, network.hardware).unwrap();
        }
        for sound in configuration.sounds {
            writeln!(text, "  sound: {}", sound.hardware).unwrap();
        }
        let interface = |image_type| default_drive_interface(architecture, target, image_type);
        writeln!(text, "  drive: {}, CD {}", interface(ImageType::Disk), interface(ImageType::Cd)).unwrap();
        text
    }

    #[test]
    fn default_machines() {
        let all: String = Architecture::ALL.iter().map(|architecture| shown(*architecture, default_machine(*architecture))).collect();
        insta::assert_snapshot!(all);
    }

    #[test]
    fn other_machines() {
        use Architecture as A;
        let machines = [
            (A::X86_64, "pc"),
            (A::I386, "pc"),
            (A::X86_64, "pc-q35-9.2"),
            (A::I386, "isapc"),
            (A::X86_64, "microvm"),
            (A::X86_64, "none"),
            (A::Aarch64, "virt-9.2"),
            (A::Aarch64, "raspi3b"),
            (A::M68k, "q800"),
            (A::M68k, "virt"),
            (A::Or1k, "virt"),
            (A::Xtensa, "virt"),
            (A::Riscv32, "virt"),
            (A::Ppc, "mac99"),
            (A::Ppc64, "mac99"),
            (A::Ppc64, "pseries-9.2"),
            (A::Mips64el, "loongson3-virt"),
        ];
        let all: String = machines.into_iter().map(|(architecture, target)| shown(architecture, target)).collect();
        insta::assert_snapshot!(all);
    }

    #[test]
    fn every_default_is_offered_and_possible() {
        for &architecture in Architecture::ALL {
            for target in crate::tables::machines(architecture) {
                let configuration = default_configuration(architecture, target, None);
                let can = capabilities(architecture, target);
                let offered = |list: &[&str], hardware: &String| list.contains(&hardware.as_str());
                assert!(configuration.displays.iter().all(|display| offered(display_devices(architecture), &display.hardware)));
                assert!(configuration.networks.iter().all(|network| offered(network_devices(architecture), &network.hardware)));
                assert!(configuration.sounds.iter().all(|sound| offered(sound_devices(architecture), &sound.hardware)));
                assert_eq!(configuration.displays.len() + configuration.serials.len(), 1, "{architecture} {target}");
                assert!(can.uefi || !configuration.qemu.uefi_boot, "{architecture} {target}");
                assert!(can.agent || !configuration.displays.iter().any(|display| display.dynamic_resolution));
                assert!(can.usb || default_drive_interface(architecture, target, ImageType::Cd) != DriveInterface::Usb);
            }
        }
    }

    #[test]
    fn a_reset_keeps_what_does_not_depend_on_the_machine() {
        let mut configuration = Configuration::default();
        configuration.system.memory_size = 4096;
        configuration.system.cpu = "Haswell".to_owned();
        configuration.drives.push(crate::qemu::Drive::default());
        configuration.qemu.additional_arguments.push("-snapshot".to_owned());
        let before = configuration.clone();
        reset_for_machine(&mut configuration, Some(Architecture::X86_64));
        assert_eq!(configuration.system.cpu, "default");
        assert!(configuration.qemu.hypervisor);
        assert_eq!((configuration.system.memory_size, &configuration.drives), (4096, &before.drives));
        assert_eq!(
            (configuration.information, configuration.qemu.additional_arguments),
            (before.information, before.qemu.additional_arguments)
        );
    }

    #[test]
    fn only_disks_and_cds_are_attached() {
        for image_type in [ImageType::None, ImageType::Bios, ImageType::LinuxKernel, ImageType::LinuxInitrd, ImageType::LinuxDtb] {
            assert_eq!(default_drive_interface(Architecture::X86_64, "q35", image_type), DriveInterface::None);
        }
    }

    #[test]
    fn machines_are_replaced_by_the_closest_known() {
        assert_eq!(known_or_default_machine(Architecture::X86_64, "pc-q35-9.2"), "pc-q35-9.2");
        assert_eq!(known_or_default_machine(Architecture::X86_64, "pc-i440fx-1.7"), "pc");
        assert_eq!(known_or_default_machine(Architecture::X86_64, "virt-9.2"), "q35");
        assert_eq!(uefi_firmware(Architecture::Aarch64), Some(UefiFirmware { code: "edk2-aarch64", vars: "edk2-arm" }));
    }
}
