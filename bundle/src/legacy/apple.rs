//! Machines for Apple's Virtualization framework of UTM before 4.0 (`version` 1 to 3).

use plist::{Dictionary, Value};

use super::identity::Identity;
use super::reader::{Reader, unknown};
use crate::apple::{
    Boot, Configuration, Display, Drive, GenericPlatform, Keyboard, MacPlatform, Network, NetworkMode, OperatingSystem, Pointer, Serial,
    SerialMode, System, Virtualization,
};
use crate::problem::{Findings, Level};
use crate::{Architecture, Data, FileName, Information, Terminal};

/// Bytes per MiB: the old format counted memory in bytes.
const MEBIBYTE: u64 = 1 << 20;

/// Brings the configuration into the present form.
pub(super) fn migrate(root: &Dictionary, fallback_name: &str, identity: Identity, findings: &mut Findings) -> Configuration {
    Reader::read(root, findings, |root| {
        root.obsolete(&["version", "isAppleVirtualization"]);
        let boot = root.section("bootLoader", read_boot);
        let operating_system = boot.operating_system;
        Configuration {
            information: read_information(root, fallback_name, identity),
            system: System {
                architecture: read_architecture(root),
                cpu_count: root.small("cpuCount").unwrap_or(0),
                memory_size: root.unsigned("memorySize").map_or_else(|| System::default().memory_size, |bytes| bytes / MEBIBYTE),
                boot,
                mac_platform: root.has("macPlatform").then(|| root.section("macPlatform", read_mac_platform)).flatten(),
                generic_platform: (operating_system == OperatingSystem::Linux).then(GenericPlatform::default),
                ..System::default()
            },
            virtualization: read_virtualization(root),
            displays: root.sections("displays", |_, reader| read_display(reader)),
            drives: root.sections("diskImages", |index, reader| read_drive(reader, identity.identifier(format_args!("drive {index}")))),
            networks: root
                .sections("networkDevices", |index, reader| read_network(reader, &identity.mac_address(format_args!("network {index}")))),
            serials: read_serial(root).into_iter().collect(),
            ..Configuration::default()
        }
    })
}

fn read_information(root: &mut Reader<'_>, fallback_name: &str, identity: Identity) -> Information {
    let icon = root.filled("icon");
    let name = root.filled("name").unwrap_or_else(|| {
        root.fixed("name", "machine has no name; that of its bundle stands in");
        fallback_name.to_owned()
    });
    Information {
        name,
        icon_custom: root.boolean("iconCustom").unwrap_or(false) && icon.is_some(),
        icon,
        notes: root.filled("notes"),
        // The old format had none.
        uuid: identity.uuid("machine"),
        ..Information::default()
    }
}

fn read_architecture(root: &mut Reader<'_>) -> Architecture {
    // Not that of this computer: the same file must read the same everywhere.
    let stand_in = Architecture::Aarch64;
    match root.filled("architecture") {
        Some(named) => match named.as_str() {
            // The name that macOS gives it.
            "arm64" => Architecture::Aarch64,
            name => name.parse().unwrap_or_else(|_| {
                root.fixed("architecture", unknown(name, &format!("`{stand_in}` stands in")));
                stand_in
            }),
        },
        None => {
            root.fixed("architecture", format!("architecture is missing; `{stand_in}` stands in"));
            stand_in
        }
    }
}

fn read_boot(reader: &mut Reader<'_>) -> Boot {
    let operating_system = match reader.filled("operatingSystem").as_deref() {
        None => OperatingSystem::None,
        Some("Linux") => OperatingSystem::Linux,
        Some("macOS") => OperatingSystem::MacOs,
        Some(other) => {
            reader.fixed("operatingSystem", unknown(other, "the kind of guest is not set"));
            OperatingSystem::None
        }
    };
    let mut extra = Dictionary::new();
    Boot {
        operating_system,
        linux_kernel_path: read_file(reader, "linuxKernelPath", &mut extra, "LinuxKernelPath"),
        linux_command_line: reader.filled("linuxCommandLine"),
        linux_initial_ramdisk_path: read_file(reader, "linuxInitialRamdiskPath", &mut extra, "LinuxInitialRamdiskPath"),
        extra,
        ..Boot::default()
    }
}

fn read_mac_platform(reader: &mut Reader<'_>) -> Option<MacPlatform> {
    let mut extra = Dictionary::new();
    let auxiliary_storage_path = read_file(reader, "auxiliaryStoragePath", &mut extra, "AuxiliaryStoragePath");
    let (model, identifier) = (reader.data("hardwareModel"), reader.data("machineIdentifier"));
    let (Some(model), Some(identifier)) = (model, identifier) else {
        reader.fixed("hardwareModel", "the identity of the Mac is incomplete and is left out; macOS cannot start without it");
        return None;
    };
    Some(MacPlatform { hardware_model: Data(model), machine_identifier: Data(identifier), auxiliary_storage_path, extra })
}

