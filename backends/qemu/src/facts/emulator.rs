//! One installed `qemu-system-*` program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::board::BusKind;
use super::cache::Identity;
use super::names::Names;

/// What one `qemu-system-*` program can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// The file that was asked.
    pub identity: Identity,
    /// What it calls itself, such as `10.0.2 (Debian 1:10.0.2+ds-2)`. For people only.
    pub version: String,
    /// Target of `query-target`, such as `x86_64`.
    pub target: String,
    /// Machine types by name; aliases have entries of their own.
    pub machines: BTreeMap<String, MachineType>,
    /// CPU models by the name that `-cpu` takes; empty where the target does not list them.
    pub cpus: BTreeMap<String, Cpu>,
    /// Every QOM type that is a device, abstract ones included, with its parent.
    pub types: BTreeMap<String, String>,
    /// Every QOM type that is a bus, with its parent.
    pub bus_types: BTreeMap<String, String>,
    /// Devices that can be made: the types of `types` that are not abstract.
    pub devices: Names,
    /// Properties of those devices that a command line sets properties of.
    pub properties: BTreeMap<String, Names>,
    /// Kinds of `-netdev`.
    pub netdevs: Names,
    /// Kinds of `-chardev`, those of installed modules only.
    pub chardevs: Names,
    /// Kinds of `-display`, those of installed modules only.
    pub displays: Names,
    /// Drivers of `-audiodev`, those of installed modules only.
    pub audio: Names,
    /// Whether `-audio none` gives boards with sound of their own a silent backend.
    pub default_audio: bool,
    /// Kinds of `-object`.
    pub objects: Names,
    /// Drivers of `-blockdev`.
    pub block_drivers: Names,
    /// Asynchronous I/O methods of the `file` block driver.
    pub aio: Names,
    /// QMP commands.
    pub commands: Names,
    /// Options of the command line (`spice`, `sandbox`, ...) with the parameters that they list.
    pub options: BTreeMap<String, Names>,
    /// Whether KVM is compiled in.
    pub kvm: bool,
}

/// One machine type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineType {
    /// The name that this is another name for.
    pub alias_of: Option<String>,
    /// What QEMU says that it is.
    pub description: String,
    /// QOM type of the CPU that it has without `-cpu`, such as `qemu64-x86_64-cpu`.
    pub default_cpu: Option<String>,
    /// The most vCPUs.
    pub cpus_max: u64,
    /// Whether QEMU plans to drop it.
    pub deprecated: bool,
    /// Properties that `-machine` takes.
    pub properties: Names,
}

/// One CPU model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// QOM type.
    pub type_name: String,
    /// Whether QEMU plans to drop it.
    pub deprecated: bool,
}

impl Emulator {
    /// Whether the device can be made, under this very name.
    pub fn has_device(&self, name: &str) -> bool {
        self.devices.contains(name)
    }

    /// The kind of bus that a device plugs into, by its ancestors; `None` for a device that is not known or plugs into no bus that matters.
    pub fn bus_of(&self, device: &str) -> Option<BusKind> {
        ancestor(&self.types, device, BusKind::of_device_class)
    }

    /// The kind of a bus of this type, by its ancestors.
    pub(super) fn kind_of_bus(&self, bus_type: &str) -> Option<BusKind> {
        ancestor(&self.bus_types, bus_type, BusKind::of_bus_type)
    }

    /// Whether the device has this property. Devices whose properties were not asked for have none.
    pub fn has_property(&self, device: &str, property: &str) -> bool {
        self.properties.get(device).is_some_and(|names| names.contains(property))
    }

    /// Whether `-<option>` is there.
    pub fn has_option(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// Whether `-<option>` has this parameter.
    pub fn has_parameter(&self, option: &str, parameter: &str) -> bool {
        self.options.get(option).is_some_and(|names| names.contains(parameter))
    }

    /// The machine type of this name.
    pub fn machine(&self, name: &str) -> Option<&MachineType> {
        self.machines.get(name)
    }

    /// The name of a machine type without aliases: `pc-q35-10.0` for `q35`.
    pub fn full_name<'a>(&'a self, machine: &'a str) -> &'a str {
        self.machine(machine).and_then(|machine| machine.alias_of.as_deref()).unwrap_or(machine)
    }

    /// Whether `-cpu` takes the model. A target that does not list its models is believed to.
    pub fn has_cpu(&self, model: &str) -> bool {
        matches!(model, "" | "default") || self.cpus.is_empty() || self.cpus.contains_key(model)
    }

    /// Up to three machine types that look like `wanted`.
    pub fn nearest_machines(&self, wanted: &str) -> Vec<String> {
        bundle::nearest(wanted, self.machines.keys().map(String::as_str))
    }

    /// Up to three CPU models that look like `wanted`.
    pub fn nearest_cpus(&self, wanted: &str) -> Vec<String> {
        bundle::nearest(wanted, self.cpus.keys().map(String::as_str))
    }

    /// Up to three devices that look like `wanted` and plug into one of `buses` (any device when empty).
    pub fn nearest_devices(&self, wanted: &str, buses: &[BusKind]) -> Vec<String> {
        let fits = |name: &&str| buses.is_empty() || self.bus_of(name).is_some_and(|bus| buses.contains(&bus));
        bundle::nearest(wanted, self.devices.iter().filter(fits))
    }

    /// Features without which no machine of ours runs, that this program lacks.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.netdevs.contains("stream") {
            missing.push("the network backend stream");
        }
        if !self.options.contains_key("add-fd") {
            missing.push("the option -add-fd");
        }
        if !self.commands.contains("blockdev-add") {
            missing.push("the command blockdev-add");
        }
        missing
    }
}

/// What the first ancestor that `of` knows is, the type itself included.
fn ancestor(types: &BTreeMap<String, String>, name: &str, of: impl Fn(&str) -> Option<BusKind>) -> Option<BusKind> {
    let mut name = name;
    // The hierarchy is a tree a few levels deep; the bound holds against a damaged cache.
    for _ in 0..16 {
        if let Some(kind) = of(name) {
            return Some(kind);
        }
        name = types.get(name)?;
    }
    None
}
