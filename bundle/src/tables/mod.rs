//! What each architecture and machine offers, can have and gets: the facts that the configuration itself does not hold.

mod capabilities;
mod defaults;
mod lists;
mod names;

pub use capabilities::{Capabilities, UefiFirmware, capabilities, hypervisor_is_possible, share_tag, uefi_firmware};
pub use defaults::{default_configuration, default_drive_interface, reset_for_machine};
pub use lists::{
    cpu_flags, cpu_is_known, cpus, default_machine, display_devices, display_is_accelerated, machine_is_known, machines, network_devices,
    serial_devices, sound_devices,
};
pub use names::{ICONS, icon_is_known, label, machine_family};

pub(crate) use defaults::known_or_default_machine;
