//! The pixels of a head: in memory that is shared with whoever draws, or in bytes of our own.
//!
//! Shared memory is read with `pread`, not mapped. The file belongs to a process that we do not trust; it can be made smaller at any moment,
//! also between a look at its size and the use of a mapping, which would then end this process with SIGBUS. Where the file is not sealed
//! against that (QEMU's are not, and cannot be sealed from here), only a signal handler could save a mapping. A viewer copies what was
//! damaged in any case, to its own buffer or to a texture; `pread` is that copy, straight from the page cache, and a file that is too short
//! is an error like any other.

use super::{Rect, Size};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// How pixels lie in memory: the order of their bytes, or of the bits of a 16-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Blue, green, red, and a byte of nothing: what nearly everything draws.
    Bgrx,
    /// Red, green, blue, and a byte of nothing.
    Rgbx,
    /// A byte of nothing, red, green, blue.
    Xrgb,
    /// A byte of nothing, blue, green, red.
    Xbgr,
    /// Blue, green, red.
    Bgr,
    /// Red, green, blue.
    Rgb,
    /// Sixteen bits in the host's order: five of red, six of green, five of blue.
    Rgb565,
    /// Sixteen bits in the host's order: one of nothing, five of each colour.
    Rgb555,
}

impl Format {
    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bgrx | Self::Rgbx | Self::Xrgb | Self::Xbgr => 4,
            Self::Bgr | Self::Rgb => 3,
            Self::Rgb565 | Self::Rgb555 => 2,
        }
    }

    /// Red, green and blue of one pixel of [`Self::bytes`] bytes; black where there are fewer.
    pub fn rgb(self, pixel: &[u8]) -> [u8; 3] {
        let spread = |value: u16, bits: u32| -> u8 {
            let most = (1u32 << bits) - 1;
            u8::try_from((u32::from(value) & most) * 255 / most).unwrap_or(u8::MAX)
        };
        match (self, pixel) {
            (Self::Bgrx | Self::Bgr, &[b, g, r, ..]) | (Self::Rgbx | Self::Rgb, &[r, g, b, ..]) => [r, g, b],
            (Self::Xrgb, &[_, r, g, b, ..]) | (Self::Xbgr, &[_, b, g, r, ..]) => [r, g, b],
            (Self::Rgb565, &[one, two, ..]) => {
                let value = u16::from_ne_bytes([one, two]);
                [spread(value >> 11, 5), spread(value >> 5, 6), spread(value, 5)]
            }
            (Self::Rgb555, &[one, two, ..]) => {
                let value = u16::from_ne_bytes([one, two]);
                [spread(value >> 10, 5), spread(value >> 5, 5), spread(value, 5)]
            }
            _ => [0; 3],
        }
    }
}

/// Why something cannot be a surface.
#[derive(Debug, thiserror::Error)]
pub enum SurfaceError {
    /// Rows overlap, or are absurdly far apart.
    #[error("Rows of {width} pixels cannot be {stride} bytes apart")]
    Stride {
        /// Columns.
        width: u32,
        /// Bytes from row to row.
        stride: u32,
    },
    /// There are fewer bytes than pixels.
    #[error("The picture ends at byte {needed}, and there are {available}")]
    TooShort {
        /// Where it ends.
        needed: u64,
        /// How many bytes there are.
        available: u64,
    },
    /// It is not memory.
    #[error("What is shared is not memory")]
    NotMemory,
    /// The system refused to say what it is.
    #[error("Cannot look at the shared memory")]
    Io(#[from] io::Error),
}

#[derive(Debug)]
enum Memory {
    Shared { file: File, offset: u64 },
    Bytes(Mutex<Vec<u8>>),
}

/// The pixels of a head, in whose memory they ever are.
#[derive(Debug)]
pub struct Surface {
    size: Size,
    format: Format,
    stride: usize,
    memory: Memory,
}

/// The furthest that rows may be apart, in bytes: a window into a surface of the longest side with the largest pixels.
const MAX_STRIDE: u32 = super::MAX_SIDE * 4;

impl Surface {
    /// Pixels in shared memory, `offset` bytes from its beginning, with rows `stride` bytes apart.
    ///
    /// # Errors
    /// [`SurfaceError`] where they cannot all be there now. They may be gone later: then [`Self::read`] says so.
    pub fn shared(memory: OwnedFd, offset: u64, size: Size, stride: u32, format: Format) -> Result<Self, SurfaceError> {
        check_stride(size, stride, format)?;
        let file = File::from(memory);
        let metadata = file.metadata()?;
        // Reading anything else could take for ever: a pipe, a device, a file on a file system that answers when it likes.
        if !metadata.is_file() || !is_memory(&file)? {
            return Err(SurfaceError::NotMemory);
        }
        let needed = offset.checked_add(length(size, stride, format));
        if needed.is_none_or(|needed| needed > metadata.len()) {
            return Err(SurfaceError::TooShort { needed: needed.unwrap_or(u64::MAX), available: metadata.len() });
        }
        Ok(Self { size, format, stride: stride as usize, memory: Memory::Shared { file, offset } })
    }

