//! The PCI bus (PCI Local Bus 3.0): one bus, one function in each slot, interrupts by MSI-X only.

mod bus;
mod configuration;
mod msix;

pub use bus::{PciBus, PciFunction, Slot};
pub use configuration::{Capability, Configuration, HostBridge, Identity, Written};
pub use msix::{Msix, MsixState, NO_VECTOR, Vector};
