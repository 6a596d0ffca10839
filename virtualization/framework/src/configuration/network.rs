//! Network cards, and what they are connected to.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{MacAddress, Problems};

/// The smallest maximum transmission unit of a [`FileHandleNetworkAttachment`], in bytes.
pub const MTU_MINIMUM: u16 = 1500;

/// A network card. Apple: `VZNetworkDeviceConfiguration`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NetworkDevice {
    /// A paravirtualised card.
    Virtio(VirtioNetworkDevice),
}

impl From<VirtioNetworkDevice> for NetworkDevice {
    fn from(device: VirtioNetworkDevice) -> Self {
        Self::Virtio(device)
    }
}

impl NetworkDevice {
    pub(super) fn mac_address(&self) -> MacAddress {
        match self {
            Self::Virtio(device) => device.mac_address,
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        match self {
            Self::Virtio(device) => device.validate(problems),
        }
    }
}

/// A virtio network card. Apple: `VZVirtioNetworkDeviceConfiguration`.
#[derive(Debug, Clone)]
pub struct VirtioNetworkDevice {
    /// Its address; a random one by default, so keep it with the machine.
    pub mac_address: MacAddress,
    /// What it is connected to.
    pub attachment: NetworkAttachment,
}

impl VirtioNetworkDevice {
    /// A card with a random address, connected to this.
    pub fn new(attachment: impl Into<NetworkAttachment>) -> Self {
        Self { mac_address: MacAddress::random_locally_administered(), attachment: attachment.into() }
    }

    /// With this address.
    #[must_use]
    pub fn mac_address(mut self, address: MacAddress) -> Self {
        self.mac_address = address;
        self
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let mut address = problems.field("mac_address");
        address.require(self.mac_address.is_unicast(), || {
            format!("A card's own address is that of one station, and {} is not", self.mac_address)
        });
        address.require(self.mac_address.bytes() != [0; 6], || "A card needs an address that is not zero".to_owned());
        if let NetworkAttachment::FileHandle(attachment) = &self.attachment {
            attachment.validate(&mut problems.field("attachment"));
        }
    }
}

/// What a network card is connected to. Apple: `VZNetworkDeviceAttachment`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NetworkAttachment {
    /// The host's network, with address translation in user space.
    Nat(NatNetworkAttachment),
    /// Whatever reads and writes frames at the other end of a socket.
    FileHandle(FileHandleNetworkAttachment),
}

impl From<NatNetworkAttachment> for NetworkAttachment {
    fn from(attachment: NatNetworkAttachment) -> Self {
        Self::Nat(attachment)
    }
}

impl From<FileHandleNetworkAttachment> for NetworkAttachment {
    fn from(attachment: FileHandleNetworkAttachment) -> Self {
        Self::FileHandle(attachment)
    }
}

/// The host's network, by the program passt: the guest gets addresses by DHCP and reaches what the host's user reaches; nobody needs root.
/// The guest is 10.0.2.15, the host 10.0.2.2, its name server 10.0.2.3. Apple: `VZNATNetworkDeviceAttachment`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatNetworkAttachment {}

impl NatNetworkAttachment {
    /// The attachment; it has no options.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A connected datagram socket; each datagram is one Ethernet frame, without checksum. Apple: `VZFileHandleNetworkDeviceAttachment`.
#[derive(Debug, Clone)]
pub struct FileHandleNetworkAttachment {
    socket: Arc<OwnedFd>,
    maximum_transmission_unit: u16,
}

impl FileHandleNetworkAttachment {
    /// A card at one end of this socket, with a maximum transmission unit of 1500 bytes.
    pub fn new(socket: impl Into<OwnedFd>) -> Self {
        Self { socket: Arc::new(socket.into()), maximum_transmission_unit: MTU_MINIMUM }
    }

    /// With this maximum transmission unit, in bytes: 1500 to 65535. The guest is told.
    #[must_use]
    pub fn maximum_transmission_unit(mut self, bytes: u16) -> Self {
        self.maximum_transmission_unit = bytes;
        self
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The maximum transmission unit in bytes.
    pub fn mtu(&self) -> u16 {
        self.maximum_transmission_unit
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        problems.field("maximum_transmission_unit").require(self.maximum_transmission_unit >= MTU_MINIMUM, || {
            format!("It is {}, and the least is {MTU_MINIMUM}", self.maximum_transmission_unit)
        });
        let mut socket = problems.field("socket");
        match rustix::net::sockopt::socket_type(&self.socket) {
            Ok(kind) if kind == rustix::net::SocketType::DGRAM => {
                if let Err(error) = rustix::net::getpeername(&self.socket) {
                    socket.add(format!("It is not connected ({error})"));
                }
            }
            Ok(_) => socket.add("It is not a datagram socket"),
            Err(error) => socket.add(format!("It is not a socket ({error})")),
        }
    }
}
