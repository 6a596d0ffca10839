//! What of a configuration a saved guest knows, and what cannot be saved.

use std::collections::BTreeMap;

use super::{
    ConfigurationError, ConsoleDevice, EntropyDevice, MemoryBalloonDevice, NetworkDevice, Platform, Problems, SerialPort, SocketDevice,
    StorageDevice, VirtualMachineConfiguration,
};

impl VirtualMachineConfiguration {
    /// Finds every device in the way of saving and restoring machines with this configuration. Apple:
    /// `validateSaveRestoreSupport`.
    ///
    /// # Errors
    /// Every such device with its place.
    pub fn validate_save_restore_support(&self) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| {
            let Platform::Generic(platform) = &self.platform;
            problems.field("platform").field("nested_virtualization_enabled").require(!platform.nested_virtualization_enabled, || {
                "A guest that can run virtual machines itself cannot be saved: switch this off".to_owned()
            });
            for index in 0..self.directory_sharing_devices.len() {
                problems.field("directory_sharing_devices").element(index).add(
                    "A shared directory is served by another process, whose state cannot be saved: save the machine without the device",
                );
            }
        })
    }

    /// What the guest sees, by place: a saved guest goes on only in a machine where all of this is the same. What is behind devices, and
    /// what the guest was started from, is the host's business and may have changed.
    pub(crate) fn seen_by_guest(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let mut put = |place: String, value: String| seen.insert(place, value);
        put("cpu_count".to_owned(), self.cpu_count.to_string());
        put("memory_size".to_owned(), self.memory_size.to_string());
        let Platform::Generic(platform) = &self.platform;
        put("platform.machine_identifier".to_owned(), platform.machine_identifier.to_string());
        put("platform.nested_virtualization_enabled".to_owned(), platform.nested_virtualization_enabled.to_string());
        for (index, port) in self.serial_ports.iter().enumerate() {
            let kind = match port {
                SerialPort::Uart16550(_) => "Uart16550",
                SerialPort::VirtioConsole(_) => "VirtioConsole",
            };
            put(format!("serial_ports[{index}]"), kind.to_owned());
        }
        for (index, ConsoleDevice::Virtio(console)) in self.console_devices.iter().enumerate() {
            put(format!("console_devices[{index}].maximum_port_count"), console.port_count().to_string());
            for (number, port) in &console.ports {
                let kind = if port.is_console { "console" } else { "channel" };
                let name = port.name.as_deref().map(|name| format!(" named {name}")).unwrap_or_default();
                put(format!("console_devices[{index}].ports[{number}]"), format!("a {kind}{name}"));
            }
        }
        for (index, StorageDevice::VirtioBlock(disk)) in self.storage_devices.iter().enumerate() {
            put(format!("storage_devices[{index}]"), "VirtioBlock".to_owned());
            put(format!("storage_devices[{index}].identifier"), format!("{:?}", disk.identifier));
        }
        for (index, NetworkDevice::Virtio(card)) in self.network_devices.iter().enumerate() {
            put(format!("network_devices[{index}].mac_address"), card.mac_address.to_string());
            put(format!("network_devices[{index}].queue_pairs"), card.queue_pairs.to_string());
        }
        for (index, EntropyDevice::Virtio) in self.entropy_devices.iter().enumerate() {
            put(format!("entropy_devices[{index}]"), "Virtio".to_owned());
        }
        for (index, MemoryBalloonDevice::Virtio) in self.memory_balloon_devices.iter().enumerate() {
            put(format!("memory_balloon_devices[{index}]"), "Virtio".to_owned());
        }
        for (index, SocketDevice::Virtio) in self.socket_devices.iter().enumerate() {
            put(format!("socket_devices[{index}]"), "Virtio".to_owned());
        }
        seen
    }
}