    /// Pixels in bytes of our own, with rows `stride` bytes apart.
    ///
    /// # Errors
    /// [`SurfaceError`] where there are too few.
    pub fn bytes(bytes: Vec<u8>, size: Size, stride: u32, format: Format) -> Result<Self, SurfaceError> {
        check_stride(size, stride, format)?;
        let needed = length(size, stride, format);
        if (bytes.len() as u64) < needed {
            return Err(SurfaceError::TooShort { needed, available: bytes.len() as u64 });
        }
        Ok(Self { size, format, stride: stride as usize, memory: Memory::Bytes(Mutex::new(bytes)) })
    }

    /// How large it is.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// How its pixels lie in memory.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether it is shared with whoever draws, so that it may change while it is read.
    pub const fn is_shared(&self) -> bool {
        matches!(self.memory, Memory::Shared { .. })
    }

    /// The memory that it shares, where it does: the file, where the pixels begin, and the bytes from row to row. Whoever maps it must cope
    /// with a file that becomes shorter.
    pub const fn memory(&self) -> Option<(&File, u64, usize)> {
        match &self.memory {
            Memory::Shared { file, offset } => Some((file, *offset, self.stride)),
            Memory::Bytes(_) => None,
        }
    }

    /// Copies part of it: rows of `rect.width` pixels in its own format, `stride` bytes apart in `target`. What lies outside is left as it is.
    ///
    /// # Errors
    /// `InvalidInput` where `target` is too small; `UnexpectedEof` where the shared memory has been made smaller.
    pub fn read(&self, rect: Rect, target: &mut [u8], stride: usize) -> io::Result<()> {
        let Some(rect) = Rect::within(self.size, rect.x.into(), rect.y.into(), rect.width.into(), rect.height.into()) else {
            return Ok(());
        };
        let row = rect.width as usize * self.format.bytes();
        let rows = rect.height as usize;
        let needed = stride.checked_mul(rows - 1).and_then(|bytes| bytes.checked_add(row));
        if stride < row || needed.is_none_or(|needed| needed > target.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the target is smaller than the picture"));
        }
        let start = rect.y as usize * self.stride + rect.x as usize * self.format.bytes();
        match &self.memory {
            Memory::Shared { file, offset } => {
                // In one piece where the rows are as far apart here as there, and nothing that anybody else put between them is lost.
                if stride == self.stride && row == stride {
                    return file.read_exact_at(target.get_mut(..row * rows).unwrap_or_default(), offset + start as u64);
                }
                for (index, piece) in target.chunks_mut(stride).take(rows).enumerate() {
                    let at = offset + (start + index * self.stride) as u64;
                    file.read_exact_at(piece.get_mut(..row).unwrap_or_default(), at)?;
                }
            }
            Memory::Bytes(bytes) => {
                let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                for (index, piece) in target.chunks_mut(stride).take(rows).enumerate() {
                    let at = start + index * self.stride;
                    let source = bytes.get(at..at + row).ok_or(io::ErrorKind::UnexpectedEof)?;
                    piece.get_mut(..row).unwrap_or_default().copy_from_slice(source);
                }
            }
        }
        Ok(())
    }

