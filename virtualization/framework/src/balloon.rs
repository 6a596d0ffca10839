//! The memory balloon of a machine, as the host's programs use it.

use std::sync::Arc;

#[cfg(target_os = "linux")]
pub use devices::virtio::balloon::Statistics as MemoryStatistics;

#[cfg(target_os = "linux")]
use crate::completion::Completion;
use crate::configuration::{MIB, VirtualMachineConfiguration};
use crate::engine::{Balloon, PAGE_SIZE};
#[cfg(target_os = "linux")]
use crate::error::{Error, ErrorKind};

/// The memory balloon of a machine. Apple: `VZVirtioTraditionalMemoryBalloonDevice`.
#[derive(Debug, Clone)]
pub struct VirtioMemoryBalloonDevice {
    target: Arc<Balloon>,
    memory_size: u64,
}

impl VirtioMemoryBalloonDevice {
    pub(crate) fn new(target: Arc<Balloon>, memory_size: u64) -> Self {
        Self { target, memory_size }
    }

    /// Bytes that should be left to the guest; at first all of its memory.
    pub fn target_virtual_machine_memory_size(&self) -> u64 {
        self.memory_size - u64::from(self.target.wanted()) * PAGE_SIZE
    }

    /// Says how many bytes should be left to the guest: a whole number of MiB, rounded down, from
    /// [`VirtualMachineConfiguration::minimum_allowed_memory_size`] to all of its memory. It is a wish that a guest may ignore.
    pub fn set_target_virtual_machine_memory_size(&self, bytes: u64) {
        let least = VirtualMachineConfiguration::minimum_allowed_memory_size();
        let left = (bytes & !(MIB - 1)).max(least).min(self.memory_size);
        // Pages of less memory than 16 TiB.
        self.target.set(u32::try_from((self.memory_size - left) / PAGE_SIZE).unwrap_or(u32::MAX));
    }

    /// Bytes that are left to the guest, as it says itself. Not in Apple's model, and so not on a Mac.
    #[cfg(target_os = "linux")]
    pub fn virtual_machine_memory_size(&self) -> u64 {
        self.memory_size.saturating_sub(u64::from(self.target.actual()) * PAGE_SIZE)
    }

    /// Asks the guest what it does with its memory. It answers when its driver comes to it. Not in Apple's model, and so not on
    /// a Mac.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidState`] where no guest runs that has a driver for this, [`ErrorKind::Cancelled`] where it ends before it answers.
    #[cfg(target_os = "linux")]
    pub fn statistics(&self) -> Completion<MemoryStatistics> {
        let (completer, completion) = Completion::new();
        if self.target.ask_for_statistics(|statistics| completer.end(Ok(statistics))) {
            return completion;
        }
        let why = "The guest has no driver for its balloon that gives statistics (or not yet)";
        Completion::ended(Err(Error::new(ErrorKind::InvalidState, why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_rounded_and_kept_in_bounds() {
        let balloon = VirtioMemoryBalloonDevice::new(Arc::default(), 512 * MIB);
        assert_eq!(balloon.target_virtual_machine_memory_size(), 512 * MIB);
        for (wish, target) in [(100 * MIB + 5, 100), (0, 32), (u64::MAX, 512)] {
            balloon.set_target_virtual_machine_memory_size(wish);
            assert_eq!(balloon.target_virtual_machine_memory_size(), target * MIB);
        }
        assert_eq!(balloon.statistics().wait().unwrap_err().kind(), ErrorKind::InvalidState);
    }
}
