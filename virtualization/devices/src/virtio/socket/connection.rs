//! One connection between guest and host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::packet::{Header, NO_RECEIVE, NO_SEND};
use crate::Interest;

/// Bytes from the guest that may wait for the host's program to read them.
pub const ROOM: u32 = 256 << 10;

/// A connection: our end of a pair of sockets, and how much each side may send.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// From the guest, not yet written.
    backlog: Vec<u8>,
    /// Bytes written so far, and what the guest last knew of that.
    forwarded: u32,
    told: u32,
    /// The guest's room, what it has taken out of there, and what was sent to it.
    guest_room: u32,
    guest_forwarded: u32,
    sent: u32,
    /// The host's program sends no more, and the guest knows.
    host_ended: bool,
    /// The guest sends no more.
    guest_ended: bool,
}

/// What came of reading from the host's program.
pub enum Read {
    /// So many bytes.
    Data(usize),
    /// Nothing now.
    Nothing,
    /// Nothing ever again; the flags of the shutdown that says so.
    End(u32),
}

impl Connection {
    /// A connection over this socket; the header is the guest's request or response.
    pub fn new(socket: OwnedFd, header: &Header) -> Self {
        Self {
            socket,
            backlog: Vec::new(),
            forwarded: 0,
            told: 0,
            guest_room: header.room,
            guest_forwarded: header.forwarded,
            sent: 0,
            host_ended: false,
            guest_ended: false,
        }
    }

    /// What to wait with.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for.
    pub fn interest(&self) -> Interest {
        match (!self.host_ended && self.credit() > 0, !self.backlog.is_empty()) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::Nothing,
        }
    }

    /// The guest says how much room it has.
    pub fn update(&mut self, header: &Header) {
        (self.guest_room, self.guest_forwarded) = (header.room, header.forwarded);
    }

    /// Bytes that the guest has room for.
    pub fn credit(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.guest_forwarded);
        self.guest_room.saturating_sub(under_way)
    }

    /// Our room and what was taken out of it, for a header.
    pub fn account(&mut self) -> (u32, u32) {
        self.told = self.forwarded;
        (ROOM, self.forwarded)
    }

    /// Whether the guest should be told that there is room again.
    pub fn owes_credit(&self) -> bool {
        self.forwarded.wrapping_sub(self.told) >= ROOM / 4
    }

    /// Data of the guest's for the host's program.
    ///
    /// # Errors
    /// Where the program is gone, or the guest sends more than there is room for.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.backlog.len() + data.len() > ROOM as usize {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.backlog.extend(data);
        self.flush()
    }

    /// Writes what it can of what the guest sent.
    ///
    /// # Errors
    /// Where the host's program is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.backlog.is_empty() {
            match rustix::net::send(&self.socket, &self.backlog, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.backlog.drain(..count);
                    // No more than ROOM at a time.
                    self.forwarded = self.forwarded.wrapping_add(count as u32);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.guest_ended {
            // The other end may be gone already.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
        Ok(())
    }

    /// The guest sends no more.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn end_of_guest(&mut self) -> io::Result<()> {
        self.guest_ended = true;
        self.flush()
    }

    /// The guest neither sends nor receives: what it sent and is not written yet is all that there is to do. True where there is any.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn end(&mut self) -> io::Result<bool> {
        self.host_ended = true;
        // The other end may be gone already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        self.end_of_guest()?;
        Ok(self.owes_host())
    }

    /// Whether something that the guest sent is still to be written.
    pub fn owes_host(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether the guest has said that it sends no more.
    pub fn has_guest_ended(&self) -> bool {
        self.guest_ended
    }

    /// Whether both sides have ended and nothing is left to be written.
    pub fn is_over(&self) -> bool {
        self.guest_ended && self.host_ended && self.backlog.is_empty()
    }

    /// Reads from the host's program, at most as much as the guest has room for.
    ///
    /// # Errors
    /// Where the program is gone without an end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let most = buffer.len().min(self.credit() as usize);
        if most == 0 || self.host_ended {
            return Ok(Read::Nothing);
        }
        match rustix::net::recv(&self.socket, &mut buffer[..most], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.host_ended = true;
                let mut descriptors = [PollFd::new(&self.socket, PollFlags::OUT)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                let is_gone = rustix::event::poll(&mut descriptors, Some(&now)).is_ok_and(|count| count > 0)
                    && descriptors[0].revents().contains(PollFlags::HUP);
                Ok(Read::End(if is_gone { NO_SEND | NO_RECEIVE } else { NO_SEND }))
            }
            Ok((count, _)) => {
                // No more than the credit, which is a u32.
                self.sent = self.sent.wrapping_add(count as u32);
                Ok(Read::Data(count))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Read::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}
