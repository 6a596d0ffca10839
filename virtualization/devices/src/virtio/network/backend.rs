//! The other end of a link in another process, which serves the guest's queues itself, over vhost-user.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use hv::GuestMemory;
use rustix::net::RecvFlags;

use super::super::queue::ActiveQueue;
use super::super::vhost_user::{Frontend, Ring};
use super::packets::Packets;
use super::wire::Frames;
use super::{MERGEABLE, feature};

/// A process that serves a card's one pair of queues. It has features of version 1 and perhaps buffers that can be merged; checksums and
/// segments are not left to it.
pub struct Backend {
    frontend: Frontend,
    served: Option<Served>,
}

/// The queues that it serves, or will serve again.
struct Served {
    memory: GuestMemory,
    features: u64,
    rings: Vec<Ring>,
    is_running: bool,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    /// The backend at the other end of this stream socket. It may take `patience` for whatever it is told.
    ///
    /// # Errors
    /// Where it has not what is needed, or does not answer as it should.
    pub fn new(socket: OwnedFd, patience: Duration) -> io::Result<Self> {
        Ok(Self { frontend: Frontend::new(socket, MERGEABLE, patience)?, served: None })
    }

    /// What a driver may use where this serves it, of the features of queues.
    pub(super) fn common_features(&self) -> u64 {
        self.frontend.features() & (feature::EVENT_IDX | feature::INDIRECT_DESC)
    }

    /// Hands over a pair of queues, with what their driver has agreed to.
    pub(super) fn begin(&mut self, features: u64, receive: &ActiveQueue, transmit: &ActiveQueue) -> io::Result<()> {
        let rings = vec![Ring::of(0, receive)?, Ring::of(1, transmit)?];
        // The others are between guest and card.
        let features = features & self.frontend.features();
        self.served = Some(Served { memory: receive.memory().clone(), features, rings, is_running: false });
        self.resume()
    }

    /// It serves them no longer: each has its position.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let paused = self.pause();
        self.served = None;
        paused
    }

    /// It serves them no longer, being of no use: it is not asked anything any more.
    pub(super) fn abandon(&mut self) -> io::Result<()> {
        if let Some(served) = self.served.take() {
            served.rings.iter().for_each(|ring| ring.find_position(&served.memory));
        }
        Ok(())
    }

    /// It serves them again only after [`Self::resume`].
    pub(super) fn pause(&mut self) -> io::Result<()> {
        let Some(served) = self.served.as_mut().filter(|served| served.is_running) else { return Ok(()) };
        served.is_running = false;
        self.frontend.stop(&served.memory, &served.rings)
    }

    /// It goes on where it was.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let Some(served) = self.served.as_mut().filter(|served| !served.is_running) else { return Ok(()) };
        served.is_running = true;
        self.frontend.start(served.features, &served.memory, &served.rings)?;
        // What is there already it need not look for by itself.
        served.rings.iter().for_each(Ring::kick);
        Ok(())
    }
}

impl Frames for Backend {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.frontend.socket()
    }

    /// Nobody asked it anything: what there is to read is its end, or nothing that it should say.
    fn receive(&mut self, _packet: &mut [u8]) -> io::Result<usize> {
        match rustix::net::recv(self.frontend.socket(), &mut [0; 1][..], RecvFlags::DONTWAIT)? {
            (_, 0) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it spoke without being asked")),
        }
    }

    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize> {
        Ok(packets.len())
    }

    fn backend(&mut self) -> Option<&mut Backend> {
        Some(self)
    }
}
