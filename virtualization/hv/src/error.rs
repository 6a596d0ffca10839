//! What can go wrong below a machine.

use std::io;

/// The result of what is asked of a hypervisor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the computer refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no KVM.
    #[error("There is no /dev/kvm: load the module kvm_intel or kvm_amd, and switch virtualization on in the computer's firmware")]
    NoKvm,
    /// The user may not use KVM.
    #[error("No permission to open /dev/kvm: become a member of the group kvm (sudo usermod -aG kvm $USER) and log in again")]
    NoPermission,
    /// KVM lacks something without which no ordinary guest runs.
    #[error("This KVM cannot run ordinary guests: it has no {0}")]
    Unfit(&'static str),
    /// The kernel refused a request.
    #[error("The kernel refused to {attempt}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The guest's memory could not be had.
    #[error("Could not get {size} bytes of memory for the guest")]
    Memory {
        /// Bytes asked for.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A state was saved where the processor is another one.
    #[error("The state was saved on another processor: {0}")]
    OtherProcessor(String),
    /// A state that was saved is none of this hypervisor's.
    #[error("The saved state of {part} is none of this hypervisor's")]
    ForeignState {
        /// Of what.
        part: &'static str,
        /// What it lacks.
        source: serde_json::Error,
    },
    /// There are no more interrupts.
    #[error("The machine has no interrupt left for another device")]
    OutOfInterrupts,
}
