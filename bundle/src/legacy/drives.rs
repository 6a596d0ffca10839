//! The drives of a QEMU machine of UTM before 4.0.

use std::collections::BTreeSet;

use plist::Value;

use super::identity::Identity;
use super::reader::{Reader, unknown};
use crate::FileName;
use crate::problem::Level;
use crate::qemu::{Drive, DriveInterface, ImageType};

/// The UEFI variables, which were a drive once. The firmware finds the file by its name.
const EFI_VARIABLES: &str = "efi_vars.fd";

/// Reads the array `Drives` of the root.
pub(super) fn drives(root: &mut Reader<'_>, identity: Identity) -> Vec<Drive> {
    let mut legacy = root.sections("Drives", |_, reader| (reader.filled("DriveName"), drive(reader)));

    let named = |name: &Option<String>| name.as_deref().is_some_and(is_qemu_id);
    if !legacy.iter().all(|(name, _)| named(name)) {
        root.fixed("Drives", "names of drives are missing or not fit for QEMU; all are numbered anew");
        for (index, (name, _)) in legacy.iter_mut().enumerate() {
            *name = Some(format!("drive{index}"));
        }
    }

    let mut identifiers = BTreeSet::new();
    let mut drives = Vec::new();
    for (index, (name, mut drive)) in legacy.into_iter().enumerate() {
        if drive.image_name.as_ref().is_some_and(|name| name == EFI_VARIABLES) {
            continue;
        }
        let name = name.unwrap_or_default();
        let other = || identity.identifier(format_args!("drive {index}"));
        let identifier = name.strip_prefix("drive").unwrap_or(&name);
        drive.identifier = if identifier.is_empty() { other() } else { identifier.to_owned() };
        if !identifiers.insert(drive.identifier.clone()) {
            drive.identifier = other();
            root.fixed(&format!("Drives[{index}].DriveName"), "two drives have this name; another one stands in");
            identifiers.insert(drive.identifier.clone());
        }
        drives.push(drive);
    }
    drives
}

fn drive(reader: &mut Reader<'_>) -> Drive {
    let old_cd = reader.boolean("Cdrom").unwrap_or(false);
    let image_type = match reader.filled("ImageType").as_deref() {
        None if old_cd => ImageType::Cd,
        None | Some("disk") => ImageType::Disk,
        Some("none") => ImageType::None,
        Some("cd") => ImageType::Cd,
        Some("bios") => ImageType::Bios,
        Some("kernel") => ImageType::LinuxKernel,
        Some("initrd") => ImageType::LinuxInitrd,
        Some("dtb") => ImageType::LinuxDtb,
        Some(other) => {
            reader.fixed("ImageType", unknown(other, "the drive is attached to nothing"));
            ImageType::None
        }
    };
    let interface = match reader.filled("InterfaceType").as_deref() {
        None | Some("none") => DriveInterface::None,
        Some("ide") => DriveInterface::Ide,
        Some("scsi") => DriveInterface::Scsi,
        Some("sd") => DriveInterface::Sd,
        Some("mtd") => DriveInterface::Mtd,
        Some("floppy") => DriveInterface::Floppy,
        Some("pflash") => DriveInterface::PFlash,
        Some("virtio") => DriveInterface::VirtIo,
        Some("nvme") => DriveInterface::Nvme,
        Some("usb") => DriveInterface::Usb,
        Some(other) => {
            reader.fixed("InterfaceType", unknown(other, "the drive is attached to nothing"));
            DriveInterface::None
        }
    };
    let removable = reader.boolean("Removable").unwrap_or(false);
    let mut drive = Drive {
        image_type,
        interface: if matches!(image_type, ImageType::Disk | ImageType::Cd) { interface } else { DriveInterface::None },
        interface_version: 0,
        read_only: removable,
        ..Drive::default()
    };
    match reader.filled("ImagePath").map(|path| (FileName::new(&path), path)) {
        Some((Ok(name), _)) => drive.image_name = Some(name),
        Some((Err(error), path)) => {
            let hint = "the machine is listed, but does not start before this names a file directly in `Data/`";
            reader.report("ImagePath", Level::Ignored, error.to_string(), Some(hint.to_owned()));
            drive.extra.insert("ImageName".to_owned(), Value::String(path));
        }
        None if !removable => reader.fixed("ImagePath", "drive has no image; it takes media from outside"),
        None => {}
    }
    drive
}

/// Whether QEMU takes the text as the `id` of an object: a letter, then letters, digits, `-`, `.`, `_`.
fn is_qemu_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}
