//! Devices: added, removed, moved.

use bundle::key_path::{self, Change};
use bundle::qemu::{Drive, DriveInterface, ImageType};
use bundle::{Configuration, tables};

use super::draft::count;
use super::{Editor, Group};

/// A device that can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// A graphics card or a screen.
    Display,
    /// A network card.
    Network,
    /// A serial port.
    Serial,
    /// A sound card.
    Sound,
    /// A CD drive, empty. Disks have files; they are added by the library ([`library::Library::drive_add`]), while nothing is typed here.
    Cd,
}

/// The first port of this computer that is forwarded to a guest's ssh where nobody says otherwise.
const FIRST_PORT: u32 = 2222;
const SSH: u32 = 22;

impl Device {
    /// Where it is then.
    pub const fn group(self) -> Group {
        match self {
            Self::Display => Group::Display,
            Self::Network => Group::Network,
            Self::Serial => Group::Serial,
            Self::Sound => Group::Sound,
            Self::Cd => Group::Drive,
        }
    }
}

impl Editor {
    /// The devices that can be added to this machine.
    pub fn addable(&self) -> Vec<Device> {
        let all = [Device::Display, Device::Network, Device::Serial, Device::Sound, Device::Cd];
        all.into_iter().filter(|device| self.can_have(*device)).collect()
    }

    fn can_have(&self, device: Device) -> bool {
        let Configuration::Qemu(qemu) = &self.draft else {
            return !matches!(device, Device::Sound | Device::Cd);
        };
        let architecture = qemu.system.architecture;
        match device {
            Device::Display => !tables::display_devices(architecture).is_empty(),
            Device::Network => !tables::network_devices(architecture).is_empty(),
            Device::Sound => !tables::sound_devices(architecture).is_empty(),
            Device::Serial | Device::Cd => true,
        }
    }

    /// Adds a device that suits the machine. Returns the key path of the new one, for its page.
    pub fn add(&mut self, device: Device) -> Option<String> {
        let list = device.group().list()?;
        let before = self.count(list);
        if device == Device::Cd {
            let Configuration::Qemu(qemu) = &mut self.draft else { return None };
            let interface = tables::default_drive_interface(qemu.system.architecture, &qemu.system.target, ImageType::Cd);
            let interface = if interface == DriveInterface::None { DriveInterface::Ide } else { interface };
            // First: whoever adds one wants to start from it, or does not mind.
            qemu.drives.insert(0, Drive { image_type: ImageType::Cd, interface, read_only: true, ..Drive::default() });
            self.renumber(list, |index| Some(index + 1));
            return Some(format!("{list}[0]"));
        }
        let change = match self.usual_hardware(device) {
            Some(hardware) => Change::Set { path: format!("{list}[+].Hardware"), text: hardware },
            None => Change::Set { path: format!("{list}[+]"), text: "{}".to_owned() },
        };
        key_path::edit(&mut self.draft, &[change]).ok()?;
        (self.count(list) > before).then(|| format!("{list}[{before}]"))
    }

    /// Forwards a free port of this computer to the guest's ssh: a forward that could be used as it is, to be changed.
    pub fn add_forward(&mut self, network: usize) -> Option<String> {
        let Configuration::Qemu(qemu) = &self.draft else { return None };
        let taken: Vec<u32> =
            qemu.networks.iter().flat_map(|network| network.port_forwards.iter().map(|forward| forward.host_port)).collect();
        let port = (FIRST_PORT..=65535).find(|port| !taken.contains(port))?;
        let before = qemu.networks.get(network)?.port_forwards.len();
        let path = format!("Network[{network}].PortForward");
        let json = format!(r#"{{"HostAddress": "127.0.0.1", "HostPort": {port}, "GuestPort": {SSH}}}"#);
        key_path::edit(&mut self.draft, &[Change::Set { path: format!("{path}[+]"), text: json }]).ok()?;
        Some(format!("{path}[{before}]"))
    }

    /// Removes an element of a list: `Network[1]`, `Network[0].PortForward[2]`. The image of a drive stays in the bundle.
    pub fn remove(&mut self, path: &str) -> bool {
        let Some((list, index)) = path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) else { return false };
        let Ok(removed) = index.parse::<usize>() else { return false };
        if key_path::edit(&mut self.draft, &[Change::Unset { path: path.to_owned() }]).is_err() {
            return false;
        }
        self.renumber(list, |index| match index.cmp(&removed) {
            std::cmp::Ordering::Less => Some(index),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(index - 1),
        });
        true
    }

    /// Moves an element of a list to another place; of drives, that is the order in which they are tried for starting.
    pub fn reorder(&mut self, group: Group, from: usize, to: usize) -> bool {
        let Some(list) = group.list().filter(|list| from < self.count(list) && to < self.count(list)) else { return false };
        match (&mut self.draft, group) {
            (Configuration::Qemu(qemu), Group::Display) => shift(&mut qemu.displays, from, to),
            (Configuration::Qemu(qemu), Group::Drive) => shift(&mut qemu.drives, from, to),
            (Configuration::Qemu(qemu), Group::Network) => shift(&mut qemu.networks, from, to),
            (Configuration::Qemu(qemu), Group::Serial) => shift(&mut qemu.serials, from, to),
            (Configuration::Qemu(qemu), Group::Sound) => shift(&mut qemu.sounds, from, to),
            (Configuration::Apple(apple), Group::Display) => shift(&mut apple.displays, from, to),
            (Configuration::Apple(apple), Group::Drive) => shift(&mut apple.drives, from, to),
            (Configuration::Apple(apple), Group::Network) => shift(&mut apple.networks, from, to),
            (Configuration::Apple(apple), Group::Serial) => shift(&mut apple.serials, from, to),
            _ => return false,
        }
        self.renumber(list, |index| {
            Some(if index == from {
                to
            } else if from < index && index <= to {
                index - 1
            } else if to <= index && index < from {
                index + 1
            } else {
                index
            })
        });
        true
    }

    /// How many elements a list of the draft has.
    pub(super) fn count(&self, list: &str) -> usize {
        count(&self.draft, list)
    }

    /// The device of a kind that suits the machine type.
    fn usual_hardware(&self, device: Device) -> Option<String> {
        let qemu = self.draft.as_qemu()?;
        let (architecture, target) = (qemu.system.architecture, &qemu.system.target);
        let usual = tables::default_configuration(architecture, target, self.host.architecture);
        let first = |usual: Option<&String>, known: &[&str]| usual.cloned().or_else(|| known.first().map(|name| (*name).to_owned()));
        match device {
            Device::Display => first(usual.displays.first().map(|display| &display.hardware), tables::display_devices(architecture)),
            Device::Network => first(usual.networks.first().map(|network| &network.hardware), tables::network_devices(architecture)),
            Device::Sound => first(usual.sounds.first().map(|sound| &sound.hardware), tables::sound_devices(architecture)),
            Device::Serial | Device::Cd => None,
        }
    }
}

fn shift<T>(list: &mut [T], from: usize, to: usize) {
    if from < to {
        list[from..=to].rotate_left(1);
    } else {
        list[to..=from].rotate_right(1);
    }
}
