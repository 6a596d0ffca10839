//! What a configuration says, in a few lines.

use crate::describe::{cpus, memory};
use crate::output::Cell;
use bundle::{Configuration, Origin, apple, qemu};
use serde::Serialize;
use uuid::Uuid;

/// What a configuration says. Devices are sentences for people; programs find them in the configuration itself.
#[derive(Debug, Serialize)]
pub struct Facts {
    name: String,
    uuid: Uuid,
    backend: &'static str,
    /// What the file was: `v4`, `legacy_qemu` or `legacy_apple`.
    origin: &'static str,
    /// The version that it was saved with.
    version: u64,
    architecture: &'static str,
    machine: Option<String>,
    cpu: Option<String>,
    /// 0 where the host decides.
    cpu_count: u32,
    memory_mib: u64,
    notes: Option<String>,
    #[serde(skip)]
    devices: Vec<(&'static str, String)>,
}

impl Facts {
    /// Of a configuration that was read.
    pub fn new(configuration: &Configuration, origin: Origin) -> Self {
        let (origin, version) = match origin {
            Origin::V4 => ("v4", bundle::CONFIGURATION_VERSION),
            Origin::LegacyQemu { version } => ("legacy_qemu", version),
            Origin::LegacyApple { version } => ("legacy_apple", version),
        };
        let information = configuration.information();
        let (machine, cpu, cpu_count, memory_mib, devices) = match configuration {
            Configuration::Qemu(configuration) => {
                let system = &configuration.system;
                (Some(system.target.clone()), Some(system.cpu.clone()), system.cpu_count, system.memory_size, qemu_devices(configuration))
            }
            Configuration::Apple(configuration) => {
                (None, None, configuration.system.cpu_count, configuration.system.memory_size, apple_devices(configuration))
            }
        };
        Self {
            name: information.name.clone(),
            uuid: information.uuid,
            backend: configuration.backend(),
            origin,
            version,
            architecture: configuration.architecture().as_str(),
            machine,
            cpu,
            cpu_count,
            memory_mib,
            notes: information.notes.clone().filter(|notes| !notes.trim().is_empty()),
            devices,
        }
    }

    /// As lines of names and values.
    pub fn lines(&self) -> Vec<(&'static str, Option<Cell>)> {
        let format = match (self.origin, self.version) {
            ("v4", version) => format!("version {version}"),
            (_, version) => format!("version {version}, of UTM before 4.0"),
        };
        let mut lines = vec![
            ("Name", Some(Cell::new(&self.name))),
            ("UUID", Some(Cell::new(self.uuid))),
            ("Backend", Some(Cell::new(format!("{} ({format})", self.backend)))),
            ("Architecture", Some(Cell::new(self.architecture))),
            ("Machine", self.machine.as_ref().map(Cell::new)),
            ("CPU", Some(Cell::new(format!("{} × {}", cpus(self.cpu_count), self.cpu.as_deref().unwrap_or("host"))))),
            ("Memory", Some(Cell::new(memory(self.memory_mib)))),
        ];
        lines.extend(self.devices.iter().map(|(name, value)| (*name, Some(Cell::new(value)))));
        lines.push(("Notes", self.notes.as_ref().map(Cell::new)));
        lines
    }
}

fn qemu_devices(configuration: &qemu::Configuration) -> Vec<(&'static str, String)> {
    let mut devices = Vec::new();
    let features = [
        (configuration.qemu.uefi_boot, "UEFI"),
        (configuration.qemu.hypervisor, "hardware virtualization"),
        (configuration.qemu.tpm_device, "TPM 2.0"),
        (configuration.qemu.rng_device, "random numbers"),
        (configuration.qemu.balloon_device, "memory balloon"),
        (configuration.qemu.rtc_local_time, "clock in local time"),
        (configuration.sharing.clipboard_sharing, "shared clipboard"),
    ];
    push_features(&mut devices, &features);
    for drive in &configuration.drives {
        let what = match drive.interface {
            qemu::DriveInterface::None => drive.image_type.to_string(),
            interface => format!("{} on {interface}", drive.image_type),
        };
        devices.push((
            "Drive",
            drive_line(&what, drive.read_only, drive.image_name.as_ref().map(bundle::FileName::as_str), drive.invalid_image_name()),
        ));
    }
    for network in &configuration.networks {
        let forwards: Vec<String> = network
            .port_forwards
            .iter()
            .map(|forward| format!(", {} port {} leads to {}", forward.protocol, forward.host_port, forward.guest_port))
            .collect();
        let bridge = network.bridge_interface.as_ref().map(|interface| format!(" to {interface}")).unwrap_or_default();
        devices.push(("Network", format!("{} ({}{bridge}){}", network.hardware, network.mode, forwards.concat())));
    }
    devices.extend(configuration.displays.iter().map(|display| ("Display", display.hardware.clone())));
    for serial in &configuration.serials {
        devices.push(("Serial port", format!("{} for {}", serial.mode, serial.target)));
    }
    devices.extend(configuration.sounds.iter().map(|sound| ("Sound", sound.hardware.clone())));
    if configuration.input.usb_bus_support != qemu::UsbBusSupport::Disabled {
        devices.push(("USB", configuration.input.usb_bus_support.to_string()));
    }
    if !configuration.qemu.additional_arguments.is_empty() {
        devices.push(("QEMU arguments", shell_words::join(&configuration.qemu.additional_arguments)));
    }
    devices
}

fn apple_devices(configuration: &apple::Configuration) -> Vec<(&'static str, String)> {
    let mut devices = vec![("Guest", configuration.system.boot.operating_system.to_string())];
    let features = [
        (configuration.system.boot.uefi_boot, "UEFI"),
        (configuration.virtualization.audio, "sound"),
        (configuration.virtualization.entropy, "random numbers"),
        (configuration.virtualization.balloon, "memory balloon"),
        (configuration.virtualization.rosetta == Some(true), "Rosetta"),
        (configuration.virtualization.clipboard_sharing, "shared clipboard"),
    ];
    push_features(&mut devices, &features);
    for drive in &configuration.drives {
        let what = if drive.nvme { "Disk on NVMe" } else { "Disk on VirtIO" };
        devices.push((
            "Drive",
            drive_line(what, drive.read_only, drive.image_name.as_ref().map(bundle::FileName::as_str), drive.invalid_image_name()),
        ));
    }
    devices.extend(configuration.networks.iter().map(|network| ("Network", network.mode.to_string())));
    for display in &configuration.displays {
        devices.push(("Display", format!("{} × {} pixels", display.width_pixels, display.height_pixels)));
    }
    devices.extend(configuration.serials.iter().map(|serial| ("Serial port", serial.mode.to_string())));
    devices
}

fn push_features(devices: &mut Vec<(&'static str, String)>, features: &[(bool, &str)]) {
    let on: Vec<&str> = features.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !on.is_empty() {
        devices.push(("Features", on.join(", ")));
    }
}

fn drive_line(what: &str, read_only: bool, image: Option<&str>, invalid: Option<&str>) -> String {
    let read_only = if read_only { ", read-only" } else { "" };
    match (image, invalid) {
        (Some(image), _) => format!("{what}{read_only}: {image}"),
        (None, Some(_)) => format!("{what}{read_only}: not the name of a file in the bundle"),
        (None, None) => format!("{what}{read_only}: removable"),
    }
}
