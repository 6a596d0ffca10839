//! Board, accelerator, memory.

use bundle::qemu::{Configuration, UsbBusSupport};
use bundle::{Architecture, Problem, tables};

use super::builder::{Builder, is_pc, is_virt};
use super::result::{Access, Subject};

/// The key of a problem that says why a machine is emulated that asks for a hypervisor.
pub const HYPERVISOR: &str = "QEMU.Hypervisor";

/// The value of `-machine` that a board is tried with: what decides its buses.
///
/// A trial is not confined, and whoever made the bundle wrote the properties: `dumpdtb=` would write to any file of the person. So it gets
/// only switches, numbers and plain words, and none that name a file or what only the real command line has.
pub(super) fn probed(configuration: &Configuration) -> String {
    let system = &configuration.system;
    let mut value = system.target.clone();
    let overridden = override_of(configuration);
    for property in overridden.unwrap_or_default().split(',').filter(|property| is_harmless(property)) {
        value.push(',');
        value.push_str(property);
    }
    if wants_usb(configuration) && !is_virt(&system.target) && !has(overridden, "usb") && system.target != "microvm" {
        value.push_str(",usb=on");
    }
    value
}

/// Whether the configuration has USB at all.
pub(super) fn wants_usb(configuration: &Configuration) -> bool {
    let system = &configuration.system;
    tables::capabilities(system.architecture, &system.target).usb && configuration.input.usb_bus_support != UsbBusSupport::Disabled
}

pub(super) fn add(b: &mut Builder<'_>) {
    accelerator(b);
    globals(b);
    memory(b);
}

/// `-machine`, after everything that adds properties to it has run.
pub(super) fn add_machine(b: &mut Builder<'_>) {
    let configuration = b.configuration();
    let overridden = override_of(configuration);
    let mut value = b.target().to_owned();
    if let Some(properties) = overridden {
        value.push(',');
        value.push_str(properties);
    }
    let mut defaults: Vec<String> = Vec::new();
    if is_pc(b.architecture(), b.target()) {
        for (property, wanted) in [
            ("vmport", true),
            ("i8042", wants_usb(configuration) && b.usb_bus.is_some() && !configuration.qemu.ps2_controller),
            ("hpet", b.kvm()),
        ] {
            if wanted && b.machine_has(property) {
                defaults.push(format!("{property}=off"));
            }
        }
    }
    let emulated_arm = matches!(b.architecture(), Architecture::Aarch64 | Architecture::Arm) && !b.kvm();
    if is_virt(b.target()) && emulated_arm && b.out.cpus.is_some_and(|cpus| cpus > 8) {
        defaults.push("gic-version=3".to_owned());
    }
    // The guest gets a hypervisor mode of its own, as in UTM.
    let emulated_aarch64 = b.architecture() == Architecture::Aarch64 && !b.kvm();
    if is_virt(b.target()) && emulated_aarch64 && b.machine_has("virtualization") {
        defaults.push("virtualization=on".to_owned());
    }
    if matches!(b.architecture(), Architecture::Ppc | Architecture::Ppc64) && b.target() == "mac99" {
        defaults.push("via=pmu".to_owned());
    }
    defaults.append(&mut b.machine_properties);
    for property in defaults {
        let name = property.split('=').next().unwrap_or_default();
        if !has(overridden, name) {
            value.push(',');
            value.push_str(&property);
        }
    }
    b.option(Subject::Machine, "-machine", value);
}

fn accelerator(b: &mut Builder<'_>) {
    let system = &b.configuration().system;
    if b.kvm() {
        b.option(Subject::Machine, "-accel", "kvm");
        b.file("/dev/kvm", Access::ReadWrite);
    } else {
        let mut value = "tcg".to_owned();
        if system.force_multicore {
            value.push_str(",thread=multi");
        }
        if system.jit_cache_size > 0 {
            value.push_str(&format!(",tb-size={}", system.jit_cache_size));
        }
        b.option(Subject::Machine, "-accel", value);
        if b.configuration().qemu.hypervisor {
            let why = b.request.accelerator.why.clone();
            b.note(HYPERVISOR, why);
        }
    }
    if b.configuration().qemu.tso {
        b.note("QEMU.TSO", "store ordering cannot be switched on Linux; ignored");
    }
}

fn globals(b: &mut Builder<'_>) {
    if matches!(b.architecture(), Architecture::X86_64 | Architecture::I386) {
        // The board's own chip; QEMU complains about the other one.
        let board = b.full_target();
        let chip = if board.contains("q35") {
            "ICH9-LPC"
        } else if board.starts_with("pc") {
            "PIIX4_PM"
        } else {
            return;
        };
        if b.emulator().has_device(chip) {
            b.option(Subject::Machine, "-global", format!("{chip}.disable_s3=1"));
        }
    }
}

fn memory(b: &mut Builder<'_>) {
    let size = b.configuration().system.memory_size;
    if size == 0 {
        b.report(Problem::fatal("System.MemorySize", "a machine needs memory").with_hint("512 is enough for most"));
        return;
    }
    let target = b.target();
    match b.request.board.and_then(|board| Some((board.memory_instead?, board.memory))) {
        None => {}
        // Less than a MiB cannot be configured.
        Some((0, own)) if own <= size << 20 && own > (size - 1) << 20 => return,
        Some((0, own)) => {
            let own = if own >> 20 > 0 { format!("{} MiB", own >> 20) } else { format!("{} KiB", own >> 10) };
            let message = format!("the machine {target} cannot have {size} MiB of memory; it has its own {own}");
            return b.fixed("System.MemorySize", message);
        }
        Some((less, _)) => {
            b.fixed("System.MemorySize", format!("the machine {target} cannot have {size} MiB of memory; it gets {less} MiB"));
            return b.option(Subject::Machine, "-m", format!("{less}M"));
        }
    }
    let present = b.host().memory;
    if present > 0 && size > present {
        b.note("System.MemorySize", format!("the machine may use {size} MiB of memory, and this computer has {present} MiB"));
    }
    b.option(Subject::Machine, "-m", format!("{size}M"));
}

fn override_of(configuration: &Configuration) -> Option<&str> {
    configuration.qemu.machine_property_override.as_deref().map(str::trim).filter(|properties| !properties.is_empty())
}

/// Whether a trial may have this property: it names neither a file nor another object.
fn is_harmless(property: &str) -> bool {
    const REFERENCES: &[&str] =
        &["append", "confidential-guest-support", "dtb", "dumpdtb", "firmware", "initrd", "kernel", "memory-backend", "memory-encryption"];
    let Some((name, value)) = property.split_once('=') else { return false };
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    plain(name) && plain(value) && !REFERENCES.contains(&name) && !name.starts_with("pflash") && !name.ends_with("audiodev")
}

/// Whether a list of properties has `name`.
fn has(properties: Option<&str>, name: &str) -> bool {
    properties.unwrap_or_default().split(',').any(|property| property.split('=').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_gets_no_property_that_names_a_file() {
        let mut configuration = Configuration::default();
        configuration.system.target = "virt".to_owned();
        configuration.qemu.machine_property_override =
            Some("gic-version=3,dumpdtb=/home/me/.bashrc,dumpdtb=here,firmware=x,memory-backend=mem0,a=b,,dumpdtb=y,secure=on".to_owned());
        assert_eq!(probed(&configuration), "virt,gic-version=3,a=b,secure=on");
    }
}
