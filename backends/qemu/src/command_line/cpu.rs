//! Processors.

use bundle::qemu::Configuration;
use bundle::{Architecture, Problem};

use super::builder::{Builder, is_virt, printable};
use super::result::Subject;
use crate::facts::{Accelerator, Decision, Emulator};

/// The value of `-cpu`, if any.
pub(super) fn probed(configuration: &Configuration, emulator: &Emulator, accelerator: &Decision) -> Option<String> {
    // The trial runs without KVM.
    match model(configuration, emulator, accelerator.accelerator) {
        Some(cpu) if cpu == "host" || accelerator.accelerator == Accelerator::Kvm => None,
        other => other,
    }
}

pub(super) fn add(b: &mut Builder<'_>) {
    let configuration = b.configuration();
    let cpu = configuration.system.cpu.trim_end_matches(' ');
    if !b.emulator().has_cpu(cpu) {
        let nearest = b.emulator().nearest_cpus(cpu);
        let message = format!("the installed QEMU has no CPU model {}", printable(cpu));
        b.problem(Problem::fatal("System.CPU", message), &nearest);
    }
    for (key, flags) in
        [("System.CPUFlagsAdd", &configuration.system.cpu_flags_add), ("System.CPUFlagsRemove", &configuration.system.cpu_flags_remove)]
    {
        for flag in flags.iter().filter(|flag| !is_flag(flag)) {
            b.fatal(key, format!("{} is not the name of a CPU feature", printable(flag)));
        }
    }
    if let Some(value) = model(configuration, b.emulator(), b.request.accelerator.accelerator) {
        b.option(Subject::Machine, "-cpu", value);
    }
    count(b);
    if let Some(value) = topology(b) {
        b.option(Subject::Machine, "-smp", value);
    }
}

fn is_flag(flag: &str) -> bool {
    !flag.is_empty() && flag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn model(configuration: &Configuration, emulator: &Emulator, accelerator: Accelerator) -> Option<String> {
    let system = &configuration.system;
    let cpu = system.cpu.trim_end_matches(' ');
    if !cpu.is_empty() && cpu != "default" {
        let mut value = cpu.to_owned();
        // SPARC and a few others name CPUs with commas or blanks in them.
        value = value.replace(',', ",,");
        for flag in system.cpu_flags_add.iter().filter(|flag| is_flag(flag)) {
            value.push_str(&format!(",+{flag}"));
        }
        for flag in system.cpu_flags_remove.iter().filter(|flag| is_flag(flag)) {
            value.push_str(&format!(",-{flag}"));
        }
        return Some(value);
    }
    if accelerator == Accelerator::Kvm {
        return Some("host".to_owned());
    }
    let has = |name: &str| emulator.cpus.contains_key(name);
    match system.architecture {
        Architecture::X86_64 if has("max") => {
            let mut value = "max".to_owned();
            for feature in ["erms", "fsrm", "la57"] {
                if emulator.has_property("max-x86_64-cpu", feature) {
                    value.push_str(&format!(",{feature}=off"));
                }
            }
            Some(value)
        }
        Architecture::Aarch64 if is_virt(&system.target) && has("cortex-a72") => Some("cortex-a72".to_owned()),
        Architecture::Arm if is_virt(&system.target) && has("cortex-a15") => Some("cortex-a15".to_owned()),
        _ => None,
    }
}

/// The number of vCPUs that the configuration names.
pub(super) fn wanted(configuration: &Configuration) -> Option<u64> {
    Some(u64::from(configuration.system.cpu_count)).filter(|count| *count > 0)
}

/// Decides the number of vCPUs; `None` leaves it to the board.
fn count(b: &mut Builder<'_>) {
    let most = b.emulator().machine(b.target()).map_or(1, |machine| machine.cpus_max).max(1);
    if let Some(wanted) = wanted(b.configuration()) {
        if wanted > most {
            let target = b.target();
            b.report(
                Problem::fatal("System.CPUCount", format!("the machine {target} has at most {most} processors, not {wanted}"))
                    .with_hint("0 chooses a number"),
            );
            return;
        }
        if let Some(own) = b.request.board.filter(|board| board.refuses_cpus).map(|board| board.cpus) {
            let target = b.target();
            return b.fixed("System.CPUCount", format!("the machine {target} cannot have {wanted} processors; it has its own {own}"));
        }
        b.out.cpus = Some(wanted);
        return;
    }
    // A board that comes with several cores takes no other number.
    let fixed = most == 1 || b.request.board.is_some_and(|board| board.cpus > 1);
    let single = matches!(b.architecture(), Architecture::Sparc | Architecture::Sparc64);
    // Guests that expect stores in order cannot run in parallel on a processor that reorders them.
    let reorders =
        matches!(b.host().architecture, Some(Architecture::Aarch64 | Architecture::Arm | Architecture::Ppc64 | Architecture::Riscv64));
    let serial = reorders && !b.kvm() && !is_weakly_ordered(b.architecture());
    if fixed {
        return;
    }
    b.out.cpus = Some(if single || serial { 1 } else { b.host().threads.clamp(1, most) });
}

fn is_weakly_ordered(architecture: Architecture) -> bool {
    use Architecture as A;
    matches!(
        architecture,
        A::Alpha
            | A::Arm
            | A::Aarch64
            | A::Avr
            | A::Mips
            | A::Mipsel
            | A::Mips64
            | A::Mips64el
            | A::Ppc
            | A::Ppc64
            | A::Riscv32
            | A::Riscv64
            | A::Xtensa
            | A::Xtensaeb
    )
}

/// The value of `-smp`.
fn topology(b: &Builder<'_>) -> Option<String> {
    let cpus = b.out.cpus?;
    let x86 = matches!(b.architecture(), Architecture::X86_64 | Architecture::I386);
    let automatic = b.configuration().system.cpu_count == 0;
    let (cores, threads) = match (b.host().cores.max(1), b.host().threads) {
        // The host's own shape, where the guest has all of it.
        (cores, threads) if x86 && automatic && threads == cpus && threads % cores == 0 => (cores, threads / cores),
        _ => (cpus, 1),
    };
    Some(format!("cpus={cpus},sockets=1,cores={cores},threads={threads}"))
}
