//! What a machine has from its creation to its end, whatever boards come and go.

use std::sync::Arc;

use confinement::Confinement;
use devices::virtio::balloon::BalloonTarget;
use devices::virtio::socket::SocketPorts;

use super::console::Console;
use super::debugger::Debugged;
use super::network::Connection;
use super::sharing::Sharing;
use crate::configuration::{
    ConsoleDevice, DirectorySharingDevice, MemoryBalloonDevice, NetworkDevice, SocketDevice, VirtualMachineConfiguration,
};
use crate::error::{Error, ErrorKind, Result};

/// The lasting parts of devices, by their place in the configuration.
#[derive(Clone)]
pub struct Resources {
    /// What each memory balloon should have.
    pub balloons: Vec<Arc<BalloonTarget>>,
    /// The guest, as debuggers see it.
    pub debugged: Debugged,
    /// What the ports of each console are attached to.
    pub consoles: Vec<Arc<Console>>,
    /// What each network card is connected to.
    pub networks: Vec<Arc<Connection>>,
    /// What each file system device shares.
    pub shares: Vec<Arc<Sharing>>,
    /// The host's side of each socket device.
    pub sockets: Vec<Arc<SocketPorts>>,
}

impl Resources {
    /// Those of a machine with this configuration.
    pub fn new(configuration: &VirtualMachineConfiguration, confinement: &Confinement) -> Result<Self> {
        let ports = |SocketDevice::Virtio: &SocketDevice| SocketPorts::new();
        let sockets = configuration.socket_devices.iter().map(ports).collect::<std::io::Result<_>>();
        let sockets = sockets.map_err(|error| Error::because(ErrorKind::Host, "Could not set up the machine's sockets", error))?;
        let balloons = configuration.memory_balloon_devices.iter().map(|MemoryBalloonDevice::Virtio| Arc::default()).collect();
        let console = |ConsoleDevice::Virtio(console): &ConsoleDevice| Arc::new(Console::new(console));
        let consoles = configuration.console_devices.iter().map(console).collect();
        let sharing = |DirectorySharingDevice::VirtioFileSystem(device): &DirectorySharingDevice| Arc::new(Sharing::new(device));
        let shares = configuration.directory_sharing_devices.iter().map(sharing).collect();
        let connection = |NetworkDevice::Virtio(card): &NetworkDevice| Arc::new(Connection::new(card, confinement.clone()));
        let networks = configuration.network_devices.iter().map(connection).collect();
        Ok(Self { balloons, debugged: Debugged::default(), consoles, networks, shares, sockets })
    }
}
