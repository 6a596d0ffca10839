//! What a machine needs from the computer below it: a hypervisor, vCPUs, interrupts, and memory.
//!
//! - [`Hypervisor`], [`Vm`], [`Vcpu`]: what there is to virtualise with. `kvm` is Linux's; `fake` (feature `testing`) has vCPUs that do
//!   what a test says.
//! - [`GuestMemory`]: the guest's memory, in a file without a name that other processes can be given.
//! - [`Doorbells`] and [`Interrupt`]: the two ways in which devices and guest call each other without a vCPU leaving the guest for long.
//!
//! [`SavedState`]s are what a guest can be brought back from, in another process.
//!
//! No device and no configuration is known here.

mod debug;
mod error;
mod event;
mod hypervisor;
mod memory;

#[cfg(feature = "testing")]
pub mod fake;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod kvm;

pub use debug::{DebugExit, Debugging, HARDWARE_BREAKPOINTS, HardwareBreakpoint, Registers, Watch};
pub use error::{Error, Result};
pub use event::Event;
pub use hypervisor::{
    Bus, Doorbells, Entry, Exit, Hypervisor, Interrupt, Interrupts, Kicker, MessageInterrupt, MsiMessage, SavedState, Topology, Vcpu, Vm,
};
pub use memory::{GuestMemory, Region, allocate, map_image, write_image};
pub use vm_memory;
