//! Hyper-V's VHDX (Microsoft, [MS-VHDX]). Numbers are little-endian.

use super::bytes::Bytes;
use super::{Header, HeaderError};

/// Where the two copies of the region table are (MS-VHDX 2.2.3).
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
/// Entries that a region table or metadata table has at most (2.2.3.1, 2.6.1.1).
const ENTRY_LIMIT: u64 = 2047;
/// Bytes before the first entry: of a region table, of the metadata table.
const REGION_HEADER: u64 = 16;
const METADATA_HEADER: u64 = 32;
/// Bytes of an entry in both.
const ENTRY: u64 = 32;

/// GUIDs as they are on disk: the first three groups little-endian.
const METADATA_REGION: [u8; 16] = [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
const FILE_PARAMETERS: [u8; 16] = [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
const VIRTUAL_DISK_SIZE: [u8; 16] = [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
/// In the file parameters' flags (2.6.2.1).
const HAS_PARENT: u32 = 1 << 1;

pub fn read(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    bytes.expect(0, b"vhdxfile")?;
    let metadata = REGION_TABLES.iter().find_map(|table| region(bytes, *table).transpose()).transpose()?;
    let metadata = metadata.ok_or(HeaderError::Magic(bytes.format))?;
    bytes.expect(metadata, b"metadata")?;
    let parameters = item(bytes, metadata, &FILE_PARAMETERS)?;
    if bytes.u32_le(at(bytes, parameters, 4)?)? & HAS_PARENT != 0 {
        return Err(HeaderError::Unsupported("the difference to a parent disk (a Hyper-V checkpoint)"));
    }
    let virtual_size = bytes.u64_le(item(bytes, metadata, &VIRTUAL_DISK_SIZE)?)?;
    Ok(Header { virtual_size, ..Header::default() })
}

/// Where the metadata region is, by the region table at `table`; `None` if that copy is not valid.
fn region(bytes: &Bytes<'_>, table: u64) -> Result<Option<u64>, HeaderError> {
    if bytes.array(table)? != *b"regi" {
        return Ok(None);
    }
    let count = bytes.u32_le(at(bytes, table, 8)?)?;
    match entry(bytes, table, REGION_HEADER, count.into(), &METADATA_REGION)? {
        Some(entry) => bytes.u64_le(at(bytes, entry, 16)?).map(Some),
        None => Ok(None),
    }
}

fn item(bytes: &Bytes<'_>, metadata: u64, guid: &[u8; 16]) -> Result<u64, HeaderError> {
    let count = bytes.u16_le(at(bytes, metadata, 10)?)?;
    let entry =
        entry(bytes, metadata, METADATA_HEADER, count.into(), guid)?.ok_or_else(|| bytes.invalid("the number of items", count.into()))?;
    let offset = bytes.u32_le(at(bytes, entry, 16)?)?;
    at(bytes, metadata, offset.into())
}

/// Where the entry with `guid` is in a table.
fn entry(bytes: &Bytes<'_>, table: u64, header: u64, count: u64, guid: &[u8; 16]) -> Result<Option<u64>, HeaderError> {
    if count > ENTRY_LIMIT {
        return Err(bytes.invalid("the number of entries", count));
    }
    let mut offset = at(bytes, table, header)?;
    for _ in 0..count {
        if bytes.array::<16>(offset)? == *guid {
            return Ok(Some(offset));
        }
        offset = at(bytes, offset, ENTRY)?;
    }
    Ok(None)
}

fn at(bytes: &Bytes<'_>, base: u64, offset: u64) -> Result<u64, HeaderError> {
    base.checked_add(offset).ok_or_else(|| bytes.invalid("an offset", base))
}
