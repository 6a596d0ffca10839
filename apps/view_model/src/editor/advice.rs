//! What settings mean on this computer.

use bundle::{Configuration, tables};

use super::Editor;
use crate::{Message, mebibytes, texts};

impl Editor {
    /// What a person should know about a value on this computer.
    pub(super) fn advice(&self, path: &str) -> Option<Message> {
        let (architecture, memory, cores, virtualized) = match &self.draft {
            Configuration::Qemu(qemu) => (qemu.system.architecture, qemu.system.memory_size, qemu.system.cpu_count, qemu.qemu.hypervisor),
            Configuration::Apple(apple) => (apple.system.architecture, apple.system.memory_size, apple.system.cpu_count, true),
        };
        let host = &self.host;
        match path {
            "System.MemorySize" if memory > host.memory_mib => {
                Some(texts::PROBLEM_MEMORY_MOST.with([&mebibytes(memory), &mebibytes(host.memory_mib)]))
            }
            "System.MemorySize" => host.free_memory_mib.map(|free| texts::EDITOR_MEMORY_FREE.with([&mebibytes(free)])),
            "System.CPUCount" if cores > host.cores => Some(texts::PROBLEM_CORES_MOST.with([&cores, &host.cores])),
            "QEMU.Hypervisor" if virtualized && !tables::hypervisor_is_possible(architecture, host.architecture) => {
                Some(texts::VIRTUALIZE_FOREIGN.with([&tables::label(architecture)]))
            }
            _ => None,
        }
    }
}
