//! QEMU's qcow and qcow2 (docs/interop/qcow2.rst of QEMU's documentation). Numbers are big-endian.

use super::bytes::Bytes;
use super::{Header, HeaderError};

/// The format's limit of a backing file's name.
const NAME_LIMIT: u32 = 1023;
/// Bytes of the header of version 2; version 3 says its own.
const LENGTH_2: u64 = 72;
/// Header extensions that are looked at, at most; QEMU writes four.
const EXTENSIONS: usize = 64;

const BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTERNAL_DATA_FILE: u32 = 0x4441_5441;

/// Bits of the incompatible features.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const HAS_DATA_FILE: u64 = 1 << 2;

pub fn read_2(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    bytes.expect(0, b"QFI\xfb")?;
    let version = bytes.u32_be(4)?;
    if !matches!(version, 2 | 3) {
        return Err(bytes.invalid("the version", version.into()));
    }
    let cluster_bits = bytes.u32_be(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(bytes.invalid("the cluster size", cluster_bits.into()));
    }
    // Names and extensions are inside the first cluster.
    let cluster = 1u64 << cluster_bits;
    let (incompatible, length) = if version == 3 { (bytes.u64_be(72)?, u64::from(bytes.u32_be(100)?)) } else { (0, LENGTH_2) };
    if length < LENGTH_2 || length > cluster || length % 8 != 0 {
        return Err(bytes.invalid("the header's length", length));
    }
    let name_offset = bytes.u64_be(8)?;
    let backing_file = backing(bytes, name_offset, bytes.u32_be(16)?, cluster)?;
    let end = if name_offset == 0 { cluster } else { name_offset };
    let extensions = extensions(bytes, length, end)?;
    if incompatible & HAS_DATA_FILE != 0 && extensions.data_file.is_none() {
        return Err(HeaderError::Name);
    }
    Ok(Header {
        virtual_size: bytes.u64_be(24)?,
        backing_file,
        backing_format: extensions.backing_format,
        data_file: extensions.data_file.filter(|_| incompatible & HAS_DATA_FILE != 0),
        encrypted: bytes.u32_be(32)? != 0,
        dirty: incompatible & (DIRTY | CORRUPT) != 0,
        snapshots: bytes.u32_be(60)?,
        ..Header::default()
    })
}

pub fn read_1(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    bytes.expect(0, b"QFI\xfb\0\0\0\x01")?;
    Ok(Header {
        virtual_size: bytes.u64_be(24)?,
        backing_file: backing(bytes, bytes.u64_be(8)?, bytes.u32_be(16)?, u64::MAX)?,
        encrypted: bytes.u32_be(36)? != 0,
        ..Header::default()
    })
}

fn backing(bytes: &Bytes<'_>, offset: u64, size: u32, limit: u64) -> Result<Option<String>, HeaderError> {
    if offset == 0 || size == 0 {
        return Ok(None);
    }
    if size > NAME_LIMIT {
        return Err(bytes.invalid("the length of the backing file's name", size.into()));
    }
    if offset.checked_add(size.into()).is_none_or(|end| end > limit) {
        return Err(bytes.invalid("the place of the backing file's name", offset));
    }
    bytes.name(offset, size as usize).map(Some)
}

#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    data_file: Option<String>,
}

fn extensions(bytes: &Bytes<'_>, start: u64, end: u64) -> Result<Extensions, HeaderError> {
    let mut found = Extensions::default();
    let mut offset = start;
    for _ in 0..EXTENSIONS {
        // A header may stop anywhere before the name: the rest is optional.
        let Some(data) = offset.checked_add(8).filter(|data| *data <= end && *data <= bytes.length) else { return Ok(found) };
        let (kind, length) = (bytes.u32_be(offset)?, bytes.u32_be(offset.saturating_add(4))?);
        if kind == 0 {
            return Ok(found);
        }
        let next = data.checked_add(u64::from(length).next_multiple_of(8));
        let Some(next) = next.filter(|_| data.checked_add(length.into()).is_some_and(|last| last <= end)) else {
            return Err(bytes.invalid("the length of a header extension", length.into()));
        };
        let name = || if length > NAME_LIMIT { Err(HeaderError::Name) } else { bytes.name(data, length as usize) };
        match kind {
            BACKING_FORMAT => found.backing_format = Some(name()?),
            EXTERNAL_DATA_FILE => found.data_file = Some(name()?),
            _ => {}
        }
        offset = next;
    }
    Err(bytes.invalid("the number of header extensions", EXTENSIONS as u64))
}
