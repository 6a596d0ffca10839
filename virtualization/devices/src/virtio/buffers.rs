//! What a chain of descriptors holds: bytes for the device, then room for its answer.

use std::collections::VecDeque;

use hv::GuestMemory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::queue::Chain;

/// Parts that a chain has at most: what the largest queue has descriptors, and a system call takes. A table of descriptors could have many
/// more, which a driver must not make use of (Virtio 1.2, 2.7.5.3.1).
const PARTS_MAXIMUM: usize = 1024;

/// The parts of a chain, in order. What is taken from them is gone.
#[derive(Debug, Default, Clone)]
pub struct Buffers<'a> {
    readable: VecDeque<VolatileSlice<'a>>,
    writable: VecDeque<VolatileSlice<'a>>,
}

impl<'a> Buffers<'a> {
    /// The parts of a chain; `None` where it makes no sense: a part outside memory, something to read after room to write, or
    /// too many of them.
    pub fn of(chain: Chain<'a>, memory: &'a GuestMemory) -> Option<Self> {
        let mut buffers = Self::default();
        for descriptor in chain {
            let length = usize::try_from(descriptor.len()).ok()?;
            let slice = memory.get_slice(GuestAddress(descriptor.addr().0), length).ok()?;
            if descriptor.is_write_only() {
                buffers.writable.push_back(slice);
            } else if buffers.writable.is_empty() {
                buffers.readable.push_back(slice);
            } else {
                return None;
            }
            if buffers.readable.len() + buffers.writable.len() > PARTS_MAXIMUM {
                return None;
            }
        }
        Some(buffers)
    }

    /// Bytes that are left to read.
    pub fn readable_length(&self) -> usize {
        length(&self.readable)
    }

    /// Bytes that are left to write.
    pub fn writable_length(&self) -> usize {
        length(&self.writable)
    }

    /// Takes this many bytes.
    pub fn read<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let mut place = &mut bytes[..];
        for part in take(&mut self.readable, N)? {
            let (now, later) = place.split_at_mut(part.len());
            part.copy_to(now);
            place = later;
        }
        Some(bytes)
    }

    /// Takes everything that is left to read.
    pub fn take_readable(&mut self) -> Vec<VolatileSlice<'a>> {
        std::mem::take(&mut self.readable).into()
    }

    /// Takes room for this many bytes.
    pub fn take_writable(&mut self, length: usize) -> Option<Vec<VolatileSlice<'a>>> {
        take(&mut self.writable, length)
    }

    /// Writes bytes; `None`, with nothing written, where there is no room.
    pub fn write(&mut self, mut bytes: &[u8]) -> Option<()> {
        for part in take(&mut self.writable, bytes.len())? {
            let (now, later) = bytes.split_at(part.len());
            part.write_slice(now, 0).ok()?;
            bytes = later;
        }
        Some(())
    }
}

fn length(parts: &VecDeque<VolatileSlice<'_>>) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.len()))
}

/// The first bytes of the parts; `None`, with nothing taken, where there are fewer.
fn take<'a>(parts: &mut VecDeque<VolatileSlice<'a>>, length: usize) -> Option<Vec<VolatileSlice<'a>>> {
    if self::length(parts) < length {
        return None;
    }
    let (mut taken, mut left) = (Vec::new(), length);
    while left > 0 {
        let part = parts.pop_front()?;
        if part.len() > left {
            parts.push_front(part.offset(left).ok()?);
            taken.push(part.subslice(0, left).ok()?);
            break;
        }
        left -= part.len();
        taken.push(part);
    }
    Some(taken)
}
