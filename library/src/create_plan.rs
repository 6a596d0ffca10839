//! What a new machine is made of: a good choice for everything that was not asked for.

use std::num::NonZero;
use std::path::Path;

use bundle::qemu::{DirectoryShareMode, Display, DriveInterface, ImageType, Network, NetworkMode, Serial, Sound, UsbBusSupport};
use bundle::tables::{self, capabilities};
use bundle::{Architecture, Configuration, Problem, apple, qemu};

use crate::{
    BackendChoice, BootFileKind, CreateSpec, DiskSpec, DriveSpec, Firmware, NetworkSpec, Os, RemovableKind, arguments, files, host, images,
    media,
};

const GIB: u64 = 1 << 30;

/// Everything that is wrong with a request, by the option that it is about.
pub(crate) fn problems(spec: &CreateSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |what: &str, message: String| problems.push(Problem::fatal(what, message));
    let architecture = architecture(spec);
    let native = spec.backend == BackendChoice::Native;
    let kernel = spec.kernel.is_some();

    if let Some(machine) = &spec.machine {
        if native {
            wrong("machine", "The native backend has one machine only".to_owned());
        } else if !tables::machine_is_known(architecture, machine) && tables::machine_family(machine) == machine {
            wrong("machine", format!("\"{machine}\" is not a machine of {architecture}"));
        }
    }
    if let Some(cpu) = &spec.cpu
        && (native || !tables::cpu_is_known(architecture, cpu))
    {
        wrong("cpu", format!("\"{cpu}\" is not a processor model of {architecture}"));
    }
    if native && Some(architecture) != host::architecture() {
        wrong("architecture", format!("The native backend runs guests of this computer's architecture only, not {architecture}"));
    }
    if native && spec.os == Os::Windows {
        wrong("os", "The native backend cannot run Windows; use QEMU".to_owned());
    }
    if spec.os == Os::MacOs {
        let supported = native && cfg!(target_os = "macos");
        if !supported {
            wrong("os", "macOS guests need Apple hardware and macOS".to_owned());
        }
    }
    if spec.memory_mib == Some(0) {
        wrong("memory", "A machine needs memory".to_owned());
    }
    if spec.cpus == Some(0) {
        wrong("cpus", "A machine needs a processor".to_owned());
    }
    for (what, path) in [("kernel", &spec.kernel), ("initrd", &spec.initrd), ("dtb", &spec.dtb)] {
        if let Some(path) = path
            && let Some(message) = not_a_file(path)
        {
            wrong(what, message);
        }
    }
    for path in &spec.isos {
        if let Some(message) = media::wrong_with(path) {
            wrong("iso", message);
        }
    }
    for (what, given) in [("initrd", spec.initrd.is_some()), ("dtb", spec.dtb.is_some()), ("append", spec.append.is_some())] {
        if given && !kernel {
            wrong(what, "Only makes sense with a kernel".to_owned());
        }
    }
    if native && spec.dtb.is_some() {
        wrong("dtb", "The native backend makes the device tree itself".to_owned());
    }
    if let Some(text) = &spec.append
        && !native
        && arguments::quoted(text).is_none()
    {
        wrong("append", "UTM's format cannot hold blanks both inside and outside of double quotes".to_owned());
    }
    for disk in spec.disks.iter().flatten() {
        if let Some(message) = images::wrong_with(disk) {
            wrong("disk", message);
        }
    }
    if !spec.port_forwards.is_empty() && !matches!(spec.network, None | Some(NetworkSpec::User)) {
        wrong("forward", "Ports can be forwarded with NAT only".to_owned());
    }
    if native && (!spec.port_forwards.is_empty() || spec.network == Some(NetworkSpec::Host)) {
        wrong("network", "The native backend has NAT without port forwarding, and bridges".to_owned());
    }
    if let Some(NetworkSpec::Bridged(interface)) = &spec.network
        && (interface.is_empty() || interface.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()))
    {
        wrong("network", format!("\"{}\" cannot be the name of a network interface", interface.escape_debug()));
    }
    let target = target(spec);
    let can = capabilities(architecture, &target);
    if spec.firmware == Some(Firmware::Uefi) && !native && !can.uefi {
        wrong("firmware", format!("There is no UEFI for {architecture}"));
    }
    if native && spec.firmware == Some(Firmware::Default) && !kernel {
        wrong("firmware", "The native backend boots UEFI or a kernel".to_owned());
    }
    if spec.tpm == Some(true) && native {
        wrong("tpm", "The native backend has no TPM".to_owned());
    }
    problems
}

