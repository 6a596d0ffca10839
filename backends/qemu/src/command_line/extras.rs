//! How QEMU itself behaves, and small devices.

use bundle::qemu::Configuration;

use super::builder::{Builder, is_pc};
use super::result::Subject;
use crate::facts::Emulator;

/// Options of the process: nothing by default, stopped, confined, spoken to over QMP.
pub(super) fn process(b: &mut Builder<'_>) {
    for option in ["-nodefaults", "-no-user-config", "-S"] {
        b.flag(Subject::Process, option);
    }
    if b.emulator().has_option("sandbox") {
        b.option(Subject::Process, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    let name: String = b.configuration().information.name.chars().filter(|c| c.is_alphanumeric() || *c == ' ').take(128).collect();
    if !name.trim().is_empty() {
        b.option(Subject::Process, "-name", format!("guest={name},debug-threads=on"));
    }
    b.option(Subject::Process, "-uuid", b.configuration().information.uuid.to_string());
    let (fd, path) = b.listening("qmp.sock");
    b.option(Subject::Process, "-chardev", format!("socket,id=qmp,fd={fd},server=on,wait=off"));
    b.option(Subject::Process, "-mon", "chardev=qmp,mode=control");
    b.out.sockets.qmp = path;
    if b.request.options.incoming {
        b.option(Subject::Process, "-incoming", "defer");
    }
}

pub(super) fn add(b: &mut Builder<'_>) {
    clock(b);
    let qemu = &b.configuration().qemu;
    if qemu.rng_device {
        virtio(b, "rng", "QEMU.RNGDevice", &[]);
    }
    if qemu.balloon_device {
        virtio(b, "balloon", "QEMU.BalloonDevice", &["free-page-reporting", "deflate-on-oom"]);
    }
    if has_generation(b.configuration(), b.emulator()) {
        let guid = b.request.generation.map_or_else(|| "auto".to_owned(), |generation| generation.to_string());
        b.device(Subject::Other, format!("vmgenid,guid={guid}"));
    }
}

/// Whether the guest is told its generation ([`super::Request::generation`]).
pub(crate) fn has_generation(configuration: &Configuration, emulator: &Emulator) -> bool {
    let target = configuration.system.target.as_str();
    // The oldest boards cannot tell the guest where the identifier is.
    let too_old = emulator.full_name(target).ends_with("-2.4");
    is_pc(configuration.system.architecture, target) && target != "isapc" && !too_old && emulator.has_device("vmgenid")
}

fn clock(b: &mut Builder<'_>) {
    let base = if b.configuration().qemu.rtc_local_time { "localtime" } else { "utc" };
    // Guests that keep their clock in local time count its interrupts, and those that were missed are to be made up for.
    let slew = if b.is_pc() && base == "localtime" { ",driftfix=slew" } else { "" };
    b.option(Subject::Other, "-rtc", format!("base={base}{slew}"));
}

/// A virtio device with those of the properties that it has.
fn virtio(b: &mut Builder<'_>, function: &str, key: &str, properties: &[&str]) {
    let Some(mut device) = b.virtio(function) else {
        let target = b.target();
        return b.fixed(key, format!("the machine {target} has no bus for virtio; left out"));
    };
    let known: Vec<&&str> = properties.iter().filter(|property| b.emulator().has_property(&device, property)).collect();
    for property in known {
        device.push_str(&format!(",{property}=on"));
    }
    b.device(Subject::Other, device);
}
