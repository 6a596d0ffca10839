//! Sensible limits, from what the computer has.

use library::{Host, Os};

use super::Wizard;
use crate::{Message, mebibytes, texts};

/// The largest disk that a slider offers: more can be had later, and disks only grow.
pub(super) const MOST_DISK: u64 = 8 << 40;
/// The smallest disk that anything is installed to.
pub(super) const LEAST_DISK: u64 = 1 << 20;
/// What the computer keeps for itself, in MiB.
const KEPT_MIB: u64 = 1024;

/// What is sensible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The least memory that such a system starts with, in MiB.
    pub memory_least: u64,
    /// The most that leaves this computer some, in MiB. At least as much as the least.
    pub memory_most: u64,
    /// The most cores.
    pub cores_most: u32,
}

/// What is sensible for a system on a computer. `modern` says whether its machine type is of this century.
pub fn limits(host: &Host, os: Os, modern: bool) -> Limits {
    let least = match (os, modern) {
        (Os::Windows, true) => 2048,
        (Os::MacOs, _) => 4096,
        (Os::Linux, true) => 128,
        _ => 4,
    };
    let kept = KEPT_MIB.min(host.memory_mib / 4);
    Limits { memory_least: least, memory_most: (host.memory_mib - kept).max(least), cores_most: host.cores.max(1) }
}

impl Limits {
    /// The steps of a slider for memory: round sizes between the limits, both limits included, each larger than the one before.
    pub fn memory_steps(self) -> Vec<u64> {
        const ROUND: [u64; 3] = [4, 5, 6];
        let round = (0..32).flat_map(|power| ROUND.map(|part| (part << power) / 4)).chain((0..32).map(|power| 7_u64 << power >> 2));
        let mut steps: Vec<u64> = round.filter(|step| *step > self.memory_least && *step < self.memory_most).collect();
        steps.extend([self.memory_least, self.memory_most]);
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}

impl Wizard {
    /// What is sensible for what was chosen.
    pub fn limits(&self) -> Limits {
        limits(&self.host, self.choices.os, self.plan().is_none_or(|plan| plan.modern))
    }

    /// The help below the field for memory.
    pub fn memory_help(&self) -> Message {
        let limits = self.limits();
        let (least, most) = (mebibytes(limits.memory_least), mebibytes(limits.memory_most));
        match self.host.free_memory_mib {
            Some(free) => texts::MEMORY_RANGE_FREE.with([&least, &most, &mebibytes(free)]),
            None => texts::MEMORY_RANGE.with([&least, &most]),
        }
    }

    /// The help below the field for cores: what is chosen where nobody chooses.
    pub fn cores_help(&self) -> Option<Message> {
        let mut usual = self.clone();
        usual.choices.cores = None;
        let plan = usual.plan()?;
        let count = match &plan.configuration {
            bundle::Configuration::Qemu(qemu) => qemu.system.cpu_count,
            bundle::Configuration::Apple(apple) => apple.system.cpu_count,
        };
        Some(texts::CORES_AUTO_HERE.with([&count]))
    }
}
