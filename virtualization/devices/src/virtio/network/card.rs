//! A pair of queues in use: what the guest receives, and what it sends.

use std::io;
use std::sync::Arc;

use hv::{Event, GuestMemory};

use super::super::buffers::Buffers;
use super::super::queue::{ActiveQueue, Failure};
use super::link::{Link, Wire, lock};
use super::segment::{self, Left};
use super::wire::{HEADER_SIZE, PACKET_MAXIMUM};
use crate::{Handler, Interest, Watches};

/// Frames that are taken from the host before other devices have their turn.
const TURN: usize = 128;

/// Tokens.
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;
const WIRE: u32 = 2;
const CHANGED: u32 = 3;

/// The pair.
pub(super) struct Card {
    pair: usize,
    receive: ActiveQueue,
    transmit: ActiveQueue,
    memory: GuestMemory,
    link: Arc<Link>,
    /// What is at the other end of the link now.
    wire: Option<Wire>,
    receives: bool,
    is_watched: bool,
    changed: Event,
    failure: Failure,
    is_mergeable: bool,
    /// What the guest may leave to the card.
    left: Left,
    packet: Vec<u8>,
    /// Room for a packet of the guest's.
    outgoing: Vec<u8>,
    /// Bytes of a packet in `packet` for which the guest has no room yet.
    waiting: Option<usize>,
    /// The wire takes nothing now.
    is_full: bool,
}

/// What ends what: the guest's own doing the device, the host's the connection.
enum Broken {
    Queue(virtio_queue::Error),
    Wire(io::Error),
    Host(io::Error),
}

impl From<virtio_queue::Error> for Broken {
    fn from(error: virtio_queue::Error) -> Self {
        Self::Queue(error)
    }
}

impl Card {
    pub(super) fn new(
        pair: usize,
        (receive, transmit): (ActiveQueue, ActiveQueue),
        link: Arc<Link>,
        changed: Event,
        failure: Failure,
        (is_mergeable, left): (bool, Left),
    ) -> Self {
        let memory = receive.memory().clone();
        let (packet, outgoing) = (vec![0; PACKET_MAXIMUM], vec![0; PACKET_MAXIMUM]);
        let (wire, receives, is_watched, waiting, is_full) = (None, false, false, None, false);
        Self {
            pair,
            receive,
            transmit,
            memory,
            link,
            wire,
            receives,
            is_watched,
            changed,
            failure,
            is_mergeable,
            left,
            packet,
            outgoing,
            waiting,
            is_full,
        }
    }

    pub(super) fn begin(&mut self, watches: &mut Watches) -> io::Result<()> {
        watches.add(RECEIVE, self.receive.doorbell(), Interest::Read)?;
        watches.add(TRANSMIT, self.transmit.doorbell(), Interest::Read)?;
        watches.add(CHANGED, &self.changed, Interest::Read)?;
        self.connect(watches)
    }

    /// Takes over what is at the other end now.
    fn connect(&mut self, watches: &mut Watches) -> io::Result<()> {
        self.unwatch(watches);
        (self.wire, self.receives) = self.link.wire(self.pair).map_or((None, false), |(wire, receives)| (Some(wire), receives));
        self.watch(watches)
    }

    fn unwatch(&mut self, watches: &mut Watches) {
        if std::mem::take(&mut self.is_watched) {
            watches.remove(WIRE);
        }
    }

    /// From the wire to the guest, while it has room.
    fn receive(&mut self) -> Result<(), Broken> {
        let Some(wire) = self.wire.clone().filter(|_| self.receives) else { return Ok(()) };
        let before = self.receive.begin_putting()?;
        let done = self.receive_some(&wire);
        self.receive.end_putting(before)?;
        done
    }

    fn receive_some(&mut self, wire: &Wire) -> Result<(), Broken> {
        for _ in 0..TURN {
            let length = match self.waiting.take() {
                Some(length) => length,
                None => match lock(wire).receive(&mut self.packet) {
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(Broken::Wire(error)),
                },
            };
            let Some(packet) = self.packet.get_mut(..length) else { continue };
            if !self.receive.put(&self.memory, packet, self.is_mergeable)? {
                self.waiting = Some(length);
                return Ok(());
            }
        }
        Ok(())
    }

