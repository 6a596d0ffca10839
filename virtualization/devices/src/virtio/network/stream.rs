//! Frames over a stream socket: each has its length before it, four bytes, the highest first (passt(1), "QEMU stream socket").

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use vm_memory::VolatileSlice;

use super::packets::{self, Packets};
use super::wire::{FRAME_MAXIMUM, Frames, HEADER_SIZE, plain};

const LENGTH_SIZE: usize = 4;
/// Bytes that are read at once at most: several of the largest frames.
const READ_SIZE: usize = 256 << 10;

/// A connected stream socket with frames on it.
#[derive(Debug)]
pub struct FrameStream {
    socket: OwnedFd,
    /// Room for what is read; what was read and not yet taken is from `taken` to `end`.
    read: Vec<u8>,
    taken: usize,
    end: usize,
    /// The last read had all that there was: there is no more before the socket says so.
    is_drained: bool,
    /// What is still to be written.
    backlog: Vec<u8>,
}

impl FrameStream {
    /// Frames on this socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, read: vec![0; READ_SIZE], taken: 0, end: 0, is_drained: false, backlog: Vec::new() }
    }

    /// A whole frame that was read, if there is one.
    fn take(&mut self, frame: &mut [u8]) -> io::Result<Option<usize>> {
        let Some((length, rest)) = self.read.get(self.taken..self.end).and_then(|bytes| bytes.split_first_chunk::<LENGTH_SIZE>()) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_MAXIMUM {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let place = frame.get_mut(..length).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(bytes);
        self.taken += LENGTH_SIZE + length;
        Ok(Some(length))
    }

    /// Keeps what the socket did not take: all but this many bytes.
    fn keep(&mut self, parts: &[VolatileSlice<'_>], mut sent: usize) {
        for part in parts {
            let taken = sent.min(part.len());
            sent -= taken;
            let start = self.backlog.len();
            self.backlog.resize(start + part.len() - taken, 0);
            // The range lies in the part.
            if let Ok(rest) = part.offset(taken) {
                rest.copy_to(&mut self.backlog[start..]);
            }
        }
    }
}

impl Frames for FrameStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive(&mut self, packet: &mut [u8]) -> io::Result<usize> {
        let frame = plain(packet)?;
        loop {
            if let Some(length) = self.take(frame)? {
                return Ok(HEADER_SIZE + length);
            }
            if std::mem::take(&mut self.is_drained) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // The beginning of a frame, whose rest comes.
            self.read.copy_within(self.taken..self.end, 0);
            self.end -= std::mem::take(&mut self.taken);
            let received = rustix::net::recv(&self.socket, &mut self.read[self.end..], RecvFlags::DONTWAIT);
            self.end += received.as_ref().map_or(0, |(length, _)| *length);
            match received {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.is_drained = self.end < self.read.len(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Each frame goes by a call of its own: several in one made passt of Debian 12 several times slower where both were measured side by
    /// side. Presumably it sees a part of what one call sends and waits for the rest of a frame; that has not been looked into.
    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize> {
        for (index, (frame, bytes)) in packets.iter().enumerate() {
            if self.has_backlog()? {
                return Ok(index);
            }
            let mut length = u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?.to_be_bytes();
            let parts: Vec<_> = std::iter::once(VolatileSlice::from(&mut length[..])).chain(frame.iter().copied()).collect();
            match packets::send(&self.socket, &parts) {
                Ok(sent) => self.keep(&parts, sent),
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::INTR)) => return Ok(index),
                Err(error) => return Err(error),
            }
        }
        Ok(packets.len())
    }

    fn has_backlog(&mut self) -> io::Result<bool> {
        while !self.backlog.is_empty() {
            match rustix::net::send(&self.socket, &self.backlog, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.backlog.drain(..length)),
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}
