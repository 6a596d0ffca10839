//! Frames over a stream socket: each has its length before it, four bytes, the highest first (passt(1), "QEMU stream socket").

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

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
    /// What is still to be written.
    backlog: Vec<u8>,
}

impl FrameStream {
    /// Frames on this socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, read: vec![0; READ_SIZE], taken: 0, end: 0, backlog: Vec::new() }
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
            // The beginning of a frame, whose rest comes.
            self.read.copy_within(self.taken..self.end, 0);
            self.end -= std::mem::take(&mut self.taken);
            let received = rustix::net::recv(&self.socket, &mut self.read[self.end..], RecvFlags::DONTWAIT);
            self.end += received.as_ref().map_or(0, |(length, _)| *length);
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
        let length = length.to_be_bytes();
        let parts = [IoSlice::new(&length), IoSlice::new(frame)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match rustix::net::sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        // What the socket did not take.
        let (length, frame) = (length.get(sent..).unwrap_or_default(), frame.get(sent.saturating_sub(LENGTH_SIZE)..).unwrap_or_default());
        self.backlog.extend(length);
        self.backlog.extend(frame);
        Ok(())
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