    /// From the guest to the wire, while that has room.
    fn transmit(&mut self) -> Result<(), Broken> {
        let Some(wire) = self.wire.clone() else { return Ok(()) };
        let mut wire = lock(&wire);
        let mut is_full = wire.has_backlog().map_err(Broken::Wire)?;
        let has_offloads = wire.has_offloads();
        let mut failed = None;
        let (memory, left, room) = (&self.memory, self.left, &mut self.outgoing);
        self.transmit.serve(|chain| {
            if is_full {
                return None;
            }
            let Some(packet) = packet_of(Buffers::of(chain, memory).unwrap_or_default(), room) else { return Some(0) };
            let sent = if has_offloads { wire.send(packet) } else { segment::carry_out(packet, left, |frame| wire.send(frame)) };
            match sent {
                Ok(()) => Some(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_full = true;
                    None
                }
                Err(error) => {
                    failed = Some(error);
                    Some(0)
                }
            }
        })?;
        self.is_full = is_full || wire.has_backlog().map_err(Broken::Wire)?;
        failed.map_or(Ok(()), |error| Err(Broken::Wire(error)))
    }

    /// Waits for what there is to wait for. Where that is nothing, not even a failure is: a queue of a tap that is not in use has failed at
    /// any time.
    fn watch(&mut self, watches: &mut Watches) -> io::Result<()> {
        let interest = match (self.receives && self.waiting.is_none(), self.is_full) {
            (true, false) => Interest::Read,
            (true, true) => Interest::Both,
            (false, true) => Interest::Write,
            (false, false) => {
                self.unwatch(watches);
                return Ok(());
            }
        };
        match &self.wire {
            None => Ok(()),
            Some(_) if self.is_watched => watches.change(WIRE, interest),
            Some(wire) => {
                watches.add(WIRE, lock(wire).descriptor(), interest)?;
                self.is_watched = true;
                Ok(())
            }
        }
    }

    fn serve(&mut self, token: u32, watches: &mut Watches) -> Result<(), Broken> {
        match token {
            RECEIVE => {
                self.receive.doorbell().take();
                self.receive()?;
            }
            TRANSMIT => {
                self.transmit.doorbell().take();
                self.transmit()?;
            }
            CHANGED => {
                self.changed.take();
                self.connect(watches).map_err(Broken::Host)?;
                self.receive()?;
                self.transmit()?;
            }
            _ => {
                self.receive()?;
                // The wire may have room again.
                if self.is_full {
                    self.transmit()?;
                }
            }
        }
        self.watch(watches).map_err(Broken::Host)
    }
}

/// A chain's packet, put into the room; `None` for one that is none.
fn packet_of<'a>(mut buffers: Buffers<'_>, room: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let length = buffers.readable_length();
    if length <= HEADER_SIZE {
        return None;
    }
    let packet = room.get_mut(..length)?;
    let mut place = &mut packet[..];
    for part in buffers.take_readable() {
        let (now, later) = place.split_at_mut(part.len());
        part.copy_to(now);
        place = later;
    }
    Some(packet)
}

impl Handler for Card {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        let broken = match self.serve(token, watches) {
            Ok(()) => return,
            Err(Broken::Wire(error)) => {
                // The guest sees a cable that is not plugged in, and goes on.
                self.unwatch(watches);
                (self.waiting, self.is_full) = (None, false);
                if let Some(wire) = self.wire.take() {
                    self.link.lose(&wire, error);
                }
                return;
            }
            Err(Broken::Queue(error)) => io::Error::other(error),
            Err(Broken::Host(error)) => error,
        };
        for token in [RECEIVE, TRANSMIT, WIRE, CHANGED] {
            watches.remove(token);
        }
        self.failure.fail("network", &broken);
    }
}
