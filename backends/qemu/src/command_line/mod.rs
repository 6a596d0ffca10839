//! The command line of a machine: a pure function from configuration and facts.
//!
//! What UTM does on macOS is made right for Linux. Where the result differs from UTM's, and why:
//!
//! | UTM | here | reason |
//! |---|---|---|
//! | `-drive`, format probed | `-blockdev` with explicit format, caching, backing | a guest must not choose how its disk is read |
//! | node and device share `drive<Identifier>` | device `drive<Identifier>`, node `drive<first 20 characters>` | node names have at most 31 characters |
//! | `-snapshot` | qcow2 overlays in a scratch directory, `efi_vars.fd` and TPM state included | works with `-blockdev`, and nothing is written below |
//! | `usb-storage` for CDs | `usb-bot` with `scsi-cd` | with `-blockdev`, `usb-storage` is always a disk |
//! | one `isa-fdc` per floppy | one controller with two drives | two controllers sit at the same address |
//! | IDE drives beyond the buses of a machine with one unit per bus are refused | they become the second unit | the machine has room for them |
//! | QMP and agent inside SPICE, consoles over SPICE | listening sockets, handed over as descriptors | work without SPICE, survive its client, need no right to make sockets |
//! | SPICE listens on a socket | nowhere, clients are handed over | QEMU needs no right to make Unix sockets, with which it could reach others |
//! | `tb-size` = memory/4, `thread` | only when the configuration asks | a small or huge buffer made UTM slower than plain QEMU (UTM#5468) |
//! | `-cpu Skylake-Client` for emulated x86_64 | `max` without `erms`, `fsrm`, `la57` | string instructions byte by byte and five page-table levels are slow to emulate |
//! | `hpet=off` | only with KVM | a kernel without KVM's clock falls back to the much slower ACPI timer |
//! | `-cpu cortex-a72`/`cortex-a15` on every ARM board | only on `virt` | other boards refuse any CPU but theirs |
//! | `threads=` for every guest | only for x86 | others refuse it or gain nothing |
//! | forwards listen on all addresses by default | on 127.0.0.1 | reaching out is asked for, not assumed |
//! | forwards ignored outside `Emulated` | honoured in `Shared` and `Host` too | both are user networks here |
//! | `VgaRamMib` of the first display for all | each its own | |
//! | USB redirection always | only with `UsbSharing` | |
//! | SPICE agent also for resizing alone | not where pixels go over D-Bus | D-Bus resizes without an agent |
//! | a server that waits for its client blocks QEMU (`wait=on`) | `wait=off`, and the guest is held back | QEMU is watched and can be stopped meanwhile |
//! | sparc without `-nodefaults` | `-nodefaults` everywhere | a default NIC and drives appear otherwise |
//! | no VM generation ID | `vmgenid` on PCs | a guest notices that it is a copy, or was restored |
//!
//! A device that the *emulator* lacks is a fatal problem with the nearest names. A device that the *board* has no bus for is left out with
//! a warning, except drives and the TPM: a machine must not start without those.

mod boot;
mod builder;
mod cpu;
mod display;
mod drive;
mod extras;
mod machine;
mod network;
mod nodes;
mod request;
mod result;
mod serial;
mod sharing;
mod sound;
mod tpm;
mod usb;
mod user;

pub(crate) use boot::has_place_for_uefi;
pub(crate) use extras::has_generation;
pub(crate) use nodes::can_have_backing;
pub(crate) use result::descriptor_set;
pub(crate) use user::only_for_the_kernel;

use bundle::Problem;
use bundle::qemu::Configuration;

use crate::facts::{BootFile, Decision, Emulator, Probe};
use builder::Builder;

pub use machine::HYPERVISOR;
pub use request::{Image, Layer, Options, Paths, Request};
pub use result::{
    Access, Argument, Awaited, CommandLine, Confinement, Descriptor, DriveNames, FileAccess, Helper, HelperKind, PortDevice, Preparation,
    SerialSocket, SocketNeeds, Sockets, Source, Subject,
};

/// How the hint of a problem begins that is over once a package is installed.
pub const INSTALL: &str = "install the package";

/// The command line for a request, or every problem that keeps the machine from starting (warnings among them).
pub fn build(request: &Request<'_>) -> Result<CommandLine, Vec<Problem>> {
    let mut builder = Builder::new(*request);
    check_board(&mut builder);
    extras::process(&mut builder);
    machine::add(&mut builder);
    cpu::add(&mut builder);
    boot::add(&mut builder);
    // Controllers first: what plugs into them asks for their buses.
    usb::add(&mut builder);
    display::add(&mut builder);
    usb::add_sharing(&mut builder);
    network::add(&mut builder);
    serial::add(&mut builder);
    sound::add(&mut builder);
    drive::add(&mut builder);
    sharing::add(&mut builder);
    tpm::add(&mut builder);
    extras::add(&mut builder);
    machine::add_machine(&mut builder);
    user::add(&mut builder);
    builder.finish()
}

/// What to try the machine with ([`crate::facts::Board::find`]) before [`build`].
pub fn probe(configuration: &Configuration, emulator: &Emulator, accelerator: &Decision) -> Probe {
    Probe {
        machine: machine::probed(configuration),
        cpu: cpu::probed(configuration, emulator, accelerator),
        memory: Some(configuration.system.memory_size),
        cpus: cpu::wanted(configuration),
    }
}

/// The value of `-machine` to try an accelerator with ([`crate::facts::accelerator::decide`]).
pub fn machine_argument(configuration: &Configuration) -> String {
    machine::probed(configuration)
}

fn check_board(builder: &mut Builder<'_>) {
    let target = builder.target().to_owned();
    if builder.emulator().machine(&target).is_none() {
        let nearest = builder.emulator().nearest_machines(&target);
        let message = format!("the installed QEMU has no machine {target}");
        builder.problem(Problem::fatal("System.Target", message), &nearest);
    } else if let Some(board) = builder.request.board
        && let Some(refusal) = &board.refusal
    {
        let problem = Problem::fatal("System", format!("QEMU refuses the machine {target}: {refusal}"));
        let hint = match board.boot {
            None => "change the machine, its CPU or its properties",
            Some(_) if builder.has_boot_files() => return,
            Some(BootFile { bios: true, kernel: false }) => "add its firmware, as a file for -bios",
            Some(BootFile { bios: false, kernel: true }) => "add a kernel",
            Some(_) => "add a kernel, or its firmware as a file for -bios",
        };
        builder.report(problem.with_hint(hint));
    }
}
