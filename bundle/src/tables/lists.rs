//! The value lists of each architecture: machines, devices, CPU models and CPU features.
//!
//! The lists are text files in `data/`, one per kind: a line that starts in the first column names architectures, the indented lines below
//! it hold their values, `#` starts a comment line. They are what UTM 5.0.3 offers, which is what its build of QEMU 10.0 has; an installed
//! QEMU may have more or fewer. UTM refuses a bundle whose machine is not in its list, falls back to `default` for a CPU, and checks
//! nothing else against them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::Architecture;

use super::machine_family;

type Table = BTreeMap<&'static str, Vec<&'static str>>;

static MACHINES: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/machines.txt"), true));
static DEFAULT_MACHINES: LazyLock<Table> = LazyLock::new(|| marked(include_str!("data/machines.txt")));
static DISPLAYS: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/displays.txt"), false));
static NETWORKS: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/networks.txt"), false));
static SOUNDS: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/sounds.txt"), false));
static SERIALS: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/serials.txt"), false));
static CPUS: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/cpus.txt"), false));
static CPU_FLAGS: LazyLock<Table> = LazyLock::new(|| parse(include_str!("data/cpu_flags.txt"), false));

/// Machines (`System.Target`).
pub fn machines(architecture: Architecture) -> &'static [&'static str] {
    list(&MACHINES, architecture)
}

/// The machine of a new configuration.
///
/// UTM's default, except that a versioned name gives way to its alias (`pseries` for `pseries-10.0`): versions come and go with releases
/// of QEMU, and the alias is in the same list.
pub fn default_machine(architecture: Architecture) -> &'static str {
    let default = list(&DEFAULT_MACHINES, architecture).first().copied().unwrap_or("none");
    let family = machine_family(default);
    if machine_is_known(architecture, family) { family } else { default }
}

/// Display devices (`Display[].Hardware`).
pub fn display_devices(architecture: Architecture) -> &'static [&'static str] {
    list(&DISPLAYS, architecture)
}

/// Network devices (`Network[].Hardware`).
pub fn network_devices(architecture: Architecture) -> &'static [&'static str] {
    list(&NETWORKS, architecture)
}

/// Sound devices (`Sound[].Hardware`).
pub fn sound_devices(architecture: Architecture) -> &'static [&'static str] {
    list(&SOUNDS, architecture)
}

/// Serial devices (`Serial[].Hardware`), for serial ports whose `Target` is `Manual`.
pub fn serial_devices(architecture: Architecture) -> &'static [&'static str] {
    list(&SERIALS, architecture)
}

/// CPU models (`System.CPU`); `default` is one of them.
pub fn cpus(architecture: Architecture) -> &'static [&'static str] {
    list(&CPUS, architecture)
}

/// CPU features that an editor offers for `System.CPUFlagsAdd` and `System.CPUFlagsRemove`.
pub fn cpu_flags(architecture: Architecture) -> &'static [&'static str] {
    list(&CPU_FLAGS, architecture)
}

/// Whether UTM 5.0.3 opens a bundle with this architecture and machine.
pub fn machine_is_known(architecture: Architecture, target: &str) -> bool {
    machines(architecture).contains(&target)
}

/// Whether the CPU model is in the list of the architecture. UTM pads the names of SPARC models with blanks; the padding does not count.
pub fn cpu_is_known(architecture: Architecture, cpu: &str) -> bool {
    cpus(architecture).contains(&cpu.trim_end_matches(' '))
}

/// Whether the display device renders 3D on the host (`virtio-gpu-gl-pci`, `virtio-vga-gl`, ...).
pub fn display_is_accelerated(hardware: &str) -> bool {
    hardware.ends_with("-gl") || hardware.contains("-gl-")
}

