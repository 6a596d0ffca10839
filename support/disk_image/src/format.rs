//! Which format an image has.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::header;

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The disk's bytes, one by one.
    Raw,
    /// Raw, with an ISO 9660 file system: an optical disc. A matter of display; QEMU treats it as raw.
    Iso,
    /// QEMU's, version 2 or 3.
    Qcow2,
    /// QEMU's, version 1.
    Qcow,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Hyper-V's.
    Vhdx,
    /// Virtual PC's, also called VHD.
    Vpc,
    /// QEMU Enhanced Disk.
    Qed,
    /// Parallels'.
    Parallels,
    /// Apple's.
    Dmg,
}

/// QEMU has another name for the format, or it is not a disk image's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unknown disk image format; use raw, qcow2, vmdk, vdi, vhdx or vpc: {0}")]
pub struct UnknownFormat(pub String);

impl Format {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Raw,
        Self::Iso,
        Self::Qcow2,
        Self::Qcow,
        Self::Vmdk,
        Self::Vdi,
        Self::Vhdx,
        Self::Vpc,
        Self::Qed,
        Self::Parallels,
        Self::Dmg,
    ];

    /// The name of QEMU's block driver for it.
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::Raw | Self::Iso => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow => "qcow",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vhdx => "vhdx",
            Self::Vpc => "vpc",
            Self::Qed => "qed",
            Self::Parallels => "parallels",
            Self::Dmg => "dmg",
        }
    }

    /// The extension that such files usually have.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Raw => "img",
            Self::Iso => "iso",
            Self::Vpc => "vhd",
            Self::Parallels => "hdd",
            other => other.driver(),
        }
    }

    /// Whether QEMU checks such images for consistency.
    #[must_use]
    pub fn can_check(self) -> bool {
        matches!(self, Self::Qcow2 | Self::Vdi | Self::Vhdx | Self::Vmdk | Self::Qed | Self::Parallels)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Iso { "iso" } else { self.driver() })
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Reads QEMU's driver name, `iso`, or one of the names that people use for these formats.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name.to_ascii_lowercase().as_str() {
            "vhd" => Ok(Self::Vpc),
            "img" => Ok(Self::Raw),
            other => Self::ALL.iter().copied().find(|format| format.to_string() == other).ok_or_else(|| UnknownFormat(name.to_owned())),
        }
    }
}

/// Where ISO 9660 puts its first volume descriptor's identifier (ECMA-119, 8.1: sector 16, byte 1).
const ISO_IDENTIFIER: u64 = 16 * 2048 + 1;

/// Bytes of a file or block device.
pub(crate) fn length(mut file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    // Nobody reads at the offset that this moves.
    if metadata.file_type().is_block_device() { file.seek(SeekFrom::End(0)) } else { Ok(metadata.len()) }
}

/// Looks at what `file` is. What no format claims is raw.
///
/// Call this once, before the image first runs, and record the answer: afterwards a guest has written what it likes into a raw image.
///
/// # Errors
///
/// When the file cannot be read.
pub fn probe(file: &File) -> io::Result<Format> {
    let length = length(file)?;
    let mut start = [0; 512];
    let got = read_up_to(file, &mut start, 0)?;
    let start = start.get(..got).unwrap_or_default();
    if let Some(format) = by_start(start) {
        return Ok(format);
    }
    let mut identifier = [0; 5];
    if read_up_to(file, &mut identifier, ISO_IDENTIFIER)? == 5 && &identifier == b"CD001" {
        return Ok(Format::Iso);
    }
    let mut end = [0; 512];
    if let Some(offset) = length.checked_sub(512) {
        read_up_to(file, &mut end, offset)?;
        // A fixed VHD is a raw disk and a trailer; the sum in it keeps a mere word from passing.
        if header::is_vpc_footer(&end) {
            return Ok(Format::Vpc);
        }
        if end.starts_with(b"koly") {
            return Ok(Format::Dmg);
        }
    }
    Ok(Format::Raw)
}

fn by_start(start: &[u8]) -> Option<Format> {
    let magic = start.get(..4)?;
    match magic {
        b"QFI\xfb" => match start.get(4..8)? {
            [0, 0, 0, 1] => Some(Format::Qcow),
            [0, 0, 0, 2 | 3] => Some(Format::Qcow2),
            _ => None,
        },
        b"KDMV" | b"COWD" => Some(Format::Vmdk),
        b"QED\0" => Some(Format::Qed),
        _ if start.starts_with(b"vhdxfile") => Some(Format::Vhdx),
        _ if start.starts_with(b"conectix") => Some(Format::Vpc),
        _ if start.starts_with(b"WithoutFreeSpace") || start.starts_with(b"WithouFreSpacExt") => Some(Format::Parallels),
        _ if start.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]) => Some(Format::Vdi),
        _ if header::is_vmdk_descriptor(start) => Some(Format::Vmdk),
        _ => None,
    }
}

/// Fills as much of `buffer` as the file has.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(*format));
        }
        assert_eq!("VHD".parse(), Ok(Format::Vpc));
        assert!("host_device".parse::<Format>().is_err());
    }
}
