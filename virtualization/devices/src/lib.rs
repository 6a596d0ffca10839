//! What a guest sees, and the host's resources behind it.
//!
//! - [`EventLoop`]: the thread on which devices wait for descriptors.
//! - [`serial`]: the 16550.
//! - [`nbd`]: disks of other computers.
//! - [`pci`]: the bus, with message-signalled interrupts.
//! - [`virtio`]: the paravirtualised devices.
//!
//! Devices know `hv`'s interrupts, doorbells and memory; no configuration object and no machine is known here.

mod event_loop;
pub mod nbd;
pub mod pci;
pub mod serial;
pub mod virtio;

pub use event_loop::{EventLoop, Handler, Interest, Registration, Watches};
