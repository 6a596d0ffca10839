//! What the computer has.

use bundle::Architecture;

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

/// The host's memory in MiB; 2 GiB where the system does not tell.
pub(crate) fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(2048, |kib| kib / 1024)
}
