//! The engine: makes machines of configurations, on a hypervisor.
//!
//! One *control* thread per machine owns everything ([`control`]); what was asked and what happened reach it as messages, in order. A
//! running guest ([`board`]) is a set of vCPU threads ([`vcpu`]), which call devices through the [`bus`], and an event loop for what
//! devices wait for. All of these threads are confined, and open no files; an unconfined one does for them ([`outside`]). A guest's reboot
//! builds the board anew: nothing of the old one is left that could be forgotten to be reset.

mod board;
mod bus;
mod console;
mod control;
mod debugger;
mod image_lock;
mod kernel_cache;
mod network;
mod outside;
mod peripherals;
mod resources;
mod saved;
mod several;
mod sharing;
mod storage;
mod surroundings;
mod vcpu;
mod virtiofsd;

use std::sync::Arc;

pub(crate) use console::Console;
pub(crate) use control::Control;
pub(crate) use devices::virtio::balloon::{BalloonTarget as Balloon, PAGE_SIZE};
pub(crate) use devices::virtio::socket::{Connected, SocketPorts};
pub(crate) use network::Connection;
pub(crate) use outside::Outside;
pub(crate) use sharing::Sharing;

use crate::configuration::MIB;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::StartOptions;

/// Whether this computer runs machines.
pub(crate) fn require_host() -> Result<()> {
    hypervisor().map(drop)
}

/// Whether guests can run virtual machines themselves.
pub(crate) fn has_nesting() -> bool {
    hypervisor().is_ok_and(|hypervisor| hypervisor.has_nesting())
}

/// Refuses ways to start that this engine does not have.
pub(crate) fn require_start(options: &StartOptions) -> Result<()> {
    if options.start_up_from_macos_recovery {
        return Err(Error::new(ErrorKind::NotSupported, "Only a Mac can start macOS's recovery"));
    }
    Ok(())
}

/// The bytes of a new machine identifier: a random UUID (version 4).
///
/// # Panics
/// Where the operating system has no random numbers, which Linux always has.
pub(crate) fn new_machine_identifier() -> Vec<u8> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes.to_vec()
}

/// Whether these are the bytes of one.
pub(crate) fn is_machine_identifier(data: &[u8]) -> bool {
    data.len() == 16
}

/// The fewest and most vCPUs.
pub(crate) const fn cpu_counts() -> (usize, usize) {
    (1, 64)
}

/// The least and most memory in bytes: what a small kernel needs, and what the host has.
pub(crate) fn memory_sizes() -> (u64, u64) {
    let info = rustix::system::sysinfo();
    let (least, all) = (32 * MIB, u64::from(info.mem_unit) * info.totalram);
    (least, (all & !(MIB - 1)).max(least))
}

/// This computer's hypervisor.
fn hypervisor() -> Result<Arc<dyn hv::Hypervisor>> {
    let kvm = hv::kvm::Kvm::open().map_err(|error| Error::because(ErrorKind::Host, "This computer cannot run virtual machines", error))?;
    Ok(Arc::new(kvm))
}

#[cfg(test)]
mod debugger_tests;
#[cfg(test)]
mod saved_tests;
#[cfg(test)]
mod tests;
