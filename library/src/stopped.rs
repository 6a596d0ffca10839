//! The status of a machine that does not run, from its bundle and what this host knows of it.

use std::path::PathBuf;

use bundle::qemu::{DriveInterface, ImageType, SerialMode};
use bundle::{Bundle, Configuration, FileName};
use machine::{BackendKind, Capabilities, Console, Display, Drive, DriveKind, EndReason, Ending, StartOptions, State};
use supervisor_api::wire::{LastRun, Status};

use crate::{Library, Machine, Result, edit};

pub(crate) fn status(library: &Library, machine: &Machine) -> Result<Status> {
    let bundle = edit::open(machine)?;
    let configuration = &bundle.configuration;
    let (entry, _) = library.registry().read(configuration.uuid(), &machine.path).unwrap_or_default();
    let medium = |id: &str| entry.external_drives.get(id).map(|file| file.path.clone());
    let (backend, consoles, displays, drives) = match configuration {
        Configuration::Qemu(qemu) => (
            BackendKind::Qemu,
            qemu.serials.iter().enumerate().filter(|(_, serial)| serial.mode == SerialMode::Terminal).map(|(place, _)| place).collect(),
            qemu.displays.iter().map(|display| display.hardware.clone()).collect(),
            qemu.drives
                .iter()
                .filter_map(|drive| {
                    let kind = kind(drive.image_type, drive.interface)?;
                    Some(Drive {
                        id: drive.identifier.clone(),
                        kind,
                        interface: drive.interface.as_str().to_owned(),
                        removable: drive.has_changeable_medium(),
                        read_only: drive.read_only || kind == DriveKind::Cd,
                        medium: image(&bundle, drive.image_name.as_ref()).or_else(|| medium(&drive.identifier)),
                    })
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
                    removable: false,
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
        consoles: consoles
            .into_iter()
            .enumerate()
            .map(|(index, place)| Console { index, label: format!("Serial port {}", place + 1) })
            .collect(),
        pseudo_terminals: Vec::new(),
        display_socket: None,
        displays: displays.into_iter().enumerate().map(|(index, device)| Display { index, device }).collect(),
        drives,
        warnings: Vec::new(),
        last_run: last_run(library, machine),
    })
}

/// How its last run ended, where that is known.
pub(crate) fn last_run(library: &Library, machine: &Machine) -> Option<LastRun> {
    // What a supervisor needs to take over is removed when a machine ends; where nobody was left to do that, nobody could say how.
    if library.places().runtime_of(&machine.id).backend_record().exists() {
        let message = "It ended without a word: QEMU and its supervisor were both killed, or the computer stopped";
        return Some(LastRun { started_at: None, ended_at: None, ending: Ending::new(EndReason::BackendDied, message) });
    }
    library.read_last_run(&machine.id)
}

/// What a drive is to the guest; nothing to it is nothing here.
const fn kind(image_type: ImageType, interface: DriveInterface) -> Option<DriveKind> {
    match image_type {
        ImageType::Disk if matches!(interface, DriveInterface::Floppy) => Some(DriveKind::Floppy),
        ImageType::Disk => Some(DriveKind::Disk),
        ImageType::Cd => Some(DriveKind::Cd),
        ImageType::None => None,
        ImageType::Bios | ImageType::LinuxKernel | ImageType::LinuxInitrd | ImageType::LinuxDtb => Some(DriveKind::Other),
    }
}

fn image(bundle: &Bundle, name: Option<&FileName>) -> Option<PathBuf> {
    bundle.data_path(name?).ok()
}
