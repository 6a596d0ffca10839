//! Screens.
//!
//! Pixels go over D-Bus (`-display dbus,p2p=yes`): a client is handed in later. SPICE runs beside it only for what it alone can do: the
//! guest's clipboard agent, the WebDAV folder, USB redirection; and instead of it where QEMU has no D-Bus display.
//!
//! SPICE listens nowhere (`port=0`): a client is handed in as a connected socket over QMP (`getfd`, then `add_client` with `protocol=spice`).
//! QEMU that makes a Unix socket of its own beside its user network would need the right to make any socket, with which it could also
//! connect to those of other machines and of the person's session.

use bundle::qemu::{DirectoryShareMode, Display};
use bundle::{Architecture, tables};

use super::builder::Builder;
use super::result::{Access, Subject};

pub(super) fn add(b: &mut Builder<'_>) {
    let displays = &b.configuration().displays;
    let mut accelerated = false;
    for (index, display) in displays.iter().enumerate() {
        accelerated |= card(b, index, display);
    }
    let screens = !displays.is_empty();
    let dbus = screens && b.emulator().displays.contains("dbus");
    spice(b, screens && !dbus);
    let value = if dbus {
        b.out.dbus_display = true;
        let sound = if super::sound::goes_to_viewer(b) { ",audiodev=audio0" } else { "" };
        match b.host().render_node.clone().filter(|_| accelerated) {
            Some(node) => {
                b.file(&node, Access::ReadWrite);
                format!("dbus,p2p=yes{sound},gl=on,rendernode={}", super::builder::escaped_path(&node))
            }
            None => format!("dbus,p2p=yes{sound}"),
        }
    } else {
        "none".to_owned()
    };
    if screens && !dbus && !b.spice {
        b.note(
            "Display",
            "the installed QEMU has neither a D-Bus display nor SPICE, so nothing can show the screen; install qemu-system-gui",
        );
    }
    b.option(Subject::Display, "-display", value);
}

/// Whether the configuration and the guest can use the SPICE agent.
pub(super) fn wants_spice_agent(b: &Builder<'_>) -> bool {
    let configuration = b.configuration();
    let resizes = configuration.displays.iter().any(|display| display.dynamic_resolution) && !b.emulator().displays.contains("dbus");
    b.capabilities().agent && (configuration.sharing.clipboard_sharing || wants_webdav(b) || resizes)
}

/// Whether a folder is shared over WebDAV.
pub(super) fn wants_webdav(b: &Builder<'_>) -> bool {
    b.configuration().sharing.directory_share_mode == DirectoryShareMode::WebDav
}

fn spice(b: &mut Builder<'_>, only_way: bool) {
    let agent = wants_spice_agent(b);
    let usb = super::usb::wants_sharing(b);
    if !(agent || usb || only_way) {
        return;
    }
    if !b.emulator().has_option("spice") {
        let key = if agent {
            "Sharing"
        } else if usb {
            "Input.UsbSharing"
        } else {
            "Display"
        };
        return b.note(key, "the installed QEMU has no SPICE; install qemu-system-modules-spice");
    }
    let options = "port=0,disable-ticketing=on,image-compression=off,playback-compression=off,streaming-video=off,gl=off";
    b.option(Subject::Display, "-spice", options);
    b.spice = true;
}

/// Adds a graphics card; whether it renders on the host.
fn card(b: &mut Builder<'_>, index: usize, display: &Display) -> bool {
    let key = format!("Display[{index}].Hardware");
    let own = b.request.board.map_or(&[][..], |board| &board.screens);
    // Part of its board.
    if display.hardware == "nubus-macfb" || own.contains(&display.hardware) {
        return false;
    }
    if b.architecture() == Architecture::Sparc {
        if index == 0 && matches!(display.hardware.as_str(), "tcx" | "cg3") {
            b.option(Subject::Display, "-vga", display.hardware.clone());
        } else if index > 0 {
            b.note(key, "the machine has one screen; this one is left out");
        } else {
            b.fatal(key, format!("the machine has no graphics card {}; choose tcx or cg3", super::builder::printable(&display.hardware)));
        }
        return false;
    }
    let hardware = choose(b, &key, &display.hardware);
    if !b.exists(&key, &hardware) {
        return false;
    }
    if let Err(kind) = b.fits(&hardware) {
        let target = b.target();
        let instead = match own.first() {
            Some(own) => format!("its own screen, {own}, is there"),
            None => "left out".to_owned(),
        };
        b.fixed(key, format!("the machine {target} has no {} bus for {hardware}; {instead}", kind.name()));
        return false;
    }
    let mut properties = String::new();
    if let Some(size) = display.vga_ram_mib.filter(|size| *size > 0) {
        if !b.emulator().has_property(&hardware, "vgamem_mb") {
            b.note(format!("Display[{index}].VgaRamMib"), format!("{hardware} has no such memory; ignored"));
        } else if size > 512 || !size.is_power_of_two() {
            b.fatal(format!("Display[{index}].VgaRamMib"), format!("{size} MiB is not a power of two up to 512"));
        } else {
            properties.push_str(&format!(",vgamem_mb={size}"));
        }
    }
    if b.target() == "mac99" && hardware.to_ascii_lowercase().contains("vga") && b.emulator().has_property(&hardware, "edid") {
        properties.push_str(",edid=on");
    }
    // OpenBIOS of SPARC64 only drives the card that the machine makes itself.
    let own = match (b.architecture(), hardware.as_str()) {
        (Architecture::Sparc64, "VGA") if index == 0 => Some("std"),
        (Architecture::Sparc64, "cirrus-vga") if index == 0 => Some("cirrus"),
        _ => None,
    };
    match own {
        Some(own) => {
            b.option(Subject::Display, "-vga", own);
            for property in properties.split(',').filter(|property| !property.is_empty()) {
                b.option(Subject::Display, "-global", format!("{hardware}.{property}"));
            }
        }
        // Named, so that each screen can be photographed by itself.
        None => b.device(Subject::Display, format!("{hardware}{properties},id=display{index}")),
    }
    tables::display_is_accelerated(&hardware)
}

/// The card as this host and this QEMU can have it.
fn choose(b: &mut Builder<'_>, key: &str, wanted: &str) -> String {
    let mut hardware = wanted.to_owned();
    if tables::display_is_accelerated(wanted) {
        let plain = wanted.replace("-gl", "");
        if b.host().render_node.is_none() {
            b.fixed(key, format!("this computer has no render node for 3D (/dev/dri/renderD128); {plain} is used instead of {wanted}"));
            hardware = plain;
        } else if !b.emulator().has_device(wanted) && wanted != "virtio-ramfb-gl" {
            b.fixed(key, format!("the installed QEMU has no {wanted} (package qemu-system-modules-opengl); {plain} is used"));
            hardware = plain;
        }
    }
    // UTM's own combination of a boot screen with virtio; others boot on virtio itself.
    if hardware.starts_with("virtio-ramfb") && !b.emulator().has_device(&hardware) {
        let suffix = if hardware.ends_with("-gl") { "-gl" } else { "" };
        let vga = format!("virtio-vga{suffix}");
        let arm = matches!(b.architecture(), Architecture::Arm | Architecture::Aarch64);
        let own = if arm || !b.emulator().has_device(&vga) {
            b.virtio(&format!("gpu{suffix}")).or_else(|| b.virtio("gpu")).unwrap_or_else(|| "virtio-gpu-pci".to_owned())
        } else {
            vga
        };
        b.note(key, format!("only UTM's QEMU has {hardware}; {own} is used"));
        hardware = own;
    }
    hardware
}
