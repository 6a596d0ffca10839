//! TPM 2.0, emulated by swtpm. QEMU and swtpm hold the two ends of a pair of sockets, so neither has to find the other.

use bundle::{Architecture, Problem};

use super::INSTALL;
use super::builder::{Builder, HELPER_FD};
use super::result::{Access, Confinement, Descriptor, FileAccess, Helper, HelperKind, Preparation, Source, Subject, own_descriptor};

/// Name of the TPM's state in `Data/`.
const STATE: &str = "tpmdata";
/// Under this number swtpm gets it, and opens it once more.
const STATE_FD: i32 = HELPER_FD + 1;

pub(super) fn add(b: &mut Builder<'_>) {
    if !b.configuration().qemu.tpm_device {
        return;
    }
    let key = "QEMU.TPMDevice";
    // UTM's own QEMU has `tpm-crb-device`; the same guests drive the other.
    let candidates: &[&str] = match b.architecture() {
        Architecture::Ppc64 => &["tpm-spapr"],
        _ if b.is_virt() => &["tpm-crb-device", "tpm-tis-device"],
        _ => &["tpm-tis", "tpm-crb"],
    };
    let device = candidates.iter().find(|device| b.emulator().has_device(device) && b.fits(device).is_ok());
    let Some(device) = device else {
        let target = b.target();
        let problem = Problem::fatal(key, format!("the machine {target} cannot have a TPM with the installed QEMU"));
        return b.report(problem.with_hint("switch TPMDevice off"));
    };
    let Some(program) = b.host().swtpm.clone() else {
        let problem = Problem::fatal(key, "swtpm, which emulates the TPM, is not installed");
        return b.report(problem.with_hint(format!("{INSTALL} swtpm, or switch TPMDevice off")));
    };
    let paths = b.request.paths;
    let kept = paths.data.join(STATE);
    let used = if b.request.options.disposable {
        let copy = paths.scratch.join(STATE);
        b.out.preparations.push(Preparation::Copy { from: kept, to: copy.clone() });
        copy
    } else {
        b.out.preparations.push(Preparation::Empty { path: kept.clone() });
        kept
    };
    let fd = b.link(HelperKind::Swtpm);
    b.option(Subject::Other, "-chardev", format!("socket,id=chrtpm0,fd={fd}"));
    b.option(Subject::Other, "-tpmdev", "emulator,id=tpm0,chardev=chrtpm0");
    b.device(Subject::Other, format!("{device},tpmdev=tpm0"));
    let control = format!("type=unixio,clientfd={HELPER_FD}");
    let file = own_descriptor(STATE_FD);
    let state = format!("backend-uri=file://{file}");
    b.out.helpers.push(Helper {
        kind: HelperKind::Swtpm,
        program,
        arguments: ["socket", "--tpm2", "--terminate", "--ctrl", &control, "--tpmstate", &state].map(str::to_owned).into(),
        working_directory: "/".into(),
        link: Some(HELPER_FD),
        descriptors: vec![Descriptor { fd: STATE_FD, source: Source::File { set: None, path: used, access: Access::ReadWrite } }],
        confinement: Confinement { files: vec![FileAccess::read_write(file)], ..Confinement::default() },
    });
}
