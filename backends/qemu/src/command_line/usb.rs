//! USB controllers, pointer and keyboard, and the channels over which devices of the host are passed on.

use bundle::qemu::UsbBusSupport;
use bundle::{Architecture, Problem};

use super::builder::Builder;
use super::machine::wants_usb;
use super::result::Subject;
use crate::facts::BusKind;

/// Devices that can be passed on over one controller.
const CHANNELS_PER_CONTROLLER: u32 = 3;
/// What UTM's editor allows.
const MAX_CHANNELS: u32 = 64;

pub(super) fn add(b: &mut Builder<'_>) {
    if wants_usb(b.configuration()) {
        controller(b);
        if b.usb_bus.is_some() {
            return pointer_and_keyboard(b);
        }
        let target = b.target();
        b.note("Input.UsbBusSupport", format!("the machine {target} has no USB"));
    }
    virtio_input(b);
}

fn controller(b: &mut Builder<'_>) {
    if !b.is_virt() {
        // The board has one, or gets one by `-usb`; without facts that is believed of boards with PCI.
        let own = match b.request.board {
            Some(_) => b.bus_name(BusKind::Usb),
            None => b.has_bus(BusKind::Pci).then(|| "usb-bus.0".to_owned()),
        };
        if own.is_some() {
            b.flag(Subject::Usb, "-usb");
            b.usb_bus = own;
            return;
        }
    }
    let controller = ["nec-usb-xhci", "qemu-xhci"].into_iter().find(|name| b.emulator().has_device(name));
    if let Some(controller) = controller.filter(|_| b.has_bus(BusKind::Pci)) {
        b.device(Subject::Usb, format!("{controller},id=usb-bus"));
        b.usb_bus = Some("usb-bus.0".to_owned());
    }
}

fn pointer_and_keyboard(b: &mut Builder<'_>) {
    let Some(bus) = b.usb_bus.clone() else { return };
    let mac99 = b.target() == "mac99";
    let mut wanted = Vec::new();
    if !mac99 {
        wanted.push("usb-tablet");
    }
    if !b.configuration().qemu.ps2_controller {
        wanted.extend(["usb-mouse", "usb-kbd"]);
    }
    let emulator = b.emulator();
    if b.request.board.is_some_and(|board| board.devices.contains("usb-chipidea")) {
        // One port on each controller, hubs do not fit, and QEMU aborts over devices at the same place of two controllers.
        wanted.reverse();
        wanted.truncate(1);
    }
    for device in wanted.into_iter().filter(|device| emulator.has_device(device)) {
        b.device(Subject::Usb, format!("{device},bus={bus}"));
    }
    if mac99 && let Some(tablet) = b.virtio("tablet") {
        b.device(Subject::Usb, tablet);
    }
}

/// Machines with a screen and without USB or input of their own: nothing could be typed otherwise.
fn virtio_input(b: &mut Builder<'_>) {
    if b.configuration().displays.is_empty() {
        return;
    }
    let needed = b.architecture() == Architecture::S390x || (b.is_virt() && !wants_usb(b.configuration()));
    let functions: &[&str] = match b.target() {
        "q800" => &["tablet"],
        _ if needed => &["keyboard", "tablet"],
        _ => &[],
    };
    for function in functions {
        if let Some(device) = b.virtio(function) {
            b.device(Subject::Usb, device);
        }
    }
}

/// Whether devices of the host are passed on.
pub(super) fn wants_sharing(b: &Builder<'_>) -> bool {
    let input = &b.configuration().input;
    input.usb_sharing && input.maximum_usb_share > 0 && wants_usb(b.configuration())
}

/// Controllers and channels for devices of the host.
pub(super) fn add_sharing(b: &mut Builder<'_>) {
    if !wants_sharing(b) || !b.spice || b.usb_bus.is_none() {
        return;
    }
    let count = b.configuration().input.maximum_usb_share;
    if count > MAX_CHANNELS {
        return b.report(Problem::fatal("Input.MaximumUsbShare", format!("at most {MAX_CHANNELS} devices can be passed on")));
    }
    if !b.emulator().has_device("usb-redir") || !b.emulator().chardevs.contains("spicevmc") || !b.has_bus(BusKind::Pci) {
        return b.note(
            "Input.UsbSharing",
            "USB devices of the host cannot be passed on: QEMU's modules for it are missing, or the machine has no PCI",
        );
    }
    let usb3 = b.configuration().input.usb_bus_support == UsbBusSupport::Usb3;
    for controller in 0..count.div_ceil(CHANNELS_PER_CONTROLLER) {
        let id = format!("usb-controller-{controller}");
        let names = if b.is_pc() { ["nec-usb-xhci", "qemu-xhci"] } else { ["qemu-xhci", "nec-usb-xhci"] };
        match names.into_iter().find(|name| b.emulator().has_device(name)) {
            Some(name) if usb3 => b.device(Subject::Usb, format!("{name},id={id}")),
            _ => {
                b.device(Subject::Usb, format!("ich9-usb-ehci1,id={id}"));
                for (companion, port) in [(1, 0), (2, 2), (3, 4)] {
                    b.device(Subject::Usb, format!("ich9-usb-uhci{companion},masterbus={id}.0,firstport={port},multifunction=on"));
                }
            }
        }
    }
    for channel in 0..count {
        b.option(Subject::Usb, "-chardev", format!("spicevmc,name=usbredir,id=usbredirchardev{channel}"));
        let controller = channel / CHANNELS_PER_CONTROLLER;
        b.device(
            Subject::Usb,
            format!("usb-redir,chardev=usbredirchardev{channel},id=usbredirdev{channel},bus=usb-controller-{controller}.0"),
        );
    }
}
