//! VMware's disks (VMware, "Virtual Disk Format 5.0"). Numbers are little-endian.

use super::bytes::Bytes;
use super::{Header, HeaderError};
use crate::Format;

/// Bytes of a descriptor that are read at most; they are some hundreds.
const DESCRIPTOR_LIMIT: u64 = 64 << 10;
/// Extents that a descriptor may have: a disk of 2 GiB pieces has a thousand for 2 TiB.
const EXTENT_LIMIT: usize = 4096;

/// Whether these are the first bytes of a descriptor in a file of its own.
pub fn is_descriptor(start: &[u8]) -> bool {
    let text = start.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    // Comments and empty lines may come before.
    text.take(8).any(|line| line.eq_ignore_ascii_case(b"# Disk DescriptorFile"))
}

pub fn read(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    match &bytes.array::<4>(0)? {
        b"KDMV" => sparse(bytes),
        // The older sparse extent of ESX hosts.
        b"COWD" => Ok(Header { virtual_size: bytes.sectors(bytes.u32_le(12)?.into())?, ..Header::default() }),
        _ => {
            let descriptor = Descriptor::read(bytes, 0, bytes.length.min(DESCRIPTOR_LIMIT))?;
            if !descriptor.marked {
                return Err(HeaderError::Magic(Format::Vmdk));
            }
            descriptor.header(bytes)
        }
    }
}

fn sparse(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    let capacity = bytes.u64_le(12)?;
    let (offset, size) = (bytes.sectors(bytes.u64_le(28)?)?, bytes.sectors(bytes.u64_le(36)?)?);
    let descriptor = if offset == 0 || size == 0 {
        None
    } else {
        Some(Descriptor::read(bytes, offset, size.min(DESCRIPTOR_LIMIT).min(bytes.length.saturating_sub(offset)))?)
    };
    match descriptor {
        // A sparse header of no size only wraps the descriptor.
        Some(descriptor) if capacity == 0 => descriptor.header(bytes),
        // The descriptor's extent is this very file, by the name that it once had.
        Some(descriptor) => Ok(Header { virtual_size: bytes.sectors(capacity)?, backing_file: descriptor.parent, ..Header::default() }),
        None => Ok(Header { virtual_size: bytes.sectors(capacity)?, ..Header::default() }),
    }
}

#[derive(Default)]
struct Descriptor {
    marked: bool,
    parent: Option<String>,
    sectors: u64,
    extents: Vec<String>,
}

impl Descriptor {
    fn read(bytes: &Bytes<'_>, offset: u64, size: u64) -> Result<Self, HeaderError> {
        let mut text = bytes.vector(offset, usize::try_from(size).map_err(|_| bytes.invalid("the descriptor's size", size))?)?;
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
        }
        let text = String::from_utf8(text).map_err(|_| HeaderError::Name)?;
        let mut found = Self::default();
        let mut parent_named = false;
        for line in text.lines().map(str::trim) {
            if line.eq_ignore_ascii_case("# Disk DescriptorFile") {
                found.marked = true;
            } else if let Some((key, value)) = line.split_once('=').filter(|(key, _)| !key.contains('"')) {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "parentfilenamehint" if !value.is_empty() => found.parent = Some(value.to_owned()),
                    "parentcid" => parent_named = !value.eq_ignore_ascii_case("ffffffff"),
                    _ => {}
                }
            } else if let Some(extent) = Extent::read(line) {
                let sum = found.sectors.checked_add(extent.sectors);
                found.sectors = sum.ok_or_else(|| bytes.invalid("the number of sectors", extent.sectors))?;
                found.extents.extend(extent.file);
                if found.extents.len() > EXTENT_LIMIT {
                    return Err(bytes.invalid("the number of extents", found.extents.len() as u64));
                }
            }
        }
        if parent_named && found.parent.is_none() {
            return Err(HeaderError::Unsupported("the difference to a parent that it does not name"));
        }
        Ok(found)
    }

    fn header(self, bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
        Ok(Header { virtual_size: bytes.sectors(self.sectors)?, backing_file: self.parent, extents: self.extents, ..Header::default() })
    }
}

/// A line like `RW 4192256 FLAT "disk-f001.vmdk" 0`.
struct Extent {
    sectors: u64,
    file: Option<String>,
}

impl Extent {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if !matches!(words.next()?, "RW" | "RDONLY" | "NOACCESS") {
            return None;
        }
        let sectors = words.next()?.parse().ok()?;
        let file = line.split('"').nth(1).map(str::to_owned);
        Some(Self { sectors, file })
    }
}
