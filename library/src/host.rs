//! What the computer has.

use std::num::NonZero;

use bundle::Architecture;

/// What the computer has that machines are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Its architecture, as machines name it; `None` for one that no machine has.
    pub architecture: Option<Architecture>,
    /// Its memory in MiB; 2 GiB where the system does not tell.
    pub memory_mib: u64,
    /// How much of that can be given away now, in MiB, where the system tells.
    pub free_memory_mib: Option<u64>,
    /// Processors that programs may use.
    pub cores: u32,
    /// Whether it is an Apple computer with macOS: the only ones that may run macOS guests.
    pub is_mac: bool,
}

impl Host {
    /// What this computer has now.
    pub fn now() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mib = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
            kib.map(|kib| kib / 1024)
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            architecture: architecture(),
            memory_mib: mib("MemTotal:").unwrap_or(2048),
            free_memory_mib: mib("MemAvailable:"),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            is_mac: cfg!(target_os = "macos"),
        }
    }
}

/// The host's architecture, as machines name it.
pub(crate) fn architecture() -> Option<Architecture> {
    let name = match std::env::consts::ARCH {
        "x86" => "i386",
        "powerpc" => "ppc",
        "powerpc64" => "ppc64",
        other => other,
    };
    name.parse().ok()
}
