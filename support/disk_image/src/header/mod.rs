//! What an image says about itself.

mod bytes;
mod others;
mod qcow;
mod vhdx;
mod vmdk;

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::Format;
use crate::format::length;
use bytes::Bytes;

pub(crate) use others::is_vpc_footer;
pub(crate) use vmdk::is_descriptor as is_vmdk_descriptor;

/// What an image says about itself. Every name in it is whatever the image holds, not to be opened without [`crate::Chain`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    /// The file below, which holds what this one does not.
    pub backing_file: Option<String>,
    /// The format of the file below, as the image names it.
    pub backing_format: Option<String>,
    /// The file that holds this image's data instead of itself (qcow2).
    pub data_file: Option<String>,
    /// Other files that this image is made of (vmdk).
    pub extents: Vec<String>,
    /// Whether its content is encrypted.
    pub encrypted: bool,
    /// Whether it was not closed properly, or is marked as damaged: it wants a check.
    pub dirty: bool,
    /// How many snapshots it holds.
    pub snapshots: u32,
}

/// Why a header could not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file could not be read.
    #[error("Could not read the image's header")]
    Read(#[from] io::Error),
    /// The file ends inside its header.
    #[error("The image ends inside its {0} header; it was not copied completely, copy it again")]
    Truncated(Format),
    /// The file is of another format.
    #[error("This is not an image in {0} format; look at its format again")]
    Magic(Format),
    /// A field holds what it cannot.
    #[error("The image's {format} header is damaged ({field} is {value}); check it with `qemu-img check`, or take a backup")]
    Invalid {
        /// The format.
        format: Format,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A name of another file is not UTF-8 or too long.
    #[error("The image names another file in a way that cannot be read; flatten it with the program that made it")]
    Name,
    /// The image needs what QEMU does not do either.
    #[error("The image is {0}; merge it with its parent in the program that made it, and import the result")]
    Unsupported(&'static str),
}

/// Reads the header of `file`, which is of `format`. Reads no more than a few kilobytes, whatever the file says.
///
/// # Errors
///
/// [`HeaderError`] when it is damaged, of another format, or cannot be read.
pub fn header(file: &File, format: Format) -> Result<Header, HeaderError> {
    read(&Bytes::new(file, length(file)?, format))
}

/// Reads the header of an image that is in memory as a whole.
///
/// # Errors
///
/// [`HeaderError`] when it is damaged or of another format.
pub fn parse(image: &[u8], format: Format) -> Result<Header, HeaderError> {
    read(&Bytes::new(&image, image.len() as u64, format))
}

fn read(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    let header = match bytes.format {
        Format::Raw | Format::Iso => Header { virtual_size: bytes.length.next_multiple_of(512), ..Header::default() },
        Format::Qcow2 => qcow::read_2(bytes)?,
        Format::Qcow => qcow::read_1(bytes)?,
        Format::Vmdk => vmdk::read(bytes)?,
        Format::Vdi => others::vdi(bytes)?,
        Format::Vhdx => vhdx::read(bytes)?,
        Format::Vpc => others::vpc(bytes)?,
        Format::Qed => others::qed(bytes)?,
        Format::Parallels => others::parallels(bytes)?,
        Format::Dmg => others::dmg(bytes)?,
    };
    // The kernel's and QEMU's limit of a file's size.
    if i64::try_from(header.virtual_size).is_err() {
        return Err(bytes.invalid("the size", header.virtual_size));
    }
    Ok(header)
}
