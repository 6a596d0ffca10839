//! What a new machine is made of: a good choice for everything that was not asked for.

use std::path::PathBuf;

use bundle::qemu::{DriveInterface, ImageType};
use bundle::tables::{self, capabilities};
use bundle::{Architecture, Configuration, apple, qemu};
use machine::Offer;

use crate::create_devices::Devices;
use crate::{
    BackendChoice, BootFileKind, CreateSpec, DiskSpec, DriveSpec, Firmware, Host, NetworkSpec, Os, RemovableKind, Result, arguments, files,
    host, images,
};

const GIB: u64 = 1 << 30;

/// The name of a machine that was given none.
pub(crate) const fn usual_name(spec: &CreateSpec) -> &'static str {
    match spec.os {
        Os::Linux => "Linux",
        Os::Windows => "Windows",
        Os::MacOs => "macOS",
        Os::Other => "Virtual Machine",
    }
}

/// What is copied at most, in bytes.
pub(crate) fn needed_space(spec: &CreateSpec) -> u64 {
    let boot = [&spec.kernel, &spec.initrd, &spec.dtb, &spec.bios].into_iter().flatten();
    let sources = spec.disks.iter().flatten().filter_map(|disk| disk.source.as_ref());
    boot.chain(sources).map(|path| files::allocated(&files::absolute(path))).sum()
}

pub(crate) fn architecture(spec: &CreateSpec) -> Architecture {
    spec.architecture.or_else(host::architecture).unwrap_or(Architecture::X86_64)
}

/// Whether configurations can name the machine type: UTM knows it, or it is a version of a machine that UTM knows.
pub(crate) fn machine_is_possible(architecture: Architecture, machine: &str) -> bool {
    let family = tables::machine_family(machine);
    tables::machine_is_known(architecture, machine) || family != machine && tables::machine_is_known(architecture, family)
}

/// The machine type: the usual one of the architecture, unless that is no machine at all.
pub(crate) fn target(spec: &CreateSpec) -> String {
    if let Some(machine) = &spec.machine {
        return machine.clone();
    }
    let usual = tables::default_machine(architecture(spec));
    let first = || tables::machines(architecture(spec)).iter().copied().find(|machine| *machine != "none");
    Some(usual).filter(|machine| *machine != "none").or_else(first).unwrap_or(usual).to_owned()
}

/// The memory to ask for, in MiB.
pub(crate) fn memory(spec: &CreateSpec) -> u64 {
    spec.memory_mib.unwrap_or_else(|| usual_memory(is_modern(spec)))
}

/// Whether the machine type is of this century.
pub(crate) fn is_modern(spec: &CreateSpec) -> bool {
    let target = target(spec);
    Devices { architecture: architecture(spec), target: &target, os: spec.os, offer: None }.is_modern()
}

/// The configuration without drives.
pub(crate) fn configuration(spec: &CreateSpec, name: &str, offer: Option<&Offer>) -> Configuration {
    let mut configuration = match spec.backend {
        BackendChoice::Qemu => Configuration::Qemu(qemu(spec, offer)),
        BackendChoice::Native => Configuration::Apple(native(spec)),
    };
    let information = configuration.information_mut();
    name.clone_into(&mut information.name);
    information.notes.clone_from(&spec.notes);
    information.icon = match spec.os {
        Os::Linux => Some("linux".to_owned()),
        Os::Windows => Some("windows".to_owned()),
        Os::MacOs => Some("macos".to_owned()),
        Os::Other => None,
    };
    configuration
}

fn qemu(spec: &CreateSpec, offer: Option<&Offer>) -> qemu::Configuration {
    let architecture = architecture(spec);
    let target = target(spec);
    let mut new = tables::default_configuration(architecture, &target, host::architecture());
    let devices = Devices { architecture, target: &target, os: spec.os, offer };
    let modern = devices.is_modern();

    new.system.memory_size = offer.map_or_else(|| memory(spec), |offer| offer.memory_mib);
    let (own, most) = offer.map_or((1, u32::MAX), |offer| (offer.cpus.max(1), offer.cpus_max.max(1)));
    new.system.cpu_count = spec.cpus.unwrap_or_else(|| if modern { usual_cpus(true).min(most) } else { own });
    if let Some(cpu) = &spec.cpu {
        new.system.cpu.clone_from(cpu);
    }
    new.qemu.hypervisor = spec.virtualize.unwrap_or(new.qemu.hypervisor);
    new.qemu.uefi_boot = uefi(spec, new.qemu.uefi_boot, offer);
    let can = capabilities(architecture, &target);
    new.qemu.tpm_device = spec.tpm.unwrap_or(spec.os == Os::Windows && new.qemu.uefi_boot && can.secure_boot);
    new.qemu.rtc_local_time = spec.os == Os::Windows;
    devices.choose(&mut new, spec);
    if let Some(words) = spec.append.as_deref().and_then(arguments::quoted) {
        new.qemu.additional_arguments = vec!["-append".to_owned(), words];
    }
    new
}

/// Whether it starts with UEFI. `usual` is whether such machines do.
fn uefi(spec: &CreateSpec, usual: bool, offer: Option<&Offer>) -> bool {
    if let Some(firmware) = spec.firmware {
        return firmware == Firmware::Uefi;
    }
    let possible = usual && spec.kernel.is_none() && spec.bios.is_none();
    match offer {
        Some(offer) => possible && offer.uefi.is_some() && !starts_with_bios(spec, offer),
        None => possible,
    }
}

