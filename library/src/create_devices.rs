//! Which devices a new QEMU machine gets: what was asked for, else the best that its system has a driver for and its board a place.

use bundle::qemu::{self, DirectoryShareMode, Display, DriveInterface, ImageType, Network, NetworkMode, Serial, Sound, UsbBusSupport};
use bundle::{Architecture, tables};
use machine::Offer;

use crate::{CreateSpec, NetworkSpec, Os};

/// A machine type, the system that it is for, and what the board has a place for.
#[derive(Clone, Copy)]
pub(crate) struct Devices<'a> {
    pub architecture: Architecture,
    pub target: &'a str,
    pub os: Os,
    /// `None` believes what the machine type's name promises.
    pub offer: Option<&'a Offer>,
}

impl Devices<'_> {
    fn family(&self) -> &str {
        tables::machine_family(self.target)
    }

    /// Machines with paravirtual devices throughout, whose guests are of this century.
    pub fn is_modern(&self) -> bool {
        matches!(self.family(), "q35" | "virt" | "pseries" | "s390-ccw-virtio" | "microvm") || self.target.starts_with("virt-")
    }

    /// Made to have as little as possible; what it has in vain slows its start.
    fn is_minimal(&self) -> bool {
        self.target == "microvm"
    }

    fn has_virtio(&self) -> bool {
        self.offer.is_none_or(|offer| offer.virtio)
    }

    /// Sets every device of a machine that has the defaults of its type.
    pub fn choose(&self, new: &mut qemu::Configuration, spec: &CreateSpec) {
        let modern = self.is_modern();
        new.qemu.rng_device = self.has_virtio() && (modern && self.os != Os::Other || new.qemu.rng_device);
        new.qemu.balloon_device = self.has_virtio() && modern && self.os == Os::Linux;
        self.usb(new);
        self.sharing(new);
        let usual = new.displays.first().map(|display| display.hardware.clone());
        match self.display(usual.as_deref()).filter(|_| spec.display.unwrap_or(!self.is_minimal())) {
            None => new.displays.clear(),
            Some(hardware) => match new.displays.first_mut() {
                Some(display) => display.hardware = hardware,
                None => new.displays.push(Display { hardware, ..Display::default() }),
            },
        }
        let wanted = spec.sound.unwrap_or(!new.displays.is_empty());
        let usual = new.sounds.first().map(|sound| sound.hardware.clone());
        new.sounds.clear();
        if let Some(hardware) = self.sound(usual.as_deref(), spec.sound == Some(true)).filter(|_| wanted) {
            new.sounds.push(Sound { hardware, ..Sound::default() });
        }
        self.network(new, spec);
        // Always one, so that there is a console whatever becomes of the screen.
        new.serials = vec![Serial::default()];
    }

    fn usb(&self, new: &mut qemu::Configuration) {
        let offered = self.offer.map_or(!self.is_minimal(), |offer| offer.usb);
        if !offered {
            new.input.usb_bus_support = UsbBusSupport::Disabled;
        } else if !self.is_modern() && new.input.usb_bus_support == UsbBusSupport::Usb3 {
            new.input.usb_bus_support = UsbBusSupport::Usb2;
        }
    }

    fn sharing(&self, new: &mut qemu::Configuration) {
        if !self.has_virtio() {
            new.sharing.directory_share_mode = DirectoryShareMode::None;
            new.sharing.clipboard_sharing = false;
        } else if self.os == Os::Linux && new.sharing.directory_share_mode == DirectoryShareMode::WebDav {
            new.sharing.directory_share_mode = DirectoryShareMode::VirtFs;
        }
    }

    /// Whether the board offers the device; where nobody has asked it, whether such boards are known to.
    fn fits(&self, name: &str, offered: impl Fn(&Offer) -> &[String], known: &[&str]) -> bool {
        match self.offer {
            Some(offer) => offered(offer).iter().any(|offered| offered == name),
            None => known.contains(&name),
        }
    }

    /// A screen that the guest has a driver for; the board's own where it has one.
    fn display(&self, usual: Option<&str>) -> Option<String> {
        let preferred: &[&str] = match (self.os, self.family()) {
            (Os::Linux, "q35") => &["virtio-vga"],
            (Os::Linux, "virt" | "pseries") => &["virtio-gpu-pci", "virtio-gpu-device"],
            (Os::Linux, "microvm") => &["virtio-gpu-device"],
            (Os::Windows, "q35") => &["virtio-vga", "VGA"],
            // Its boot loader needs a framebuffer, and it has no driver for a virtio screen.
            (_, "virt") if self.architecture != Architecture::M68k => &["ramfb", "virtio-gpu-pci"],
            (Os::Other, "q35") => &["VGA"],
            (_, "s390-ccw-virtio") => &["virtio-gpu-ccw", "virtio-gpu-pci"],
            _ => &[],
        };
        let own = self.offer.and_then(|offer| offer.own_display.as_deref());
        let known = tables::display_devices(self.architecture);
        let fits = |name: &&str| self.fits(name, |offer| &offer.displays, known);
        let preferred = preferred.iter().copied();
        own.into_iter().chain(preferred).chain(usual).chain(["VGA", "virtio-gpu-pci", "virtio-gpu-device"]).find(fits).map(str::to_owned)
    }

    fn sound(&self, usual: Option<&str>, asked: bool) -> Option<String> {
        let known = tables::sound_devices(self.architecture);
        let Some(offer) = self.offer else {
            return usual.or(known.first().copied().filter(|_| asked)).map(str::to_owned);
        };
        let offered = |name: &&str| offer.sounds.iter().any(|offered| offered == name);
        // Those that guests have drivers for without being asked to.
        let classic = ["sb16", "ES1370", "AC97", "intel-hda"];
        let others = known.iter().copied().filter(|_| asked);
        usual.into_iter().chain(classic.into_iter().filter(|_| usual.is_some())).chain(others).find(offered).map(str::to_owned)
    }

    /// A network card that the guest has a driver for; the board's own where it has one.
    fn network_card(&self, usual: Option<&str>) -> Option<String> {
        let preferred: &[&str] = match self.os {
            Os::Linux if self.is_modern() => &["virtio-net-pci", "virtio-net-ccw", "virtio-net-device"],
            Os::Windows if self.is_modern() => &["e1000e", "e1000"],
            // What its own firmware and systems know.
            _ if self.architecture == Architecture::Sparc64 => &["sunhme"],
            _ => &[],
        };
        let own = self.offer.and_then(|offer| offer.own_network.as_deref());
        let known = tables::network_devices(self.architecture);
        let fits = |name: &&str| self.fits(name, |offer| &offer.networks, known);
        let others = known.iter().copied();
        own.into_iter().chain(preferred.iter().copied()).chain(usual).chain(others).find(fits).map(str::to_owned)
    }

    fn network(&self, new: &mut qemu::Configuration, spec: &CreateSpec) {
        let usual = new.networks.first().map(|network| network.hardware.clone());
        let hardware = self.network_card(usual.as_deref());
        new.networks.clear();
        let Some(hardware) = hardware else { return };
        let (mode, bridge_interface) = match spec.network.clone().unwrap_or(NetworkSpec::User) {
            NetworkSpec::User => (NetworkMode::Emulated, None),
            NetworkSpec::Bridged(interface) => (NetworkMode::Bridged, Some(interface)),
            NetworkSpec::Host => (NetworkMode::Host, None),
            NetworkSpec::None => return,
        };
        new.networks.push(Network { mode, hardware, bridge_interface, port_forwards: spec.port_forwards.clone(), ..Network::default() });
    }

    /// How a disk or CD is attached; `None` where the board has no place for one.
    pub fn interface(&self, image_type: ImageType) -> Option<DriveInterface> {
        use DriveInterface as I;
        let usual = tables::default_drive_interface(self.architecture, self.target, image_type);
        let cd = image_type == ImageType::Cd;
        let preferred = match self.os {
            Os::Linux if !cd && matches!(self.family(), "q35" | "pc" | "virt" | "pseries" | "s390-ccw-virtio" | "microvm") => I::VirtIo,
            Os::Windows if !cd && matches!(self.family(), "q35" | "virt") => I::Nvme,
            _ => usual,
        };
        let Some(offer) = self.offer else {
            return Some(if self.is_minimal() { I::VirtIo } else { preferred });
        };
        // Firmware of a board starts from what its time had; where there is none, the guest's kernel decides.
        let others: &[I] = match (cd, offer.firmware.is_some() || self.os == Os::Other) {
            (true, _) => &[I::Usb, I::Scsi, I::Ide, I::VirtIo],
            (false, true) => &[I::Ide, I::Scsi, I::Sd, I::Usb, I::VirtIo, I::Nvme],
            (false, false) => &[I::VirtIo, I::Sd, I::Ide, I::Scsi, I::Usb, I::Nvme],
        };
        let offered = if cd { &offer.cds } else { &offer.disks };
        let fits = |interface: &I| offered.iter().any(|offered| offered == interface.as_str());
        [preferred, usual].into_iter().chain(others.iter().copied()).find(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A machine of a type, as it would be made.
    fn made(architecture: Architecture, target: &str, os: Os, offer: Option<&Offer>) -> qemu::Configuration {
        let mut new = tables::default_configuration(architecture, target, None);
        Devices { architecture, target, os, offer }.choose(&mut new, &CreateSpec::default());
        new
    }

    fn evaluation_board() -> Offer {
        Offer {
            disks: names(&["SCSI", "SD", "VirtIO"]),
            cds: names(&["SCSI", "VirtIO"]),
            displays: names(&["pl111", "virtio-gpu-device"]),
            networks: names(&["lan9118", "virtio-net-device"]),
            sounds: names(&["virtio-sound-device"]),
            own_display: Some("pl111".to_owned()),
            own_network: Some("lan9118".to_owned()),
            virtio: true,
            ..Offer::default()
        }
    }

    #[test]
    fn a_board_gets_what_is_soldered_to_it_and_what_fits() {
        let offer = evaluation_board();
        let new = made(Architecture::Arm, "vexpress-a9", Os::Linux, Some(&offer));
        assert_eq!((new.displays[0].hardware.as_str(), new.networks[0].hardware.as_str()), ("pl111", "lan9118"));
        // The usual one needs PCI, and this one is not what a guest expects.
        assert!(new.sounds.is_empty());
        assert_eq!(new.input.usb_bus_support, UsbBusSupport::Disabled);
        let devices = Devices { architecture: Architecture::Arm, target: "vexpress-a9", os: Os::Linux, offer: Some(&offer) };
        assert_eq!(devices.interface(ImageType::Disk), Some(DriveInterface::VirtIo));
        assert_eq!(devices.interface(ImageType::Cd), Some(DriveInterface::Scsi));
        assert_eq!(Devices { os: Os::Other, ..devices }.interface(ImageType::Disk), Some(DriveInterface::Scsi));
    }

    #[test]
    fn a_board_without_any_bus_gets_nothing_that_it_cannot_have() {
        let offer = Offer { serial: true, ..Offer::default() };
        let new = made(Architecture::Rx, "gdbsim-r5f562n7", Os::Linux, Some(&offer));
        assert!(new.displays.is_empty() && new.networks.is_empty() && new.sounds.is_empty() && new.serials.len() == 1);
        assert!(!new.qemu.rng_device && !new.qemu.balloon_device && !new.sharing.clipboard_sharing);
        let devices = Devices { architecture: Architecture::Rx, target: "gdbsim-r5f562n7", os: Os::Linux, offer: Some(&offer) };
        assert_eq!((devices.interface(ImageType::Disk), devices.interface(ImageType::Cd)), (None, None));
    }

    #[test]
    fn a_microvm_is_minimal_and_all_virtio() {
        for offer in [
            None,
            Some(Offer {
                disks: names(&["SCSI", "VirtIO"]),
                cds: names(&["SCSI", "VirtIO"]),
                displays: names(&["isa-vga", "virtio-gpu-device"]),
                networks: names(&["ne2k_isa", "virtio-net-device"]),
                firmware: Some("bios-microvm.bin".to_owned()),
                virtio: true,
                ..Offer::default()
            }),
        ] {
            let mut new = made(Architecture::X86_64, "microvm", Os::Linux, offer.as_ref());
            assert!(new.displays.is_empty() && new.sounds.is_empty());
            assert_eq!(new.input.usb_bus_support, UsbBusSupport::Disabled);
            let devices = Devices { architecture: Architecture::X86_64, target: "microvm", os: Os::Linux, offer: offer.as_ref() };
            assert_eq!(devices.interface(ImageType::Disk), Some(DriveInterface::VirtIo));
            devices.choose(&mut new, &CreateSpec { display: Some(true), ..CreateSpec::default() });
            assert_eq!(new.displays[0].hardware, "virtio-gpu-device");
        }
    }

    #[test]
    fn old_machines_get_sound_that_fits() {
        let offer = Offer { sounds: names(&["ES1370", "AC97", "usb-audio"]), displays: names(&["VGA"]), ..Offer::default() };
        assert_eq!(made(Architecture::Ppc, "g3beige", Os::Other, Some(&offer)).sounds[0].hardware, "ES1370");
        let silent = Offer { sounds: names(&["usb-audio"]), displays: names(&["VGA"]), ..Offer::default() };
        assert!(made(Architecture::Ppc, "g3beige", Os::Other, Some(&silent)).sounds.is_empty());
    }
}
