//! The engine: makes machines of configurations, on a hypervisor.
//!
//! One *control* thread per machine owns everything ([`control`]); what was asked and what happened reach it as messages, in order. A
//! running guest ([`board`]) is a set of vCPU threads ([`vcpu`]), which call devices through the [`bus`], and an event loop for what
//! devices wait for. A guest's reboot builds the board anew: nothing of the old one is left that could be forgotten to be reset.

mod board;
mod bus;
mod console;
mod control;
mod image_lock;
mod kernel_cache;
mod network;
mod peripherals;
mod resources;
mod storage;
mod vcpu;

use std::sync::Arc;

pub(crate) use console::Console;
pub(crate) use control::Control;
pub(crate) use network::Connection;

use crate::configuration::VirtualMachineConfiguration;
use crate::error::{Error, ErrorKind, Result};

/// This computer's hypervisor.
pub(crate) fn hypervisor() -> Result<Arc<dyn hv::Hypervisor>> {
    let kvm = hv::kvm::Kvm::open().map_err(|error| Error::because(ErrorKind::Host, "This computer cannot run virtual machines", error))?;
    Ok(Arc::new(kvm))
}

/// Refuses what this engine does not have, so that nothing in a configuration is ever left out in silence.
pub(crate) fn require_supported(configuration: &VirtualMachineConfiguration) -> Result<()> {
    if configuration.directory_sharing_devices.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotSupported, "The KVM engine does not have these yet: directory_sharing_devices"))
}

#[cfg(test)]
mod tests;