/// Whether it is a PC whose UEFI firmware is not installed: its BIOS starts the same systems.
pub(crate) fn starts_with_bios(spec: &CreateSpec, offer: &Offer) -> bool {
    let pc = matches!(architecture(spec), Architecture::I386 | Architecture::X86_64);
    pc && spec.firmware.is_none() && offer.firmware.is_some() && offer.uefi.as_ref().is_some_and(|uefi| !uefi.installed)
}

/// What a person should know about what was chosen, a sentence each.
pub(crate) fn notes(spec: &CreateSpec, offer: &Offer) -> Vec<String> {
    let target = target(spec);
    let given = spec.kernel.is_some() || spec.bios.is_some();
    let mut notes = Vec::new();
    if starts_with_bios(spec, offer)
        && !given
        && let Some(uefi) = &offer.uefi
    {
        notes.push(format!("It starts with its BIOS: no UEFI firmware for it is installed, which the package {} has", uefi.package));
    }
    if offer.firmware.is_none() && offer.uefi.is_none() && !given {
        notes.push(format!("QEMU has no firmware for the machine {target}: nothing runs on it until it is given a kernel or firmware"));
    }
    if spec.disks.is_none() && spec.kernel.is_none() && offer.disks.is_empty() {
        notes.push(format!("It has no disk: the machine {target} has no place for one"));
    }
    if !offer.serial {
        notes.push(format!("It has no console: the machine {target} has no serial port"));
    }
    notes
}

fn native(spec: &CreateSpec) -> apple::Configuration {
    let mut new = apple::Configuration::default();
    new.system.architecture = architecture(spec);
    new.system.memory_size = spec.memory_mib.unwrap_or_else(|| usual_memory(true));
    new.system.cpu_count = spec.cpus.unwrap_or_else(|| usual_cpus(true));
    new.system.boot.operating_system = if spec.os == Os::MacOs { apple::OperatingSystem::MacOs } else { apple::OperatingSystem::Linux };
    new.system.boot.uefi_boot = uefi(spec, true, None);
    new.system.boot.linux_command_line.clone_from(&spec.append);
    new.system.generic_platform = Some(apple::GenericPlatform::default());
    new.networks = match &spec.network {
        Some(NetworkSpec::None) => Vec::new(),
        Some(NetworkSpec::Bridged(interface)) => vec![apple::Network {
            mode: apple::NetworkMode::Bridged,
            bridge_interface: Some(interface.clone()),
            ..apple::Network::default()
        }],
        _ => vec![apple::Network::default()],
    };
    if spec.display != Some(false) {
        new.displays = vec![apple::Display::default()];
        new.virtualization.keyboard = apple::Keyboard::Generic;
        new.virtualization.pointer = apple::Pointer::Mouse;
        new.virtualization.clipboard_sharing = true;
    }
    new.virtualization.audio = spec.sound.unwrap_or(spec.display != Some(false));
    new.serials = vec![apple::Serial::default()];
    new
}

/// The drives in boot order: media to install from, then what is booted, then disks.
///
/// # Errors
/// Where an image that is to become an SD card cannot be looked at.
pub(crate) fn drives(spec: &CreateSpec, configuration: &Configuration, offer: Option<&Offer>) -> Result<Vec<DriveSpec>> {
    let devices = configuration.as_qemu().map(|qemu| Devices {
        architecture: qemu.system.architecture,
        target: &qemu.system.target,
        os: spec.os,
        offer,
    });
    let interface = |image_type| devices.and_then(|devices| devices.interface(image_type));
    let boot_files = [
        (BootFileKind::Bios, &spec.bios),
        (BootFileKind::Kernel, &spec.kernel),
        (BootFileKind::Initrd, &spec.initrd),
        (BootFileKind::Dtb, &spec.dtb),
    ];
    let boot_files = boot_files.into_iter().filter_map(|(kind, source)| source.clone().map(|source| DriveSpec::BootFile { kind, source }));
    let cd =
        |iso: &PathBuf| DriveSpec::Removable { kind: RemovableKind::Cd, medium: Some(iso.clone()), interface: interface(ImageType::Cd) };
    let media = spec.isos.iter().map(cd);
    let disks = match &spec.disks {
        Some(disks) => disks.clone(),
        // A kernel brings its system along in its RAM disk, or the disk that it needs is named.
        None if spec.kernel.is_some() => Vec::new(),
        None if devices.is_some() && interface(ImageType::Disk).is_none() => Vec::new(),
        None => vec![DiskSpec::of_size(if devices.is_none_or(|devices| devices.is_modern()) { 64 * GIB } else { 2 * GIB })],
    };
    let disk = |disk: DiskSpec| -> Result<DriveSpec> {
        let interface = disk.interface.or_else(|| interface(ImageType::Disk));
        let size = match (&disk.source, disk.size, interface) {
            // The size of an SD card is a power of two, and that of what was written to one seldom is.
            (Some(source), None, Some(DriveInterface::Sd)) => Some(images::foreign(source)?.virtual_size().next_power_of_two()),
            (_, size, _) => size,
        };
        Ok(DriveSpec::Disk(DiskSpec { interface, size, ..disk }))
    };
    media.chain(boot_files).map(Ok).chain(disks.into_iter().map(disk)).collect()
}

/// A quarter of the host's, from 512 MiB to 4 GiB; old machines cannot use as much.
fn usual_memory(modern: bool) -> u64 {
    if modern { (Host::now().memory_mib / 4).clamp(512, 4096) } else { 512 }
}

/// Half of the host's, at most four.
fn usual_cpus(modern: bool) -> u32 {
    let cores = Host::now().cores;
    if modern { cores.div_ceil(2).clamp(1, 4).max(cores.min(2)) } else { 1 }
}
