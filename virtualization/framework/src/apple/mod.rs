//! The engine on a Mac: Apple's Virtualization framework, which this crate's model is that of.
//!
//! A machine's object is touched on its own serial queue only ([`queue::OnQueue`]); operations, delegates and completion handlers all run
//! there. What happens reaches events and completions from there ([`delegate`]), and no lock is held meanwhile. Attachments and
//! configurations are made of ours wherever they are needed ([`configuration`]).
//!
//! It is checked against the framework's types, and has not been run: nobody had a Mac. It needs macOS 13.
//!
//! Why unsafe: every call of an Objective-C method is, for what its types do not say. What each of them wants is said where it is made; that
//! configuration objects are used by one thread at a time, and machine objects on their queue only, holds for all of them.
#![allow(unsafe_code)]

mod configuration;
mod control;
mod delegate;
mod devices;
mod error;
pub mod mac;
mod queue;
mod socket;

pub(crate) use control::Control;
pub(crate) use devices::{Balloon, Connection, Console, PAGE_SIZE, Sharing};
pub(crate) use socket::{Connected, SocketPorts};

use objc2::{AnyThread, available};
use objc2_foundation::NSData;
use objc2_virtualization::{VZGenericMachineIdentifier, VZGenericPlatformConfiguration, VZVirtualMachine, VZVirtualMachineConfiguration};

use crate::configuration::{NetworkAttachment, NetworkDevice, SerialPort, VirtualMachineConfiguration};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::StartOptions;

/// Whether this Mac runs machines.
pub(crate) fn require_host() -> Result<()> {
    if !available!(macos = 13.0) {
        return Err(Error::new(ErrorKind::Host, "Virtual machines need macOS 13 or later"));
    }
    // SAFETY: it takes nothing.
    if unsafe { VZVirtualMachine::isSupported() } {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Host, "This Mac cannot run virtual machines"))
    }
}

/// Refuses what only the KVM engine has, so that nothing in a configuration is ever left out in silence.
pub(crate) fn require_supported(configuration: &VirtualMachineConfiguration) -> Result<()> {
    let mut absent = Vec::new();
    for (index, port) in configuration.serial_ports.iter().enumerate() {
        if matches!(port, SerialPort::Uart16550(_)) {
            absent.push(format!("serial_ports[{index}]: a 16550"));
        }
    }
    for (index, NetworkDevice::Virtio(card)) in configuration.network_devices.iter().enumerate() {
        if matches!(card.attachment, NetworkAttachment::Tap(_)) {
            absent.push(format!("network_devices[{index}]: a tap interface"));
        }
        if card.queue_pairs != 1 {
            absent.push(format!("network_devices[{index}]: several pairs of queues"));
        }
    }
    if configuration.debug_stub.is_some() {
        absent.push("debug_stub".to_owned());
    }
    if absent.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotSupported, format!("Apple's framework does not have these: {}", absent.join(", "))))
}

/// Whether guests can run virtual machines themselves.
pub(crate) fn has_nesting() -> bool {
    // SAFETY: it takes nothing, and is there.
    available!(macos = 15.0) && unsafe { VZGenericPlatformConfiguration::isNestedVirtualizationSupported() }
}

/// Refuses ways to start that a Mac does not have; it has all of them.
pub(crate) fn require_start(_options: &StartOptions) -> Result<()> {
    Ok(())
}

/// The bytes of a new machine identifier; none where no machine can be made either.
pub(crate) fn new_machine_identifier() -> Vec<u8> {
    if !available!(macos = 13.0) {
        return Vec::new();
    }
    // SAFETY: they take nothing.
    unsafe { VZGenericMachineIdentifier::new().dataRepresentation() }.to_vec()
}

/// Whether these are the bytes of one.
pub(crate) fn is_machine_identifier(data: &[u8]) -> bool {
    if !available!(macos = 13.0) {
        return false;
    }
    let data = NSData::with_bytes(data);
    // SAFETY: it takes any bytes.
    unsafe { VZGenericMachineIdentifier::initWithDataRepresentation(VZGenericMachineIdentifier::alloc(), &data) }.is_some()
}

/// The fewest and most vCPUs.
pub(crate) fn cpu_counts() -> (usize, usize) {
    // SAFETY: they take nothing.
    unsafe { (VZVirtualMachineConfiguration::minimumAllowedCPUCount(), VZVirtualMachineConfiguration::maximumAllowedCPUCount()) }
}

/// The least and most memory, in bytes.
pub(crate) fn memory_sizes() -> (u64, u64) {
    // SAFETY: they take nothing.
    unsafe { (VZVirtualMachineConfiguration::minimumAllowedMemorySize(), VZVirtualMachineConfiguration::maximumAllowedMemorySize()) }
}

/// What macOS guests and Rosetta need.
pub(crate) fn require_apple_silicon(what: &str) -> Result<()> {
    // The classes for it are not there on other Macs.
    if cfg!(target_arch = "aarch64") {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::NotSupported, format!("{what} needs a Mac with Apple silicon")))
    }
}
