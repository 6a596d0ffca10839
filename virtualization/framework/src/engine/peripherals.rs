//! The devices on the PCI bus.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use boot::layout;
use devices::EventLoop;
use devices::pci::{HostBridge, Identity, PciBus, PciFunction};
use devices::virtio::balloon::Balloon;
use devices::virtio::console::Console;
use devices::virtio::file_system::Gone;
use devices::virtio::socket::Socket;
use devices::virtio::{Block, Entropy, Network, SavedVirtioPci, VirtioDevice, VirtioPci};
use hv::{GuestMemory, Vm};

use super::board::{below, host};
use super::bus::GuestAction;
use super::console;
use super::control::Message;
use super::network::Connection;
use super::resources::Resources;
use super::surroundings::Surroundings;
use super::{storage, virtiofsd};
use crate::configuration::{EntropyDevice, MTU_MINIMUM, NetworkDevice, SerialPort, VirtualMachineConfiguration};
use crate::error::{Error, ErrorKind, Result};

/// The host bridge: a vendor and device number without meaning to any driver (those of virtio's maker, in the range for experiments).
const HOST_BRIDGE: Identity = Identity { vendor: 0x1af4, device: 0x10f0, class: 0x0600, revision: 0, subsystem: 0 };

/// The devices, as far as the machine has to do with them while they are in use.
/// The order of the fields is the order of their end.
pub struct Peripherals {
    servers: storage::Servers,
    functions: Vec<Arc<VirtioPci>>,
    _networks: Networks,
}

/// The cards' connections, which end with the cards.
struct Networks(Vec<Arc<Connection>>);

impl Drop for Networks {
    fn drop(&mut self) {
        self.0.iter().for_each(|connection| connection.disconnect());
    }
}

impl Peripherals {
    /// Makes every device of the configuration, for a guest that begins or one that goes on, and a bus that they are on, in the order of the configuration.
    pub fn new(
        configuration: &VirtualMachineConfiguration,
        resources: &Resources,
        surroundings: &Surroundings,
        vm: &Arc<dyn Vm>,
        memory: &GuestMemory,
        events: &Arc<EventLoop>,
        (board, control, is_new): &(u64, Sender<Message>, bool),
    ) -> Result<(Self, PciBus)> {
        let Surroundings { outside, confinement, .. } = surroundings;
        let mut wanted: Vec<Box<dyn VirtioDevice>> = Vec::new();
        for port in &configuration.serial_ports {
            if let SerialPort::VirtioConsole(port) = port {
                let console = Console::single(console::attachment(&port.attachment), confinement);
                wanted.push(Box::new(console.map_err(host("Could not start a console's thread"))?));
            }
        }
        for (device, console) in resources.consoles.iter().enumerate() {
            let (board, control) = (*board, control.clone());
            let opened = move |port, is_open| {
                // Without the control thread the board is about to go.
                let _ = control.send(Message::Guest { board, action: GuestAction::Port { device, port, is_open } });
            };
            let console =
                Console::multiple(console.ports().to_vec(), console.device(), console.port_count(), Box::new(opened), confinement);
            wanted.push(Box::new(console.map_err(host("Could not start a console's thread"))?));
        }
        let mut servers = storage::Servers::default();
        for (device, storage) in configuration.storage_devices.iter().enumerate() {
            let (board, control) = (*board, control.clone());
            let told = Box::new(move |event| {
                // Without the control thread the board is about to go.
                let _ = control.send(Message::Storage { board, device, event });
            });
            let disk = storage::open(storage, configuration.cpu_count, &mut servers, told, outside)?;
            wanted.push(Box::new(Block::new(disk, confinement).map_err(host("Could not start a disk's threads"))?));
        }
        let networks = Networks(resources.networks.clone());
        for (device, (NetworkDevice::Virtio(card), connection)) in configuration.network_devices.iter().zip(&resources.networks).enumerate()
        {
            let (board, control) = (*board, control.clone());
            let gone = move |error| {
                // Without the control thread the board is about to go.
                let _ = control.send(Message::NetworkGone { board, device, error });
            };
            let (address, mtu) = (card.mac_address.bytes(), connection.attachment().map_or(MTU_MINIMUM, |attachment| attachment.mtu()));
            let link = {
                let (connection, is_new) = (Arc::clone(connection), *is_new);
                outside.run(move || connection.connect(is_new, Arc::new(gone)))??
            };
            let card = Network::new(link, address, mtu, card.queue_pairs, Arc::clone(events), confinement);
            wanted.push(Box::new(card.map_err(host("Could not start a network card's thread"))?));
        }
        for EntropyDevice::Virtio in &configuration.entropy_devices {
            wanted.push(Box::new(Entropy::new(Arc::clone(events))));
        }
        for target in &resources.balloons {
            wanted.push(Box::new(Balloon::new(Arc::clone(target), Arc::clone(events))));
        }
        for ports in &resources.sockets {
            wanted.push(Box::new(Socket::new(Arc::clone(ports), Arc::clone(events))));
        }
        for (device, sharing) in resources.shares.iter().enumerate() {
            let (board, control) = (*board, control.clone());
            let gone = move |error| {
                // Without the control thread the board is about to go.
                let _ = control.send(Message::SharingGone { board, device, error });
            };
            let gone: Gone = Arc::new(gone);
            wanted.push(Box::new(virtiofsd::device(sharing, &gone, events, surroundings)?));
        }

        let mut bus = PciBus::new(Arc::new(HostBridge::new(HOST_BRIDGE)));
        let mut functions = Vec::new();
        // The window has room for many more devices than the bus has slots.
        let addresses = (layout::PCI_WINDOW as u32..).step_by(VirtioPci::MEMORY_SIZE as usize);
        for (device, address) in wanted.into_iter().zip(addresses) {
            let function = Arc::new(VirtioPci::new(device, address, Arc::clone(vm), memory.clone()).map_err(below)?);
            if bus.add(Arc::clone(&function) as Arc<dyn PciFunction>).is_none() {
                return Err(Error::new(ErrorKind::InvalidConfiguration, "The machine has more devices than its bus has slots"));
            }
            functions.push(function);
        }
        Ok((Self { servers, functions, _networks: networks }, bus))
    }

    /// The devices as they are, while they stand still.
    pub fn save(&self) -> Result<Vec<SavedVirtioPci>> {
        let failed = |error: std::io::Error| Error::because(ErrorKind::Save, "A device could not finish what the guest wants of it", error);
        self.functions.iter().map(|function| function.save().map_err(failed)).collect()
    }

    /// The devices are what those were; they stand still.
    ///
    /// # Errors
    /// Which of them is not, and why.
    pub fn restore(&self, saved: &[SavedVirtioPci]) -> std::result::Result<(), String> {
        if saved.len() != self.functions.len() {
            return Err(format!("It is of {} devices, and the machine has {}", saved.len(), self.functions.len()));
        }
        for (function, saved) in self.functions.iter().zip(saved) {
            function.restore(saved).map_err(|error| format!("It does not fit the device {function:?}: {error}"))?;
        }
        Ok(())
    }

    /// Waits for no server any longer: what is still asked of one fails.
    pub fn give_up(&self) {
        self.servers.end();
    }

    /// Makes the devices' own threads stand still.
    pub fn pause(&self) {
        self.functions.iter().for_each(|function| function.pause());
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.functions.iter().for_each(|function| function.resume());
    }
}
