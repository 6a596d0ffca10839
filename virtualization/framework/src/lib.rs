//! Virtual machines with the object model of Apple's Virtualization framework: describe a machine with configuration objects, make a
//! machine object, start it.
//!
//! ```no_run
//! use virtualization::*;
//!
//! # async fn run() -> Result<()> {
//! let mut configuration = VirtualMachineConfiguration::new();
//! configuration.cpu_count = 4;
//! configuration.memory_size = 4 * GIB;
//! configuration.boot_loader =
//!     Some(LinuxBootLoader::new("vmlinuz").initial_ramdisk("initrd").command_line("console=hvc0").into());
//! configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open("disk.qcow2", Access::ReadWrite)?).into()];
//! configuration.serial_ports = vec![VirtioConsoleSerialPort::new(SerialAttachment::file("console.log", false)?).into()];
//! configuration.validate()?;
//! let machine = VirtualMachine::new(configuration)?;
//! machine.start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`VirtualMachineConfiguration`] and what it holds are plain data; [`VirtualMachineConfiguration::validate`] finds everything that is
//!   wrong at once.
//! - [`VirtualMachine`] is a handle: cheap to clone, usable from any thread. Its operations begin when they are called and give a
//!   [`Completion`], which is a future for any executor and can be waited for without one.
//! - [`lifecycle`] is the table of states and operations. Nothing that is called at the wrong time panics; it is an [`Error`].
//! - [`Event`] says what happens by itself: [`VirtualMachine::events`].
//!
//! On Linux machines run on KVM, on a Mac on Apple's framework, with `macos` beside it for what only a Mac can do. The latter has been
//! checked against the types of Apple's framework and has never been run. What an engine does not have is refused by
//! [`VirtualMachine::new`], never left out.

mod balloon;
mod completion;
mod configuration;
mod console;
mod directory_sharing;
#[cfg(target_os = "linux")]
mod engine;
#[cfg(target_os = "macos")]
#[path = "apple/mod.rs"]
mod engine;
mod error;
mod event;
mod inbox;
pub mod lifecycle;
mod machine;
mod network;
#[cfg(target_os = "linux")]
mod saved_state;
mod socket;
mod state;
mod task;

#[cfg(target_os = "linux")]
pub use ::confinement::Status as ConfinementStatus;
#[cfg(target_os = "linux")]
pub use balloon::MemoryStatistics;
pub use balloon::VirtioMemoryBalloonDevice;
pub use completion::Completion;
pub use configuration::{
    Access, BLOCK_IDENTIFIER_MAXIMUM, BlockDeviceAttachment, BootLoader, COMMAND_LINE_MAXIMUM, CONSOLE_PORTS_MAXIMUM, CachingMode,
    ConfigurationError, ConsoleDevice, DirectoryShare, DirectorySharingDevice, DiskImage, DiskImageFormat, EntropyDevice,
    FileHandleNetworkAttachment, GIB, GdbDebugStub, GenericPlatform, LinuxBootLoader, MIB, MTU_MINIMUM, MacAddress, MachineIdentifier,
    MemoryBalloonDevice, NatNetworkAttachment, NbdAttachment, NetworkAttachment, NetworkDevice, ParseMacAddressError, Platform, Problem,
    QUEUE_PAIRS_MAXIMUM, SECTOR_SIZE, SerialAttachment, SerialPort, SharedDirectory, SocketDevice, StorageAttachment, StorageDevice,
    SynchronizationMode, TAG_MAXIMUM, TapNetworkAttachment, Uart16550, VirtioBlockDevice, VirtioConsoleDevice, VirtioConsolePort,
    VirtioConsoleSerialPort, VirtioFileSystemDevice, VirtioNetworkDevice, VirtualMachineConfiguration,
};
pub use console::{ConsoleHandle, ConsolePortHandle};
pub use directory_sharing::DirectorySharingHandle;
#[cfg(target_os = "macos")]
pub use engine::mac as macos;
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventStream};
pub use machine::{StartOptions, VirtualMachine};
pub use network::NetworkHandle;
#[cfg(target_os = "linux")]
pub use saved_state::SavedMachineState;
pub use socket::{SocketConnection, SocketListener, VirtioSocketDevice};
pub use state::State;
