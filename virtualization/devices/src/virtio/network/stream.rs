//! Frames over a stream socket: each has its length before it, four bytes, the highest first (passt(1), "QEMU stream socket").

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::wire::{FRAME_MAXIMUM, Frames, HEADER_SIZE, plain};

const LENGTH_SIZE: usize = 4;
/// Bytes read at once.
const READ_SIZE: usize = 64 << 10;

/// A connected stream socket with frames on it.
#[derive(Debug)]
pub struct FrameStream {
    socket: OwnedFd,
    /// What was read and not yet taken, from `taken` on.
    read: Vec<u8>,
    taken: usize,
    /// What is still to be written.
    backlog: Vec<u8>,
}

impl FrameStream {
    /// Frames on this socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, read: Vec::new(), taken: 0, backlog: Vec::new() }
    }

    /// A whole frame that was read, if there is one.
    fn take(&mut self, frame: &mut [u8]) -> io::Result<Option<usize>> {
        let Some((length, rest)) = self.read.get(self.taken..).and_then(|bytes| bytes.split_first_chunk::<LENGTH_SIZE>()) else {
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
            self.read.drain(..std::mem::take(&mut self.taken));
            let start = self.read.len();
            self.read.resize(start + READ_SIZE, 0);
            let received = rustix::net::recv(&self.socket, &mut self.read[start..], RecvFlags::DONTWAIT);
            self.read.truncate(start + received.as_ref().map_or(0, |(length, _)| *length));
            match received {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        let frame = packet.get(HEADER_SIZE..).unwrap_or_default();
        if self.has_backlog()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.backlog.extend(length.to_be_bytes());
        self.backlog.extend(frame);
        self.has_backlog().map(drop)
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