fn read_virtualization(root: &mut Reader<'_>) -> Virtualization {
    Virtualization {
        audio: root.boolean("isAudioEnabled").unwrap_or(false),
        balloon: root.boolean("isBalloonEnabled").unwrap_or(false),
        entropy: root.boolean("isEntropyEnabled").unwrap_or(false),
        keyboard: if root.boolean("isKeyboardEnabled").unwrap_or(false) { Keyboard::Generic } else { Keyboard::Disabled },
        pointer: if root.boolean("isPointingEnabled").unwrap_or(false) { Pointer::Mouse } else { Pointer::Disabled },
        ..Virtualization::default()
    }
}

fn read_display(reader: &mut Reader<'_>) -> Display {
    let usual = Display::default();
    Display {
        width_pixels: reader.small("widthInPixels").unwrap_or(usual.width_pixels),
        height_pixels: reader.small("heightInPixels").unwrap_or(usual.height_pixels),
        pixels_per_inch: reader.small("pixelsPerInch").unwrap_or(usual.pixels_per_inch),
        ..usual
    }
}

fn read_drive(reader: &mut Reader<'_>, identifier: String) -> Drive {
    // The size is that of the image.
    reader.obsolete(&["sizeMib"]);
    let external = reader.boolean("isExternal").unwrap_or(false);
    let mut extra = Dictionary::new();
    let image_name = read_file(reader, "imagePath", &mut extra, "ImageName");
    let bookmark = reader.data("imageBookmark").map(Data);
    if image_name.is_none() && extra.is_empty() && bookmark.is_none() && !external {
        reader.fixed("imagePath", "drive has no image; it takes media from outside");
    }
    Drive { image_name, read_only: reader.boolean("isReadOnly").unwrap_or(external), bookmark, identifier, extra, ..Drive::default() }
}

fn read_network(reader: &mut Reader<'_>, mac_address: &str) -> Network {
    let mode = match reader.filled("networkMode").as_deref() {
        None | Some("Shared") => NetworkMode::Shared,
        Some("Bridged") => NetworkMode::Bridged,
        Some(other) => {
            reader.fixed("networkMode", unknown(other, "`Shared` stands in"));
            NetworkMode::Shared
        }
    };
    Network {
        mode,
        bridge_interface: reader.filled("bridgeInterfaceIdentifier"),
        mac_address: reader.filled("macAddress").unwrap_or_else(|| mac_address.to_lowercase()),
        ..Network::default()
    }
}

fn read_serial(root: &mut Reader<'_>) -> Option<Serial> {
    // The theme was a name for colours that are stored as well.
    root.obsolete(&["consoleTheme"]);
    let usual = Terminal::default();
    let terminal = Terminal {
        theme: None,
        foreground_color: root.filled("consoleTextColor").or(usual.foreground_color),
        background_color: root.filled("consoleBackgroundColor").or(usual.background_color),
        font: root.filled("consoleFont").unwrap_or(usual.font),
        font_size: root.small("consoleFontSize").filter(|size| *size > 0).unwrap_or(usual.font_size),
        resize_command: root.filled("consoleResizeCommand"),
        cursor_blink: root.boolean("consoleCursorBlink").unwrap_or(usual.cursor_blink),
        extra: usual.extra,
    };
    let console = root.boolean("isConsoleDisplay").unwrap_or(false);
    let serial = root.boolean("isSerialEnabled").unwrap_or(false);
    if console {
        Some(Serial { mode: SerialMode::Terminal, terminal: Some(terminal), ..Serial::default() })
    } else {
        serial.then(|| Serial { mode: SerialMode::Ptty, terminal: None, ..Serial::default() })
    }
}

/// The name of a file in `Data/`. One that is none is kept under its new key, and the machine does not start before it is corrected.
fn read_file(reader: &mut Reader<'_>, key: &'static str, extra: &mut Dictionary, new_key: &str) -> Option<FileName> {
    let text = reader.filled(key)?;
    match FileName::new(&text) {
        Ok(name) => Some(name),
        Err(error) => {
            let hint = "the machine is listed, but does not start before this names a file directly in `Data/`";
            reader.report(key, Level::Ignored, error.to_string(), Some(hint.to_owned()));
            extra.insert(new_key.to_owned(), Value::String(text));
            None
        }
    }
}
