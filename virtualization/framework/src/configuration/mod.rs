//! Configuration objects: what a machine is to be.
//!
//! Plain data, from [`VirtualMachineConfiguration`] down. A *device* is what the guest sees, an *attachment* is what of the host is behind
//! it. [`VirtualMachineConfiguration::validate`] changes nothing and finds everything that is wrong at once.

mod boot_loader;
mod debug_stub;
mod devices;
mod mac_address;
mod nbd;
mod network;
mod platform;
mod problem;
#[cfg(target_os = "linux")]
mod saved;
mod serial;
mod storage;

use std::collections::BTreeMap;

pub use boot_loader::{BootLoader, COMMAND_LINE_MAXIMUM, LinuxBootLoader};
#[cfg(target_os = "linux")]
pub(crate) use debug_stub::DebugStubPlace;
pub use debug_stub::GdbDebugStub;
pub use devices::{
    DirectoryShare, DirectorySharingDevice, EntropyDevice, MemoryBalloonDevice, SharedDirectory, SocketDevice, TAG_MAXIMUM,
    VirtioFileSystemDevice,
};
pub use mac_address::{MacAddress, ParseMacAddressError};
pub use nbd::NbdAttachment;
#[cfg(target_os = "linux")]
pub(crate) use nbd::NbdServer;
pub use network::{
    FileHandleNetworkAttachment, MTU_MINIMUM, NatNetworkAttachment, NetworkAttachment, NetworkDevice, QUEUE_PAIRS_MAXIMUM,
    TapNetworkAttachment, VirtioNetworkDevice,
};
#[cfg(target_os = "linux")]
pub(crate) use network::{MTU_OF_PASST, TapSource};
pub use platform::{GenericPlatform, MachineIdentifier, Platform};
pub(crate) use problem::Problems;
pub use problem::{ConfigurationError, Problem};
pub use serial::{
    CONSOLE_PORTS_MAXIMUM, ConsoleDevice, SerialAttachment, SerialPort, Uart16550, VirtioConsoleDevice, VirtioConsolePort,
    VirtioConsoleSerialPort,
};
pub use storage::{
    Access, BLOCK_IDENTIFIER_MAXIMUM, BlockDeviceAttachment, CachingMode, DiskImage, DiskImageFormat, SECTOR_SIZE, StorageAttachment,
    StorageDevice, SynchronizationMode, VirtioBlockDevice,
};

use crate::engine;

/// Bytes of a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes of a gibibyte.
pub const GIB: u64 = 1 << 30;

/// Most slots that the machine's PCI bus has for devices; slot 0 is the host bridge.
const PCI_SLOTS: usize = 31;

/// What a machine is to be. Apple: `VZVirtualMachineConfiguration`.
///
/// The fields may be set in any order; nothing is looked at before [`Self::validate`].
#[derive(Debug, Clone)]
pub struct VirtualMachineConfiguration {
    /// vCPUs; within [`Self::minimum_allowed_cpu_count`] and [`Self::maximum_allowed_cpu_count`]. By default as many as the host has.
    pub cpu_count: usize,
    /// Memory in bytes; a multiple of [`MIB`] within [`Self::minimum_allowed_memory_size`] and [`Self::maximum_allowed_memory_size`]. The
    /// host gives it as the guest touches it. By default 1 GiB.
    pub memory_size: u64,
    /// The kind of computer.
    pub platform: Platform,
    /// What starts the guest; a machine needs one.
    pub boot_loader: Option<BootLoader>,
    /// Disks.
    pub storage_devices: Vec<StorageDevice>,
    /// Network cards.
    pub network_devices: Vec<NetworkDevice>,
    /// Serial ports.
    pub serial_ports: Vec<SerialPort>,
    /// Consoles with several ports.
    pub console_devices: Vec<ConsoleDevice>,
    /// Sources of random numbers.
    pub entropy_devices: Vec<EntropyDevice>,
    /// Memory balloons; at most one.
    pub memory_balloon_devices: Vec<MemoryBalloonDevice>,
    /// Devices for sockets between guest and host; at most one.
    pub socket_devices: Vec<SocketDevice>,
    /// Shared directories.
    pub directory_sharing_devices: Vec<DirectorySharingDevice>,
    /// Displays. On a Mac only.
    #[cfg(target_os = "macos")]
    pub graphics_devices: Vec<engine::mac::GraphicsDevice>,
    /// Keyboards; several, so that there is one for older guests too. On a Mac only.
    #[cfg(target_os = "macos")]
    pub keyboards: Vec<engine::mac::Keyboard>,
    /// Pointing devices; several, as above. On a Mac only.
    #[cfg(target_os = "macos")]
    pub pointing_devices: Vec<engine::mac::PointingDevice>,
    /// A stub for debuggers; without it, the default, nobody can debug the guest.
    pub debug_stub: Option<GdbDebugStub>,
    #[cfg(target_os = "linux")]
    confined: bool,
}