fn not_a_file(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(data) if data.is_file() => None,
        Ok(_) => Some(format!("Not a file: {}", path.display())),
        Err(error) => Some(format!("Cannot open: {error}: {}", path.display())),
    }
}

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
    let boot = [&spec.kernel, &spec.initrd, &spec.dtb].into_iter().flatten();
    let sources = spec.disks.iter().flatten().filter_map(|disk| disk.source.as_ref());
    boot.chain(sources).map(|path| files::allocated(&files::absolute(path))).sum()
}

fn architecture(spec: &CreateSpec) -> Architecture {
    spec.architecture.or_else(host::architecture).unwrap_or(Architecture::X86_64)
}

fn target(spec: &CreateSpec) -> String {
    spec.machine.clone().unwrap_or_else(|| tables::default_machine(architecture(spec)).to_owned())
}

fn firmware(spec: &CreateSpec, possible: bool) -> bool {
    match spec.firmware {
        Some(firmware) => firmware == Firmware::Uefi,
        None => possible && spec.kernel.is_none(),
    }
}

/// The configuration without drives.
pub(crate) fn configuration(spec: &CreateSpec, name: &str) -> Configuration {
    let mut configuration = match spec.backend {
        BackendChoice::Qemu => Configuration::Qemu(qemu(spec)),
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

fn qemu(spec: &CreateSpec) -> qemu::Configuration {
    let architecture = architecture(spec);
    let target = target(spec);
    let can = capabilities(architecture, &target);
    let mut new = tables::default_configuration(architecture, &target, host::architecture());
    let modern = is_modern(&target);

    new.system.memory_size = spec.memory_mib.unwrap_or_else(|| usual_memory(modern));
    new.system.cpu_count = spec.cpus.unwrap_or_else(|| usual_cpus(modern));
    if let Some(cpu) = &spec.cpu {
        new.system.cpu.clone_from(cpu);
    }

    new.qemu.uefi_boot = firmware(spec, can.uefi && new.qemu.uefi_boot);
    new.qemu.rng_device = modern && spec.os != Os::Other || new.qemu.rng_device;
    new.qemu.balloon_device = modern && spec.os == Os::Linux;
    new.qemu.tpm_device = spec.tpm.unwrap_or(spec.os == Os::Windows && new.qemu.uefi_boot && can.secure_boot);
    new.qemu.rtc_local_time = spec.os == Os::Windows;
    if !modern && can.usb && new.input.usb_bus_support == UsbBusSupport::Usb3 {
        new.input.usb_bus_support = UsbBusSupport::Usb2;
    }
    if spec.os == Os::Linux && new.sharing.directory_share_mode == DirectoryShareMode::WebDav {
        new.sharing.directory_share_mode = DirectoryShareMode::VirtFs;
    }

    if spec.display == Some(false) {
        new.displays.clear();
    } else if let Some(hardware) = display(spec, architecture, &target) {
        match new.displays.first_mut() {
            Some(display) => hardware.clone_into(&mut display.hardware),
            None => new.displays.push(Display { hardware: hardware.to_owned(), ..Display::default() }),
        }
    }
    let sound = spec.sound.unwrap_or(!new.displays.is_empty());
    if !sound {
        new.sounds.clear();
    } else if new.sounds.is_empty()
        && spec.sound == Some(true)
        && let Some(hardware) = tables::sound_devices(architecture).first()
    {
        new.sounds.push(Sound { hardware: (*hardware).to_owned(), ..Sound::default() });
    }

    set_network(&mut new, spec, architecture, modern);
    // Always one, so that there is a console whatever becomes of the screen.
    new.serials = vec![Serial::default()];
    if let Some(words) = spec.append.as_deref().and_then(arguments::quoted) {
        new.qemu.additional_arguments = vec!["-append".to_owned(), words];
    }
    new
}

/// Machines with PCI and virtio, whose guests are of this century.
fn is_modern(target: &str) -> bool {
    let family = tables::machine_family(target);
    matches!(family, "q35" | "virt" | "pseries" | "s390-ccw-virtio") || target.starts_with("virt-")
}

/// A screen that the guest has a driver for, of those that every QEMU has; `None` keeps the usual one.
fn display(spec: &CreateSpec, architecture: Architecture, target: &str) -> Option<&'static str> {
    let family = tables::machine_family(target);
    let preferred: &[&str] = match (spec.os, family) {
        (Os::Linux, "q35") => &["virtio-vga"],
        (Os::Linux, "virt" | "pseries") => &["virtio-gpu-pci", "virtio-gpu-device"],
        (Os::Windows, "q35") => &["virtio-vga", "VGA"],
        // Its boot loader needs a framebuffer, and it has no driver for a virtio screen.
        (_, "virt") if architecture != Architecture::M68k => &["ramfb", "virtio-gpu-pci"],
        (Os::Other, "q35") => &["VGA"],
        (_, "s390-ccw-virtio") => &["virtio-gpu-ccw", "virtio-gpu-pci"],
        _ => &[],
    };
    let offered = tables::display_devices(architecture);
    preferred.iter().copied().find(|name| offered.contains(name))
}

fn set_network(new: &mut qemu::Configuration, spec: &CreateSpec, architecture: Architecture, modern: bool) {
    let wanted = spec.network.clone().unwrap_or(NetworkSpec::User);
    let offered = tables::network_devices(architecture);
    let preferred: &[&str] = match spec.os {
        Os::Linux if modern => &["virtio-net-pci", "virtio-net-ccw"],
        Os::Windows if modern => &["e1000e", "e1000"],
        _ => &[],
    };
    let usual = new.networks.first().map(|network| network.hardware.clone());
    let hardware = preferred.iter().find(|name| offered.contains(name)).map(|name| (*name).to_owned()).or(usual);
    new.networks.clear();
    let Some(hardware) = hardware else { return };
    let (mode, bridge_interface) = match wanted {
        NetworkSpec::User => (NetworkMode::Emulated, None),
        NetworkSpec::Bridged(interface) => (NetworkMode::Bridged, Some(interface)),
        NetworkSpec::Host => (NetworkMode::Host, None),
        NetworkSpec::None => return,
    };
    new.networks.push(Network { mode, hardware, bridge_interface, port_forwards: spec.port_forwards.clone(), ..Network::default() });
}

fn native(spec: &CreateSpec) -> apple::Configuration {
    let mut new = apple::Configuration::default();
    new.system.architecture = architecture(spec);
    new.system.memory_size = spec.memory_mib.unwrap_or_else(|| usual_memory(true));
    new.system.cpu_count = spec.cpus.unwrap_or_else(|| usual_cpus(true));
    new.system.boot.operating_system = if spec.os == Os::MacOs { apple::OperatingSystem::MacOs } else { apple::OperatingSystem::Linux };
    new.system.boot.uefi_boot = firmware(spec, true);
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
pub(crate) fn drives(spec: &CreateSpec, configuration: &Configuration) -> Vec<DriveSpec> {
    let boot_files =
        [(BootFileKind::Kernel, &spec.kernel), (BootFileKind::Initrd, &spec.initrd), (BootFileKind::Dtb, &spec.dtb)].into_iter();
    let boot_files = boot_files.filter_map(|(kind, source)| source.clone().map(|source| DriveSpec::BootFile { kind, source }));
    let cd = |iso: &std::path::PathBuf| DriveSpec::Removable { kind: RemovableKind::Cd, medium: Some(iso.clone()), interface: None };
    let media = spec.isos.iter().map(cd);
    let disk =
        |disk: DiskSpec| DriveSpec::Disk(DiskSpec { interface: disk.interface.or_else(|| disk_interface(spec, configuration)), ..disk });
    let disks = match &spec.disks {
        Some(disks) => disks.clone(),
        // A kernel brings its system along in its RAM disk, or the disk that it needs is named.
        None if spec.kernel.is_some() => Vec::new(),
        None => vec![DiskSpec::of_size(usual_disk(configuration))],
    };
    media.chain(boot_files).chain(disks.into_iter().map(disk)).collect()
}

/// How disks are attached where the system has a better driver than the usual one.
fn disk_interface(spec: &CreateSpec, configuration: &Configuration) -> Option<DriveInterface> {
    let system = &configuration.as_qemu()?.system;
    let virtio = matches!(tables::machine_family(&system.target), "q35" | "pc" | "virt" | "pseries" | "s390-ccw-virtio");
    match spec.os {
        Os::Linux if virtio => Some(DriveInterface::VirtIo),
        Os::Windows if matches!(tables::machine_family(&system.target), "q35" | "virt") => Some(DriveInterface::Nvme),
        _ => Some(tables::default_drive_interface(system.architecture, &system.target, ImageType::Disk)),
    }
}

fn usual_disk(configuration: &Configuration) -> u64 {
    match configuration.as_qemu() {
        Some(qemu) if !is_modern(&qemu.system.target) => 2 * GIB,
        _ => 64 * GIB,
    }
}

/// A quarter of the host's, from 512 MiB to 4 GiB; old machines cannot use as much.
fn usual_memory(modern: bool) -> u64 {
    if modern { (host::memory_mib() / 4).clamp(512, 4096) } else { 512 }
}

/// Half of the host's, at most four.
fn usual_cpus(modern: bool) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cores = u32::try_from(cores).unwrap_or(u32::MAX);
    if modern { cores.div_ceil(2).clamp(1, 4).max(cores.min(2)) } else { 1 }
}
