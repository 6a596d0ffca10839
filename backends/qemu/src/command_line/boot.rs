//! Firmware and kernels.

use bundle::qemu::{DriveInterface, ImageType};
use bundle::{Architecture, Problem, tables};

use super::builder::Builder;
use super::nodes::{self, Use};
use super::request::Image;
use super::result::{Preparation, Subject};
use crate::facts::Emulator;
use crate::firmware::Need;

/// Name of the machine's UEFI variables in `Data/`.
const VARIABLES: &str = "efi_vars.fd";

pub(super) fn add(b: &mut Builder<'_>) {
    boot_files(b);
    if b.configuration().qemu.uefi_boot {
        uefi(b);
    }
    old_macs(b);
}

/// `-bios`, `-kernel`, `-initrd`, `-dtb`. Only files of the bundle: nothing outside was chosen for it.
fn boot_files(b: &mut Builder<'_>) {
    let configuration = b.configuration();
    for (index, drive) in configuration.drives.iter().enumerate() {
        let option = match drive.image_type {
            ImageType::Bios => "-bios",
            ImageType::LinuxKernel => "-kernel",
            ImageType::LinuxInitrd => "-initrd",
            ImageType::LinuxDtb => "-dtb",
            _ => continue,
        };
        match &drive.image_name {
            Some(name) => {
                let path = b.opened_again(&b.request.paths.data.join(name.as_str()));
                b.option(Subject::Drive, option, path);
            }
            None => {
                let problem = Problem::ignored(format!("Drive[{index}]"), "a boot file outside the machine is not used");
                b.report(problem.with_hint("import the file into the machine"));
            }
        }
    }
}

/// Whether the configuration brings firmware or a kernel of its own.
fn has_own(b: &Builder<'_>) -> bool {
    b.configuration().drives.iter().any(|drive| match drive.image_type {
        ImageType::Bios | ImageType::LinuxKernel => true,
        ImageType::Disk | ImageType::Cd => drive.interface == DriveInterface::PFlash,
        _ => false,
    })
}

/// Whether the machine type has the two flash memories that UEFI firmware and its variables go into.
pub(crate) fn has_place_for_uefi(emulator: &Emulator, architecture: Architecture, target: &str) -> bool {
    let has = |property: &str| emulator.machine(target).is_some_and(|machine| machine.properties.contains(property));
    tables::capabilities(architecture, target).uefi && has("pflash0") && has("pflash1")
}

fn uefi(b: &mut Builder<'_>) {
    let capabilities = b.capabilities();
    let target = b.target();
    if has_own(b) {
        return;
    }
    if !has_place_for_uefi(b.emulator(), b.architecture(), target) {
        let problem = Problem::fatal("QEMU.UEFIBoot", format!("the machine {target} has no place for UEFI firmware"));
        return b.report(problem.with_hint("switch UEFIBoot off, or choose another machine"));
    }
    // Without these the firmware of a PC cannot protect its variables from the guest's kernel.
    let smm = b.machine_has("smm") && b.full_target().starts_with("pc-q35");
    let secure = b.configuration().qemu.tpm_device && capabilities.secure_boot;
    let need = Need { architecture: b.architecture(), machine: b.full_target(), secure_boot: secure, smm };
    let catalogue = &b.host().firmware;
    let firmware = match catalogue.choose(&need) {
        Ok(firmware) => firmware,
        Err(missing) if secure => match catalogue.choose(&Need { secure_boot: false, ..need }) {
            Ok(firmware) => {
                let problem = Problem::ignored("QEMU.TPMDevice", format!("the machine starts without Secure Boot. {missing}"));
                b.report(problem.with_hint(missing.hint()));
                firmware
            }
            Err(_) => return b.report(Problem::fatal("QEMU.UEFIBoot", missing.to_string()).with_hint(missing.hint())),
        },
        Err(missing) => return b.report(Problem::fatal("QEMU.UEFIBoot", missing.to_string()).with_hint(missing.hint())),
    };
    if firmware.requires_smm {
        b.machine_properties.push("smm=on".to_owned());
        b.option(Subject::Machine, "-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    let code = Image::single(&firmware.code, &firmware.code_driver);
    let code = nodes::add(b, &code, &Use { key: "QEMU.UEFIBoot", name: "uefi-code", writable: false, subject: Subject::Machine });
    let path = b.request.paths.data.join(VARIABLES);
    b.out.preparations.push(Preparation::Variables { template: firmware.variables.clone(), path: path.clone() });
    let variables = Image::single(path, "raw");
    let wanted = Use { key: "QEMU.UEFIBoot", name: "uefi-vars", writable: true, subject: Subject::Machine };
    let variables = nodes::add(b, &variables, &wanted);
    for (property, graph) in [("pflash0", code), ("pflash1", variables)] {
        if let Some(graph) = graph {
            b.machine_properties.push(format!("{property}={}", graph.top()));
        }
    }
}

/// What UTM's own QEMU brings for old Macs and no other QEMU has.
fn old_macs(b: &mut Builder<'_>) {
    if b.architecture() == Architecture::M68k && b.target() == "q800" && b.emulator().has_device("nubus-virtio-mmio") {
        b.device(Subject::Machine, "nubus-virtio-mmio");
    }
}
