//! Network cards, and what they are connected to.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{ConfigurationError, MacAddress, Problems};

/// The most pairs of queues of a network card.
pub const QUEUE_PAIRS_MAXIMUM: u16 = 16;

/// The longest name of a network interface, in bytes (`IFNAMSIZ` of Linux is 16 with the zero at its end).
const INTERFACE_NAME_MAXIMUM: usize = 15;

/// The smallest maximum transmission unit of a [`FileHandleNetworkAttachment`] or [`TapNetworkAttachment`], in bytes.
pub const MTU_MINIMUM: u16 = 1500;

/// What passt takes at most: TCP ends in it, so nothing on the way to the other side has to carry as much.
pub const MTU_OF_PASST: u16 = 65_520;

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
    /// Pairs of queues, each served by a thread: 1, the default, to [`QUEUE_PAIRS_MAXIMUM`]. A guest uses no more than it has vCPUs. Where the
    /// attachment has fewer, they share what they send to. Not in Apple's model.
    pub queue_pairs: u16,
}

impl VirtioNetworkDevice {
    /// A card with a random address, connected to this.
    pub fn new(attachment: impl Into<NetworkAttachment>) -> Self {
        Self { mac_address: MacAddress::random_locally_administered(), attachment: attachment.into(), queue_pairs: 1 }
    }

    /// With this many pairs of queues.
    #[must_use]
    pub fn queue_pairs(mut self, count: u16) -> Self {
        self.queue_pairs = count;
        self
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
        let mut pairs = problems.field("queue_pairs");
        pairs.require((1..=QUEUE_PAIRS_MAXIMUM).contains(&self.queue_pairs), || {
            format!("It is {}; 1 to {QUEUE_PAIRS_MAXIMUM} are possible", self.queue_pairs)
        });
        self.attachment.find_problems(&mut problems.field("attachment"));
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
    /// An interface of the host.
    Tap(TapNetworkAttachment),
}

impl NetworkAttachment {
    /// The maximum transmission unit in bytes.
    pub fn mtu(&self) -> u16 {
        match self {
            Self::Nat(_) => MTU_OF_PASST,
            Self::FileHandle(attachment) => attachment.mtu(),
            Self::Tap(attachment) => attachment.mtu(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| self.find_problems(&mut problems.field("attachment")))
    }

    fn find_problems(&self, problems: &mut Problems<'_>) {
        match self {
            Self::Nat(_) => {}
            Self::FileHandle(attachment) => attachment.validate(problems),
            Self::Tap(attachment) => attachment.validate(problems),
        }
    }
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

impl From<TapNetworkAttachment> for NetworkAttachment {
    fn from(attachment: TapNetworkAttachment) -> Self {
        Self::Tap(attachment)
    }
}

/// The host's network, by the program passt: the guest gets addresses by DHCP and reaches what the host's user reaches; nobody needs root.
/// The guest is 10.0.2.15, the host 10.0.2.2, its name server 10.0.2.3; the maximum transmission unit is 65520 bytes. A passt that has
/// `--vhost-user` serves the queues of a card with one pair of them itself, from the guest's start on. Apple:
/// `VZNATNetworkDeviceAttachment`.
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
        mtu_problems(self.maximum_transmission_unit, problems);
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

fn mtu_problems(mtu: u16, problems: &mut Problems<'_>) {
    let mut place = problems.field("maximum_transmission_unit");
    place.require(mtu >= MTU_MINIMUM, || format!("It is {mtu}, and the least is {MTU_MINIMUM}"));
}

/// A tap interface of the host (Linux: Documentation/networking/tuntap.rst), which may be part of a bridge: the guest is then a computer of
/// the host's network. Checksums and the cutting of TCP are left to the host. Not in Apple's model; the place of
/// `VZBridgedNetworkDeviceAttachment`.
#[derive(Debug, Clone)]
pub struct TapNetworkAttachment {
    source: TapSource,
    maximum_transmission_unit: u16,
}

#[derive(Debug, Clone)]
pub(crate) enum TapSource {
    Interface(String),
    Descriptors(Vec<Arc<OwnedFd>>),
}

impl TapNetworkAttachment {
    /// The interface of this name, opened when the machine starts. Who runs the machine must own it (`ip tuntap add NAME mode tap user USER`,
    /// with `multi_queue` for a card with several pairs of queues), or have the right to make it (`CAP_NET_ADMIN`).
    pub fn interface(name: impl Into<String>) -> Self {
        Self { source: TapSource::Interface(name.into()), maximum_transmission_unit: MTU_MINIMUM }
    }

    /// Queues of an interface that somebody else opened, with `IFF_TAP`, `IFF_NO_PI` and `IFF_VNET_HDR`: one for each pair of queues.
    pub fn descriptors(descriptors: impl IntoIterator<Item = OwnedFd>) -> Self {
        let source = TapSource::Descriptors(descriptors.into_iter().map(Arc::new).collect());
        Self { source, maximum_transmission_unit: MTU_MINIMUM }
    }

    /// With this maximum transmission unit, in bytes: 1500, the default, to 65535. The guest is told; the interface's own is not changed.
    #[must_use]
    pub fn maximum_transmission_unit(mut self, bytes: u16) -> Self {
        self.maximum_transmission_unit = bytes;
        self
    }

    /// The maximum transmission unit in bytes.
    pub fn mtu(&self) -> u16 {
        self.maximum_transmission_unit
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn source(&self) -> &TapSource {
        &self.source
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        mtu_problems(self.maximum_transmission_unit, problems);
        match &self.source {
            TapSource::Interface(name) => {
                let is_plain = (1..=INTERFACE_NAME_MAXIMUM).contains(&name.len())
                    && !matches!(name.as_str(), "." | "..")
                    && !name.contains(|character: char| matches!(character, '/' | ':' | '%' | '\0') || character.is_whitespace());
                problems.field("interface").require(is_plain, || format!("No interface can have this name: {name:?}"));
            }
            TapSource::Descriptors(descriptors) => {
                problems.field("descriptors").require(!descriptors.is_empty(), || "There is none".to_owned());
            }
        }
    }
}