fn list(table: &'static Table, architecture: Architecture) -> &'static [&'static str] {
    table.get(architecture.as_str()).map_or(&[], Vec::as_slice)
}

/// Values per architecture; with `marks`, a `*` at the end of a value is not part of it.
fn parse(text: &'static str, marks: bool) -> Table {
    let mut table = Table::new();
    for (architecture, value) in values(text) {
        let value = if marks { value.trim_end_matches('*') } else { value };
        table.entry(architecture).or_default().push(value);
    }
    table
}

/// Only the values that a `*` marks.
fn marked(text: &'static str) -> Table {
    let mut table = Table::new();
    for (architecture, value) in values(text) {
        if let Some(value) = value.strip_suffix('*') {
            table.entry(architecture).or_default().push(value);
        }
    }
    table
}

/// Every pair of architecture and value, in the order of the file.
fn values(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut named: Vec<&'static str> = Vec::new();
    text.lines().filter(|line| !line.starts_with('#')).flat_map(move |line| {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            named.iter().flat_map(|architecture| words.iter().map(|word| (*architecture, *word))).collect::<Vec<_>>()
        } else {
            named = words;
            Vec::new()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The lists, and whether every architecture has an entry.
    fn tables() -> [(&'static str, &'static Table, bool); 8] {
        [
            ("machines", &MACHINES, true),
            ("default machines", &DEFAULT_MACHINES, true),
            ("displays", &DISPLAYS, false),
            ("networks", &NETWORKS, false),
            ("sounds", &SOUNDS, false),
            ("serials", &SERIALS, false),
            ("CPUs", &CPUS, true),
            ("CPU flags", &CPU_FLAGS, false),
        ]
    }

    #[test]
    fn names_are_architectures_and_complete() {
        let known: BTreeSet<&str> = Architecture::ALL.iter().map(|architecture| architecture.as_str()).collect();
        assert_eq!(known.len(), 29);
        for (kind, table, complete) in tables() {
            let named: BTreeSet<&str> = table.keys().copied().collect();
            assert!(named.is_subset(&known), "{kind}");
            assert!(!complete || named == known, "{kind}");
        }
    }

    #[test]
    fn values_are_plain_and_unique() {
        for (kind, table, _) in tables() {
            for (architecture, values) in table {
                let unique: BTreeSet<&&str> = values.iter().collect();
                assert_eq!(unique.len(), values.len(), "{kind} of {architecture}");
                for value in values {
                    // `conan/doyle` is a CPU of ppc; a value must never look like a further QEMU option or property.
                    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+/".contains(c);
                    assert!(value.chars().all(plain) && !value.starts_with('-'), "{kind} of {architecture}: {value}");
                }
            }
        }
    }

    #[test]
    fn each_architecture_has_one_default_machine_and_a_default_cpu() {
        for &architecture in Architecture::ALL {
            assert_eq!(list(&DEFAULT_MACHINES, architecture).len(), 1, "{architecture:?}");
            assert!(machine_is_known(architecture, default_machine(architecture)), "{architecture:?}");
            assert!(cpu_is_known(architecture, "default"), "{architecture:?}");
        }
        assert_eq!(default_machine(Architecture::Ppc64), "pseries");
        assert_eq!(default_machine(Architecture::S390x), "s390-ccw-virtio");
    }

    #[test]
    fn lists_have_the_expected_sizes() {
        let count = |list: &[&str]| list.len();
        assert_eq!(count(cpus(Architecture::X86_64)), 154);
        assert_eq!(count(cpus(Architecture::Ppc)), 385);
        assert_eq!(count(cpus(Architecture::Ppc64)), 421);
        assert_eq!(count(cpu_flags(Architecture::I386)), 382);
        assert_eq!(machines(Architecture::I386), machines(Architecture::X86_64));
        assert_eq!(machines(Architecture::Xtensa), machines(Architecture::Xtensaeb));
        assert!(display_devices(Architecture::Avr).is_empty());
    }

    #[test]
    fn padding_of_sparc_models_is_ignored() {
        assert!(cpu_is_known(Architecture::Sparc, "LEON3               "));
        assert!(cpu_is_known(Architecture::Sparc, "LEON3"));
        assert!(!cpu_is_known(Architecture::Sparc, "LEON9"));
        assert!(!cpu_is_known(Architecture::Sparc, ""));
    }
}