    /// Puts a picture of `width` times `height` pixels in this surface's own format, with rows `stride` bytes apart, at `(x, y)` of a surface
    /// that is ours. Returns what has changed; nothing where the picture is outside, or this surface is another's.
    ///
    /// # Errors
    /// [`SurfaceError`] where there are fewer bytes than pixels.
    pub fn write(&self, x: i64, y: i64, picture: Size, data: &[u8], stride: u32) -> Result<Option<Rect>, SurfaceError> {
        check_stride(picture, stride, self.format)?;
        let needed = length(picture, stride, self.format);
        if (data.len() as u64) < needed {
            return Err(SurfaceError::TooShort { needed, available: data.len() as u64 });
        }
        let Memory::Bytes(bytes) = &self.memory else { return Ok(None) };
        let Some(rect) = Rect::within(self.size, x, y, picture.width.into(), picture.height.into()) else { return Ok(None) };
        // What is cut off above and to the left is skipped in the picture.
        let skip = |cut: i64| usize::try_from(-cut.min(0)).unwrap_or(0);
        let (left, above) = (skip(x), skip(y));
        let row = rect.width as usize * self.format.bytes();
        let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..rect.height as usize {
            let from = (above + index) * stride as usize + left * self.format.bytes();
            let to = (rect.y as usize + index) * self.stride + rect.x as usize * self.format.bytes();
            if let (Some(source), Some(target)) = (data.get(from..from + row), bytes.get_mut(to..to + row)) {
                target.copy_from_slice(source);
            }
        }
        Ok(Some(rect))
    }

    /// All of it, three bytes a pixel: red, green, blue; row by row without gaps.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn to_rgb(&self) -> io::Result<Vec<u8>> {
        let row = self.size.width as usize * self.format.bytes();
        let mut raw = vec![0; row * self.size.height as usize];
        self.read(self.size.whole(), &mut raw, row)?;
        Ok(raw.chunks_exact(self.format.bytes()).flat_map(|pixel| self.format.rgb(pixel)).collect())
    }
}

/// Bytes from the first of the picture to its last. At most 1 GiB: [`MAX_STRIDE`] times the longest side.
fn length(size: Size, stride: u32, format: Format) -> u64 {
    u64::from(stride) * u64::from(size.height - 1) + u64::from(size.width) * format.bytes() as u64
}

fn check_stride(size: Size, stride: u32, format: Format) -> Result<(), SurfaceError> {
    let row = u64::from(size.width) * format.bytes() as u64;
    if row > u64::from(stride) || stride > MAX_STRIDE {
        return Err(SurfaceError::Stride { width: size.width, stride });
    }
    Ok(())
}

