//! The status of a machine that does not run, from its bundle and what this host knows of it.

use std::path::PathBuf;

use bundle::qemu::{DriveInterface, ImageType, SerialMode};
use bundle::{Bundle, Configuration, FileName};
use machine::{BackendKind, Capabilities, Console, Display, Drive, DriveKind, StartOptions, State};
use supervisor_api::wire::{LastRun, Status};

use crate::{Library, Machine, Result, edit};

pub(crate) fn status(library: &Library, machine: &Machine) -> Result<Status> {
    let bundle = edit::open(machine)?;
    let configuration = &bundle.configuration;
    let (entry, _) = library.registry().read(configuration.uuid()).unwrap_or_default();
    let medium = |id: &str| entry.external_drives.get(id).map(|file| file.path.clone());
    let (backend, consoles, displays, drives) = match configuration {
        Configuration::Qemu(qemu) => (
            BackendKind::Qemu,
            qemu.serials.iter().enumerate().filter(|(_, serial)| serial.mode == SerialMode::Terminal).map(|(index, _)| index).collect(),
            qemu.displays.iter().map(|display| display.hardware.clone()).collect(),
            qemu.drives
                .iter()
                .filter(|drive| !is_boot_file(drive.image_type))
                .map(|drive| Drive {
                    id: drive.identifier.clone(),
                    kind: kind(drive.image_type, drive.interface),
                    interface: drive.interface.as_str().to_owned(),
                    removable: drive.is_external(),
                    read_only: drive.read_only,
                    medium: image(&bundle, drive.image_name.as_ref()).or_else(|| medium(&drive.identifier)),
                })
                .collect(),
        ),
        Configuration::Apple(apple) => (
            BackendKind::Native,
            apple.serials.iter().enumerate().map(|(index, _)| index).collect::<Vec<_>>(),
            apple.displays.iter().map(|_| "virtio-gpu".to_owned()).collect::<Vec<_>>(),
            apple
                .drives
                .iter()
                .map(|drive| Drive {
                    id: drive.identifier.clone(),
                    kind: DriveKind::Disk,
                    interface: if drive.nvme { "NVMe" } else { "VirtIO" }.to_owned(),
                    removable: drive.is_external(),
                    read_only: drive.read_only,
                    medium: image(&bundle, drive.image_name.as_ref()).or_else(|| medium(&drive.identifier)),
                })
                .collect::<Vec<_>>(),
        ),
    };
    Ok(Status {
        name: configuration.name().to_owned(),
        uuid: configuration.uuid(),
        bundle: machine.path.clone(),
        state: State::Stopped,
        backend,
        accelerator: None,
        supervisor_pid: None,
        backend_pid: None,
        sandbox: None,
        capabilities: Capabilities::default(),
        options: StartOptions::default(),
        started_at: None,
        adopted: false,
        consoles: consoles.into_iter().map(|index| Console { index, label: format!("Serial port {}", index + 1) }).collect(),
        displays: displays.into_iter().enumerate().map(|(index, device)| Display { index, device }).collect(),
        drives,
        warnings: Vec::new(),
        last_run: last_run(library, machine),
    })
}

/// How its last run ended, where that is known.
pub(crate) fn last_run(library: &Library, machine: &Machine) -> Option<LastRun> {
    library.read_last_run(&machine.id)
}

/// Whether the image is a file that the machine is booted with rather than a drive.
pub(crate) const fn is_boot_file(image_type: ImageType) -> bool {
    matches!(image_type, ImageType::Bios | ImageType::LinuxKernel | ImageType::LinuxInitrd | ImageType::LinuxDtb)
}

fn kind(image_type: ImageType, interface: DriveInterface) -> DriveKind {
    match (image_type, interface) {
        (_, DriveInterface::Floppy) => DriveKind::Floppy,
        (ImageType::Cd, _) => DriveKind::Cd,
        (ImageType::Disk, DriveInterface::PFlash | DriveInterface::Mtd | DriveInterface::Sd) => DriveKind::Other,
        (ImageType::Disk, _) => DriveKind::Disk,
        _ => DriveKind::Other,
    }
}

fn image(bundle: &Bundle, name: Option<&FileName>) -> Option<PathBuf> {
    bundle.data_path(name?).ok()
}
