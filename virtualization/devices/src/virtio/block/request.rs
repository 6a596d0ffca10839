//! A request of the guest, as it is read from a chain (Virtio 1.2, 5.2.6).
//!
//! Why unsafe: a request keeps addresses of guest memory for as long as it is served.
#![allow(unsafe_code)]

use hv::GuestMemory;

use super::vectors::Vectors;
use crate::virtio::{Buffers, Chain};

/// Bytes of a sector, in which places and lengths are counted.
pub const SECTOR: u64 = 512;
/// Parts of a request, and bytes of one, that the guest is told are the most.
pub const SEGMENTS: u32 = 126;
pub const SEGMENT_SIZE: u32 = 1 << 20;
/// Bytes that are read or written by one request at most.
const REQUEST_MAXIMUM: usize = SEGMENTS as usize * SEGMENT_SIZE as usize;
/// Sectors that one discard or write of zeros may name.
pub const RANGE_MAXIMUM: u32 = 1 << 22;

/// Types of requests.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// Answers.
pub const OK: u8 = 0;
pub const IO_ERROR: u8 = 1;
pub const UNSUPPORTED: u8 = 2;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Read into the request's room.
    Read { start: u64 },
    /// Write the request's data.
    Write { start: u64 },
    /// Make lasting what was written.
    Flush,
    /// The serial number.
    Identify,
    /// What is in the range does not matter any longer.
    Discard { start: u64, length: u64 },
    /// The range is to be zeros; its room may be given back.
    WriteZeroes { start: u64, length: u64, may_unmap: bool },
    /// Nothing that can be done: the answer.
    Refuse(u8),
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// The chain that it came in.
    pub head: u16,
    /// What is asked for.
    pub wish: Wish,
    /// Its data, or the room for it.
    pub data: Vectors,
    /// The room for the answer: a byte.
    answer: Vectors,
}

impl Request {
    /// Reads it, for a disk of this many bytes. `Err` with the chain's head where there is no room for an answer.
    ///
    /// # Safety
    /// The memory stays mapped for as long as the request.
    pub unsafe fn read(head: u16, chain: Chain<'_>, memory: &GuestMemory, size: u64) -> Result<Self, u16> {
        let mut buffers = Buffers::of(chain, memory).ok_or(head)?;
        // The answer is the last byte that can be written.
        let room = buffers.writable_length().checked_sub(1).ok_or(head)?;
        let room = buffers.take_writable(room).ok_or(head)?;
        let answer = buffers.take_writable(1).ok_or(head)?;
        let header = buffers.read::<16>();
        let range = |buffers: &mut Buffers<'_>| buffers.read::<16>().filter(|_| buffers.readable_length() == 0);
        let (mut wish, mut data) = (Wish::Refuse(IO_ERROR), Vec::new());
        if let Some(header) = header {
            let [kind, _reserved, low, high] = words(header);
            let sector = u64::from(high) << 32 | u64::from(low);
            match kind {
                IN | OUT => {
                    data = if kind == IN { room } else { buffers.take_readable() };
                    let length = data.iter().map(|part| part.len()).sum::<usize>();
                    match place(sector, length as u64, size).filter(|_| length <= REQUEST_MAXIMUM) {
                        Some(start) if kind == IN => wish = Wish::Read { start },
                        Some(start) => wish = Wish::Write { start },
                        None => {}
                    }
                }
                FLUSH => wish = Wish::Flush,
                GET_ID => (wish, data) = (Wish::Identify, room),
                DISCARD | WRITE_ZEROES => {
                    // One range each (5.2.6.1), as the configuration says.
                    if let Some([low, high, count, flags]) = range(&mut buffers).map(words) {
                        let (sector, length) = (u64::from(high) << 32 | u64::from(low), u64::from(count) * SECTOR);
                        wish = match (kind, flags, place(sector, length, size).filter(|_| count <= RANGE_MAXIMUM)) {
                            (_, _, None) => Wish::Refuse(IO_ERROR),
                            (DISCARD, 0, Some(start)) => Wish::Discard { start, length },
                            (WRITE_ZEROES, 0 | 1, Some(start)) => Wish::WriteZeroes { start, length, may_unmap: flags == 1 },
                            _ => Wish::Refuse(UNSUPPORTED),
                        };
                    }
                }
                _ => wish = Wish::Refuse(UNSUPPORTED),
            }
        }
        // SAFETY: the memory stays mapped for as long as the request.
        let [data, answer] = [data, answer].map(|slices| unsafe { Vectors::of(&slices) });
        Ok(Self { head, wish, data, answer })
    }

    /// Whether it changes what is on the disk.
    pub fn is_change(&self) -> bool {
        matches!(self.wish, Wish::Write { .. } | Wish::Discard { .. } | Wish::WriteZeroes { .. })
    }

    /// Answers it.
    pub fn answer(&self, status: u8) {
        self.answer.write(&[status]);
    }
}

/// Where this many bytes from this sector on begin, if all of them are there.
fn place(sector: u64, length: u64, size: u64) -> Option<u64> {
    let start = sector.checked_mul(SECTOR)?;
    (length.is_multiple_of(SECTOR) && start.checked_add(length)? <= size).then_some(start)
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    std::array::from_fn(|index| u32::from_le_bytes(std::array::from_fn(|byte| bytes[index * 4 + byte])))
}
