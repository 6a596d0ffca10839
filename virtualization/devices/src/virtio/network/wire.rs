//! What is at the other end of a link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hv::Event;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use vm_memory::VolatileSlice;

use super::backend::Backend;
use super::packets::{self, Packets};

/// Bytes of `struct virtio_net_hdr` (Virtio 1.2, 5.1.6), which is before each frame.
pub const HEADER_SIZE: usize = 12;
/// That of a frame for which nothing is left to do: all of it is zero but the number of buffers.
const HEADER: [u8; HEADER_SIZE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// The largest frame: the largest maximum transmission unit, and an Ethernet header with a tag.
pub(crate) const FRAME_MAXIMUM: usize = 65_535 + 18;
/// The largest packet: a frame and its header.
pub(super) const PACKET_MAXIMUM: usize = HEADER_SIZE + FRAME_MAXIMUM;

/// What the guest takes over from whoever sends it frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums that are not yet there.
    pub checksum: bool,
    /// TCP over IPv4 that is not yet cut into segments.
    pub tcp4: bool,
    /// TCP over IPv6 that is not.
    pub tcp6: bool,
}

/// The other end of a link: takes and gives whole Ethernet frames, and never waits. A packet is a header of [`HEADER_SIZE`] bytes and a
/// frame.
pub trait Frames: Send {
    /// What to wait with.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The next packet; `WouldBlock` where there is none yet.
    ///
    /// # Errors
    /// Where there never will be one again.
    fn receive(&mut self, packet: &mut [u8]) -> io::Result<usize>;

    /// Sends packets in this order, and returns how many of them it took: fewer than there are where there is no room now. They have headers
    /// only where [`Self::has_offloads`].
    ///
    /// # Errors
    /// Where there never will be room again.
    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize>;

    /// Whether something that was sent is still here, and is to be sent on when there is room.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn has_backlog(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    /// Whether it does what headers ask for, checksums and segments, and can ask for it.
    fn has_offloads(&self) -> bool {
        false
    }

    /// From now on it may ask the guest for these.
    ///
    /// # Errors
    /// What the host says.
    fn set_offloads(&mut self, _offloads: Offloads) -> io::Result<()> {
        Ok(())
    }

    /// Where it is a process that serves queues itself. It takes and gives no packets then.
    fn backend(&mut self) -> Option<&mut Backend> {
        None
    }

    /// Whether the guest uses this one, of several.
    ///
    /// # Errors
    /// What the host says.
    fn set_enabled(&mut self, _enabled: bool) -> io::Result<()> {
        Ok(())
    }
}

/// The room for a frame after a header that asks for nothing.
pub(super) fn plain(packet: &mut [u8]) -> io::Result<&mut [u8]> {
    let (header, frame) = packet.split_at_mut_checked(HEADER_SIZE).ok_or(io::ErrorKind::InvalidInput)?;
    header.copy_from_slice(&HEADER);
    Ok(frame)
}

/// Sends packets with a call for each.
pub(super) fn one_by_one(packets: &Packets<'_>, mut send: impl FnMut(&[VolatileSlice<'_>]) -> io::Result<()>) -> io::Result<usize> {
    for (index, (parts, _)) in packets.iter().enumerate() {
        while let Err(error) = send(parts) {
            match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::AGAIN | Errno::NOBUFS) => return Ok(index),
                _ => return Err(error),
            }
        }
    }
    Ok(packets.len())
}

/// A connected datagram socket; a datagram is a frame.
impl Frames for OwnedFd {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn receive(&mut self, packet: &mut [u8]) -> io::Result<usize> {
        Ok(HEADER_SIZE + rustix::net::recv(&*self, plain(packet)?, RecvFlags::DONTWAIT)?.0)
    }

    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize> {
        one_by_one(packets, |parts| match packets::send(&*self, parts) {
            // Nobody is there just now, or the frame is larger than the socket takes: frames get lost.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::CONNREFUSED | Errno::MSGSIZE)) => Ok(()),
            other => other.map(drop),
        })
    }
}

/// Nothing: frames get lost, and none come.
#[derive(Debug)]
pub struct Unplugged(Event);

impl Unplugged {
    /// An end without anything.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        Event::new().map(Self)
    }
}

impl Frames for Unplugged {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn receive(&mut self, _packet: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize> {
        Ok(packets.len())
    }
}