impl Default for VirtualMachineConfiguration {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        Self {
            cpu_count: processors.min(Self::maximum_allowed_cpu_count()),
            memory_size: GIB,
            platform: Platform::default(),
            boot_loader: None,
            storage_devices: Vec::new(),
            network_devices: Vec::new(),
            serial_ports: Vec::new(),
            console_devices: Vec::new(),
            entropy_devices: Vec::new(),
            memory_balloon_devices: Vec::new(),
            socket_devices: Vec::new(),
            directory_sharing_devices: Vec::new(),
            #[cfg(target_os = "macos")]
            graphics_devices: Vec::new(),
            #[cfg(target_os = "macos")]
            keyboards: Vec::new(),
            #[cfg(target_os = "macos")]
            pointing_devices: Vec::new(),
            debug_stub: None,
            #[cfg(target_os = "linux")]
            confined: true,
        }
    }
}

impl VirtualMachineConfiguration {
    /// A machine with as many vCPUs as the host has, 1 GiB of memory and no devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// With threads that may do all that the program may; for debugging. Otherwise each of the machine's threads gives up the system calls
    /// that it does not need, and every file: see [`crate::VirtualMachine::confinement`]. Not on a Mac, where machines run in a process of
    /// their own.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn without_confinement(mut self) -> Self {
        self.confined = false;
        self
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn is_confined(&self) -> bool {
        self.confined
    }

    /// The fewest vCPUs.
    pub fn minimum_allowed_cpu_count() -> usize {
        engine::cpu_counts().0
    }

    /// The most vCPUs: 64 on KVM. More than the host has are allowed there, and slow.
    pub fn maximum_allowed_cpu_count() -> usize {
        engine::cpu_counts().1
    }

    /// The least memory in bytes: 32 MiB on KVM, what a small kernel needs.
    pub fn minimum_allowed_memory_size() -> u64 {
        engine::memory_sizes().0
    }

    /// The most memory in bytes: the host's own on KVM.
    pub fn maximum_allowed_memory_size() -> u64 {
        engine::memory_sizes().1
    }

