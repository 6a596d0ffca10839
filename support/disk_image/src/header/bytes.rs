//! Bounded reading of what is not to be trusted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::HeaderError;
use crate::Format;

/// Bytes that one read takes at most.
const READ_LIMIT: usize = 1 << 20;

/// Something with bytes at offsets.
pub trait ReadAt {
    /// Fills `buffer` or fails with [`io::ErrorKind::UnexpectedEof`].
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An image's bytes, with its format for the errors.
pub struct Bytes<'a> {
    source: &'a dyn ReadAt,
    /// Bytes of the file.
    pub length: u64,
    /// What it is said to be.
    pub format: Format,
}

macro_rules! number {
    ($name:ident, $type:ty, $from:ident) => {
        pub fn $name(&self, offset: u64) -> Result<$type, HeaderError> {
            Ok(<$type>::$from(self.array(offset)?))
        }
    };
}

impl<'a> Bytes<'a> {
    pub fn new(source: &'a dyn ReadAt, length: u64, format: Format) -> Self {
        Self { source, length, format }
    }

    number!(u16_be, u16, from_be_bytes);
    number!(u32_be, u32, from_be_bytes);
    number!(u64_be, u64, from_be_bytes);
    number!(u16_le, u16, from_le_bytes);
    number!(u32_le, u32, from_le_bytes);
    number!(u64_le, u64, from_le_bytes);
    number!(u8, u8, from_be_bytes);

    pub fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub fn vector(&self, offset: u64, length: usize) -> Result<Vec<u8>, HeaderError> {
        if length > READ_LIMIT {
            return Err(self.invalid("a length", length as u64));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// A name that fills its field, or ends at a zero byte.
    pub fn name(&self, offset: u64, length: usize) -> Result<String, HeaderError> {
        let mut bytes = self.vector(offset, length)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        let name = String::from_utf8(bytes).map_err(|_| HeaderError::Name)?;
        if name.is_empty() { Err(HeaderError::Name) } else { Ok(name) }
    }

    pub fn expect(&self, offset: u64, magic: &[u8]) -> Result<(), HeaderError> {
        if self.vector(offset, magic.len())? == magic { Ok(()) } else { Err(HeaderError::Magic(self.format)) }
    }

    pub fn invalid(&self, field: &'static str, value: u64) -> HeaderError {
        HeaderError::Invalid { format: self.format, field, value }
    }

    /// Sectors of 512 bytes as bytes.
    pub fn sectors(&self, count: u64) -> Result<u64, HeaderError> {
        count.checked_mul(512).ok_or_else(|| self.invalid("the number of sectors", count))
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), HeaderError> {
        self.source.fill(buffer, offset).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof { HeaderError::Truncated(self.format) } else { HeaderError::Read(error) }
        })
    }
}
