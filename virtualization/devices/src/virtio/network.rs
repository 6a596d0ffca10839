//! The network card (Virtio 1.2, 5.1): one pair of queues, frames as they are on the wire.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::buffers::Buffers;
use super::queue::{ActiveQueue, Failure};
use super::{Activation, Kind, VirtioDevice};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

mod stream;

pub use stream::FrameStream;

const QUEUE_SIZE: u16 = 256;
/// Queues: what the guest receives, and what it sends.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Features (5.1.3).
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
const STATUS: u64 = 1 << 16;
/// The link is up.
const LINK_UP: u16 = 1;

/// `struct virtio_net_hdr` (5.1.6), which is before each frame. Without offloads all of it is zero but the number of buffers.
const HEADER_SIZE: usize = 12;
const HEADER: [u8; HEADER_SIZE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// The largest frame: the largest maximum transmission unit, and an Ethernet header with a tag.
pub(crate) const FRAME_MAXIMUM: usize = 65_535 + 18;
/// Frames that are taken from the host before other devices have their turn.
const TURN: usize = 128;

/// The other end of the wire: takes and gives whole Ethernet frames, and never waits.
pub trait Frames: Send {
    /// What to wait with.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The next frame; `WouldBlock` where there is none yet.
    ///
    /// # Errors
    /// Where there never will be one again.
    fn receive(&mut self, frame: &mut [u8]) -> io::Result<usize>;

    /// Sends a frame; `WouldBlock` where there is no room now.
    ///
    /// # Errors
    /// Where there never will be again.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Whether something that was sent is still here, and is to be sent on when there is room.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn has_backlog(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

/// A connected datagram socket; a datagram is a frame.
impl Frames for OwnedFd {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn receive(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&*self, frame, RecvFlags::DONTWAIT)?.0)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match rustix::net::send(&*self, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            // Nobody is there just now, or the frame is larger than the socket takes: frames get lost.
            Err(Errno::CONNREFUSED | Errno::MSGSIZE) => Ok(()),
            Err(Errno::NOBUFS) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The device.
pub struct Network {
    wire: Arc<Mutex<Box<dyn Frames>>>,
    events: Arc<EventLoop>,
    running: Option<Registration>,
    address: [u8; 6],
    mtu: u16,
}

impl Network {
    /// A card with this address, and this maximum transmission unit in bytes, served by this loop.
    pub fn new(wire: Box<dyn Frames>, address: [u8; 6], mtu: u16, events: Arc<EventLoop>) -> Self {
        Self { wire: Arc::new(Mutex::new(wire)), events, running: None, address, mtu }
    }
}

impl VirtioDevice for Network {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn features(&self) -> u64 {
        MTU | MAC | STATUS
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 2]
    }

    fn configuration(&self) -> Vec<u8> {
        // `struct virtio_net_config`: address, status, pairs of queues, maximum transmission unit.
        [&self.address[..], &LINK_UP.to_le_bytes(), &1_u16.to_le_bytes(), &self.mtu.to_le_bytes()].concat()
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Activation { queues, failure, .. } = activation;
        let mut queues = queues.into_iter();
        let (Some((RECEIVE, receive)), Some((TRANSMIT, transmit))) = (queues.next(), queues.next()) else { return Ok(()) };
        let card = Card { receive, transmit, wire: Arc::clone(&self.wire), failure, waiting: None, is_full: false };
        self.running = Some(self.events.add(card, Card::begin)?);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
    }
}

/// The card in use.
struct Card {
    receive: ActiveQueue,
    transmit: ActiveQueue,
    wire: Arc<Mutex<Box<dyn Frames>>>,
    failure: Failure,
    /// A frame for which the guest has no room yet.
    waiting: Option<Vec<u8>>,
    /// The wire takes nothing now.
    is_full: bool,
}

/// Tokens; the queues' are their numbers.
const WIRE: u32 = 2;

fn lock(wire: &Mutex<Box<dyn Frames>>) -> MutexGuard<'_, Box<dyn Frames>> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Card {
    fn begin(&mut self, watches: &mut Watches) -> io::Result<()> {
        watches.add(RECEIVE.into(), self.receive.doorbell(), Interest::Read)?;
        watches.add(TRANSMIT.into(), self.transmit.doorbell(), Interest::Read)?;
        watches.add(WIRE, lock(&self.wire).descriptor(), Interest::Read)
    }

    /// From the wire to the guest, while it has room.
    fn receive(&mut self) -> io::Result<()> {
        let mut frame = vec![0; FRAME_MAXIMUM];
        for _ in 0..TURN {
            let received = match self.waiting.take() {
                Some(frame) => frame,
                None => match lock(&self.wire).receive(&mut frame) {
                    Ok(length) => frame.get(..length).unwrap_or_default().to_vec(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                },
            };
            let memory = self.receive.memory().clone();
            let mut left = Some(received);
            let served = self.receive.serve(|chain| {
                let frame = left.take()?;
                let mut buffers = Buffers::of(chain, &memory).unwrap_or_default();
                let bytes = [&HEADER[..], &frame].concat();
                // A frame that is too large for the guest's buffers is lost, and the buffer with it.
                Some(buffers.write(&bytes).map_or(0, |()| bytes.len() as u32))
            });
            served.map_err(io::Error::other)?;
            if left.is_some() {
                self.waiting = left;
                return Ok(());
            }
        }
        Ok(())
    }

    /// From the guest to the wire, while that has room.
    fn transmit(&mut self) -> io::Result<()> {
        let memory = self.transmit.memory().clone();
        let mut wire = lock(&self.wire);
        self.is_full = wire.has_backlog()?;
        let mut failed = None;
        let served = self.transmit.serve(|chain| {
            if self.is_full {
                return None;
            }
            let frame = frame_of(Buffers::of(chain, &memory).unwrap_or_default());
            match frame.map_or(Ok(()), |frame| wire.send(&frame)) {
                Ok(()) => Some(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_full = true;
                    None
                }
                Err(error) => {
                    failed = Some(error);
                    Some(0)
                }
            }
        });
        served.map_err(io::Error::other)?;
        self.is_full = self.is_full || wire.has_backlog()?;
        failed.map_or(Ok(()), Err)
    }

    /// Waits for what there is to wait for.
    fn watch(&self, watches: &mut Watches) -> io::Result<()> {
        match (self.waiting.is_none(), self.is_full) {
            (true, false) => watches.change(WIRE, Interest::Read),
            (true, true) => watches.change(WIRE, Interest::Both),
            (false, true) => watches.change(WIRE, Interest::Write),
            (false, false) => watches.change(WIRE, Interest::Nothing),
        }
    }
}

/// The frame of a chain; `None` for one that is none.
fn frame_of(mut buffers: Buffers<'_>) -> Option<Vec<u8>> {
    buffers.read::<HEADER_SIZE>()?;
    let length = buffers.readable_length();
    if length == 0 || length > FRAME_MAXIMUM {
        return None;
    }
    let mut frame = Vec::with_capacity(length);
    for part in buffers.take_readable() {
        let start = frame.len();
        frame.resize(start + part.len(), 0);
        part.copy_to(&mut frame[start..]);
    }
    Some(frame)
}

impl Handler for Card {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        if token == u32::from(RECEIVE) {
            self.receive.doorbell().take();
        } else if token == u32::from(TRANSMIT) {
            self.transmit.doorbell().take();
        }
        let done = if token == u32::from(TRANSMIT) { self.transmit() } else { self.receive() };
        // The wire may have room again.
        let done = done.and_then(|()| if token == WIRE && self.is_full { self.transmit() } else { Ok(()) });
        if let Err(error) = done.and_then(|()| self.watch(watches)) {
            for token in [RECEIVE.into(), TRANSMIT.into(), WIRE] {
                watches.remove(token);
            }
            self.failure.fail("network", &error);
        }
    }
}