/// Whether a file is one of `memfd_create(2)` or `shm_open(3)`: on `tmpfs` or `hugetlbfs`.
#[cfg(target_os = "linux")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the kernel's numbers have 32 bits, whatever carries them")]
fn is_memory(file: &File) -> io::Result<bool> {
    const TMPFS: u32 = 0x0102_1994;
    const HUGETLBFS: u32 = 0x9584_58f6;
    let system = rustix::fs::fstatfs(file)?;
    Ok([TMPFS, HUGETLBFS].contains(&(system.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn memory(bytes: &[u8]) -> File {
        let mut file = File::from(rustix::fs::memfd_create("surface", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.write_all(bytes).unwrap();
        file
    }

    fn size(width: u32, height: u32) -> Size {
        Size::new(width, height).unwrap()
    }

    #[test]
    fn a_part_is_read_from_either_kind_of_memory() {
        // Four by three pixels in rows of five.
        let bytes: Vec<u8> = (0..60).collect();
        let shared = Surface::shared(memory(&bytes).into(), 0, size(4, 3), 20, Format::Bgrx).unwrap();
        let own = Surface::bytes(bytes, size(4, 3), 20, Format::Bgrx).unwrap();
        for surface in [&shared, &own] {
            let mut target = [0xff; 20];
            surface.read(Rect { x: 1, y: 1, width: 2, height: 2 }, &mut target, 12).unwrap();
            assert_eq!(target[..8], [24, 25, 26, 27, 28, 29, 30, 31]);
            assert_eq!(target[8..12], [0xff; 4], "what lies between the rows of the target stays");
            assert_eq!(target[12..], [44, 45, 46, 47, 48, 49, 50, 51]);
            assert!(surface.read(Rect { x: 0, y: 0, width: 4, height: 3 }, &mut target, 16).is_err());
        }
    }

    #[test]
    fn memory_that_shrinks_is_an_error_and_no_more() {
        let file = memory(&[7; 4096]);
        let surface = Surface::shared(file.try_clone().unwrap().into(), 0, size(32, 32), 128, Format::Bgrx).unwrap();
        assert!(surface.to_rgb().is_ok());
        file.set_len(100).unwrap();
        assert_eq!(surface.to_rgb().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(4096).unwrap();
        assert!(surface.to_rgb().is_ok(), "it may come back");
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        let file = || memory(&[0; 64]).into();
        let shared = |fd, offset, stride| Surface::shared(fd, offset, size(4, 4), stride, Format::Bgrx);
        assert!(matches!(shared(file(), 0, 12), Err(SurfaceError::Stride { .. })));
        assert!(matches!(shared(file(), 0, u32::MAX), Err(SurfaceError::Stride { .. })));
        assert!(matches!(shared(file(), 1, 16), Err(SurfaceError::TooShort { needed: 65, available: 64 })));
        assert!(matches!(shared(file(), u64::MAX, 16), Err(SurfaceError::TooShort { .. })));
        let (pipe, _write) = io::pipe().unwrap();
        assert!(matches!(shared(pipe.into(), 0, 16), Err(SurfaceError::NotMemory)));
        let program = File::open("/proc/self/status").unwrap();
        assert!(matches!(shared(program.into(), 0, 16), Err(SurfaceError::NotMemory)));
    }

    #[test]
    fn pixels_are_understood() {
        assert_eq!(Format::Bgrx.rgb(&[1, 2, 3, 0]), [3, 2, 1]);
        assert_eq!(Format::Xrgb.rgb(&[0, 1, 2, 3]), [1, 2, 3]);
        assert_eq!(Format::Rgb565.rgb(&0xf800u16.to_ne_bytes()), [255, 0, 0]);
        assert_eq!(Format::Rgb555.rgb(&0x03e0u16.to_ne_bytes()), [0, 255, 0]);
        assert_eq!(Format::Rgbx.rgb(&[]), [0; 3]);
    }

    proptest! {
        /// Whatever is written wherever: exactly the part that is inside changes, and nothing panics.
        #[test]
        fn writing_changes_what_it_says(x in -9i64..9, y in -9i64..9, width in 1u32..9, height in 1u32..9, extra in 0u32..9) {
            let surface = Surface::bytes(vec![0; 8 * 8 * 4], size(8, 8), 32, Format::Bgrx).unwrap();
            let picture = size(width, height);
            let stride = width * 4 + extra;
            let data = vec![9; (stride * height) as usize];
            let changed = surface.write(x, y, picture, &data, stride).unwrap();
            prop_assert_eq!(changed, Rect::within(size(8, 8), x, y, width.into(), height.into()));
            let mut now = vec![0; 8 * 8 * 4];
            surface.read(size(8, 8).whole(), &mut now, 32).unwrap();
            let pixels = now.chunks(4).filter(|pixel| pixel == &[9; 4]).count() as u64;
            prop_assert_eq!(pixels, changed.map_or(0, Rect::area));
            prop_assert!(surface.write(x, y, picture, &data[1..], stride).is_err() || extra > 0);
        }
    }
}