    /// Finds everything that is wrong with the configuration. It looks at files and descriptors, and changes nothing.
    ///
    /// # Errors
    /// Every problem with its place.
    pub fn validate(&self) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| self.find_problems(problems))
    }

    fn find_problems(&self, problems: &mut Problems<'_>) {
        let (fewest, most) = (Self::minimum_allowed_cpu_count(), Self::maximum_allowed_cpu_count());
        problems
            .field("cpu_count")
            .require((fewest..=most).contains(&self.cpu_count), || format!("It is {}; {fewest} to {most} are possible", self.cpu_count));
        let (least, most) = (Self::minimum_allowed_memory_size(), Self::maximum_allowed_memory_size());
        let mut memory = problems.field("memory_size");
        memory.require((least..=most).contains(&self.memory_size), || {
            format!("It is {} MiB; {} to {} MiB are possible here", self.memory_size / MIB, least / MIB, most / MIB)
        });
        memory.require(self.memory_size.is_multiple_of(MIB), || format!("{} bytes are not a whole number of MiB", self.memory_size));
        match &self.platform {
            Platform::Generic(platform) => platform.validate(&mut problems.field("platform")),
            #[cfg(target_os = "macos")]
            Platform::Mac(_) => {}
        }
        match &self.boot_loader {
            None => problems.field("boot_loader").add("A machine needs something to boot, such as a LinuxBootLoader"),
            Some(BootLoader::Linux(loader)) => loader.validate(&mut problems.field("boot_loader")),
            #[cfg(target_os = "macos")]
            Some(BootLoader::MacOs) => {
                let is_mac = matches!(self.platform, Platform::Mac(_));
                problems.field("platform").require(is_mac, || "macOS needs Platform::Mac".to_owned());
            }
        }

        for (index, device) in self.storage_devices.iter().enumerate() {
            device.validate(&mut problems.field("storage_devices").element(index));
        }
        one_writer(problems, &self.storage_devices);
        for (index, device) in self.network_devices.iter().enumerate() {
            device.validate(&mut problems.field("network_devices").element(index));
        }
        for (index, device) in self.console_devices.iter().enumerate() {
            device.validate(&mut problems.field("console_devices").element(index));
        }
        for (index, device) in self.directory_sharing_devices.iter().enumerate() {
            device.validate(&mut problems.field("directory_sharing_devices").element(index));
        }

        if let Some(stub) = &self.debug_stub {
            stub.validate(&mut problems.field("debug_stub"));
        }
        at_most_one(problems, "memory_balloon_devices", self.memory_balloon_devices.len());
        at_most_one(problems, "socket_devices", self.socket_devices.len());
        let mut uarts = self.serial_ports.iter().enumerate().filter(|(_, port)| matches!(port, SerialPort::Uart16550(_)));
        if let (Some(_), Some((second, _))) = (uarts.next(), uarts.next()) {
            problems.field("serial_ports").element(second).add("A machine has at most one 16550");
        }
        let addresses = self.network_devices.iter().map(|device| device.mac_address().to_string());
        unique(problems, "network_devices", "mac_address", addresses);
        unique(problems, "directory_sharing_devices", "tag", self.directory_sharing_devices.iter().map(|device| device.tag().to_owned()));

        let slots = self.pci_devices();
        let all = |count: usize| format!("There are {count} devices on the PCI bus, which has room for {PCI_SLOTS}");
        problems.field("devices").require(slots <= PCI_SLOTS, || all(slots));
    }

    /// How many devices need a slot of the PCI bus.
    fn pci_devices(&self) -> usize {
        let consoles = self.serial_ports.iter().filter(|port| matches!(port, SerialPort::VirtioConsole(_))).count();
        consoles
            + self.storage_devices.len()
            + self.network_devices.len()
            + self.console_devices.len()
            + self.entropy_devices.len()
            + self.memory_balloon_devices.len()
            + self.socket_devices.len()
            + self.directory_sharing_devices.len()
    }
}

fn at_most_one(problems: &mut Problems<'_>, field: &str, count: usize) {
    problems.field(field).require(count <= 1, || format!("There are {count}; a machine has at most one"));
}

/// What a disk writes to is no other disk's: each keeps to itself what it believes the file to be.
fn one_writer(problems: &mut Problems<'_>, devices: &[StorageDevice]) {
    let mut seen: BTreeMap<(u64, u64), (usize, Access)> = BTreeMap::new();
    for (index, device) in devices.iter().enumerate() {
        let Some((file, access)) = device.file() else { continue };
        match seen.get(&file) {
            Some((first, other)) if [access, *other].contains(&Access::ReadWrite) => {
                let message = format!("Its file is that of storage_devices[{first}] too, and a file that is written to is one disk's");
                problems.field("storage_devices").element(index).field("attachment").add(message);
            }
            Some(_) => {}
            None => drop(seen.insert(file, (index, access))),
        }
    }
}

/// No two elements of a list may have the same value in a field.
fn unique(problems: &mut Problems<'_>, list: &str, field: &str, values: impl Iterator<Item = String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, value) in values.enumerate() {
        if let Some(first) = seen.get(&value) {
            problems.field(list).element(index).field(field).add(format!("{value} is that of {list}[{first}] too"));
        } else {
            seen.insert(value, index);
        }
    }
}

#[cfg(test)]
mod tests;
