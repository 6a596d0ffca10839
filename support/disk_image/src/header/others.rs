//! VirtualBox's VDI, Virtual PC's VHD, QED, Parallels' and Apple's disks: formats whose header is one table.

use super::bytes::Bytes;
use super::{Header, HeaderError};

/// VDI. Numbers are little-endian.
pub fn vdi(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    bytes.expect(0x40, &[0x7f, 0x10, 0xda, 0xbe])?;
    match bytes.u32_le(0x4c)? {
        // Growing, and allocated at once.
        1 | 2 => Ok(Header { virtual_size: bytes.u64_le(0x170)?, ..Header::default() }),
        3 | 4 => Err(HeaderError::Unsupported("the difference to a parent disk (a VirtualBox snapshot)")),
        kind => Err(bytes.invalid("the type", kind.into())),
    }
}

/// Whether these 512 bytes are the footer of a VHD (Microsoft, "Virtual Hard Disk Image Format Specification"), by their sum.
pub fn is_vpc_footer(footer: &[u8; 512]) -> bool {
    // The sum is at 64 to 67, and leaves itself out.
    let (Some(before), Some(sum), Some(after)) = (footer.get(..64), footer.get(64..68), footer.get(68..)) else { return false };
    let counted: u32 = before.iter().chain(after).map(|byte| u32::from(*byte)).sum();
    footer.starts_with(b"conectix") && sum == (!counted).to_be_bytes()
}

/// VHD. Numbers are big-endian. A growing disk begins with a copy of the footer, a fixed one has only the footer at its end.
pub fn vpc(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    let footer = if bytes.array(0)? == *b"conectix" { 0 } else { bytes.length.saturating_sub(512) };
    if !is_vpc_footer(&bytes.array(footer)?) {
        return Err(HeaderError::Magic(bytes.format));
    }
    let field = |offset: u64| footer.saturating_add(offset);
    match bytes.u32_be(field(60))? {
        2 | 3 => {}
        4 => return Err(HeaderError::Unsupported("the difference to a parent disk (a checkpoint)")),
        kind => return Err(bytes.invalid("the type", kind.into())),
    }
    let (cylinders, heads, sectors) = (bytes.u16_be(field(56))?, bytes.u8(field(58))?, bytes.u8(field(59))?);
    let geometry = u64::from(cylinders).saturating_mul(heads.into()).saturating_mul(sectors.into());
    // Virtual PC, and QEMU after it, go by the geometry where it can express the size; other programs by the size.
    let by_geometry = matches!(&bytes.array(field(28))?, b"vpc " | b"qemu") && geometry < u64::from(u16::MAX) * 16 * 255;
    let virtual_size = if by_geometry { bytes.sectors(geometry)? } else { bytes.u64_be(field(48))? };
    Ok(Header { virtual_size, ..Header::default() })
}

/// QEMU Enhanced Disk (docs/interop/qed_spec.rst of QEMU's documentation). Numbers are little-endian.
pub fn qed(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    const HAS_BACKING: u64 = 1;
    const NEEDS_CHECK: u64 = 1 << 1;
    const BACKING_IS_RAW: u64 = 1 << 2;
    bytes.expect(0, b"QED\0")?;
    let features = bytes.u64_le(16)?;
    let mut header = Header { virtual_size: bytes.u64_le(48)?, dirty: features & NEEDS_CHECK != 0, ..Header::default() };
    if features & HAS_BACKING != 0 {
        let (offset, size) = (bytes.u32_le(56)?, bytes.u32_le(60)?);
        if size > 1023 {
            return Err(bytes.invalid("the length of the backing file's name", size.into()));
        }
        header.backing_file = Some(bytes.name(offset.into(), size as usize)?);
        header.backing_format = (features & BACKING_IS_RAW != 0).then(|| "raw".to_owned());
    }
    Ok(header)
}

/// Parallels (docs/interop/parallels.rst of QEMU's documentation). Numbers are little-endian.
pub fn parallels(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    // The older kind leaves the upper half of the size undefined.
    let sectors = match &bytes.array::<16>(0)? {
        b"WithoutFreeSpace" => u64::from(bytes.u32_le(36)?),
        b"WithouFreSpacExt" => bytes.u64_le(36)?,
        _ => return Err(HeaderError::Magic(bytes.format)),
    };
    Ok(Header { virtual_size: bytes.sectors(sectors)?, ..Header::default() })
}

/// Apple's disk images: the trailer's count of sectors. Numbers are big-endian.
pub fn dmg(bytes: &Bytes<'_>) -> Result<Header, HeaderError> {
    let trailer = bytes.length.saturating_sub(512);
    bytes.expect(trailer, b"koly")?;
    Ok(Header { virtual_size: bytes.sectors(bytes.u64_be(trailer.saturating_add(0x1ec))?)?, ..Header::default() })
}
