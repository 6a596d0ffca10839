//! Packets on their way out: parts of memory that the host's kernel reads by itself, several packets with one call where it takes that.
//!
//! Why unsafe: the kernel is told addresses. They are those of slices that are borrowed until it has returned.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use vm_memory::VolatileSlice;

/// Parts that the kernel takes at once at most (`UIO_MAXIOV`).
pub(super) const PARTS_MAXIMUM: usize = 1024;

/// Packets, one after the other.
#[derive(Debug, Default)]
pub struct Packets<'a> {
    parts: Vec<VolatileSlice<'a>>,
    /// Where the parts of each of them end, and how many bytes it has.
    ends: Vec<(usize, usize)>,
    /// Bytes of all of them: asked for with every chain that is taken.
    bytes: usize,
}

impl<'a> Packets<'a> {
    /// One alone.
    pub fn single(packet: &'a mut [u8]) -> Self {
        let mut packets = Self::default();
        packets.push([VolatileSlice::from(packet)]);
        packets
    }

    /// Adds one after the others.
    pub fn push(&mut self, parts: impl IntoIterator<Item = VolatileSlice<'a>>) {
        let start = self.parts.len();
        self.parts.extend(parts);
        let length = self.parts.iter().skip(start).map(VolatileSlice::len).sum();
        self.bytes += length;
        self.ends.push((self.parts.len(), length));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Parts of all of them.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of all of them.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The parts of each, and how many bytes they have.
    pub fn iter(&self) -> impl Iterator<Item = (&[VolatileSlice<'a>], usize)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, length))| (self.parts.get(start..*end).unwrap_or_default(), *length))
    }
}

fn vectors(parts: &[VolatileSlice<'_>]) -> Vec<libc::iovec> {
    let vector = |part: &VolatileSlice<'_>| libc::iovec { iov_base: part.ptr_guard_mut().as_ptr().cast(), iov_len: part.len() };
    parts.iter().take(PARTS_MAXIMUM).map(vector).collect()
}

fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Writes these parts at once (writev(2)), the first [`PARTS_MAXIMUM`] of them; returns how many bytes were taken.
pub(super) fn write(descriptor: impl AsFd, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let vectors = vectors(parts);
    // SAFETY: the kernel reads what the vectors name, which is borrowed here; there are at most PARTS_MAXIMUM.
    count(unsafe { libc::writev(descriptor.as_fd().as_raw_fd(), vectors.as_ptr(), vectors.len() as libc::c_int) })
}

/// As [`write`], to where a socket is connected, and without waiting.
pub(super) fn send(socket: impl AsFd, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let mut vectors = vectors(parts);
    // SAFETY: all zeros are a message without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (vectors.as_mut_ptr(), vectors.len());
    // SAFETY: as above, and the message names nothing else.
    count(unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}
