//! A pair of queues in use: what the guest receives, and what it sends.

use std::io;
use std::sync::Arc;

use hv::{Event, GuestMemory};

use super::super::buffers::Buffers;
use super::super::queue::{ActiveQueue, Failure};
use super::MERGEABLE;
use super::backend::Backend;
use super::link::{Link, Wire, lock};
use super::packets::Packets;
use super::segment::{self, Left};
use super::wire::{Frames, HEADER_SIZE, PACKET_MAXIMUM};
use crate::{Handler, Interest, Watches};

/// Frames that are taken from the host before other devices have their turn.
const TURN: usize = 128;
/// Bytes that are sent before others have their turn, and what a chain counts for besides them.
const TURN_BYTES: usize = 512 << 10;
const CHAIN_COST: usize = 4 << 10;
/// Bytes from which on a guest sends much.
const BULK: usize = 16 << 10;

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
    /// What the wire is watched for, where it is.
    watched: Option<Interest>,
    changed: Event,
    failure: Failure,
    /// What the driver and the card have agreed on.
    features: u64,
    /// What the guest may leave to the card.
    left: Left,
    packet: Vec<u8>,
    /// Room for a packet of the guest's.
    outgoing: Vec<u8>,
    /// Bytes of a packet in `packet` for which the guest has no room yet.
    waiting: Option<usize>,
    /// The wire takes nothing now.
    is_full: bool,
    /// What is at the other end serves the queues itself: they are not touched here, and not waited for.
    is_handed_over: bool,
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
        (features, left): (u64, Left),
    ) -> Self {
        let memory = receive.memory().clone();
        let (packet, outgoing) = (vec![0; PACKET_MAXIMUM], vec![0; PACKET_MAXIMUM]);
        let (wire, receives, watched, waiting, is_full) = (None, false, None, None, false);
        Self {
            pair,
            receive,
            transmit,
            memory,
            link,
            wire,
            receives,
            watched,
            changed,
            failure,
            features,
            left,
            packet,
            outgoing,
            waiting,
            is_full,
            is_handed_over: false,
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
        self.take_back(Backend::end, watches)?;
        self.unwatch(watches);
        (self.wire, self.receives) = self.link.wire(self.pair).map_or((None, false), |(wire, receives)| (Some(wire), receives));
        if let Err(error) = self.hand_over(watches) {
            return self.lose(error, watches);
        }
        self.watch(watches)
    }

    /// Gives the queues to what is at the other end, if it serves queues.
    fn hand_over(&mut self, watches: &mut Watches) -> io::Result<()> {
        let Some(wire) = self.wire.clone().filter(|_| self.receives) else { return Ok(()) };
        let mut wire = lock(&wire);
        let Some(backend) = wire.backend() else { return Ok(()) };
        // Their doorbells are for one who listens.
        watches.remove(RECEIVE);
        watches.remove(TRANSMIT);
        self.is_handed_over = true;
        backend.begin(self.features, &self.receive, &self.transmit)
    }

    /// Serves the queues again where they were given to somebody else, who is told so in this way.
    fn take_back(&mut self, end: fn(&mut Backend) -> io::Result<()>, watches: &mut Watches) -> io::Result<()> {
        if !self.is_handed_over {
            return Ok(());
        }
        if let Err(error) = self.end_backend(end) {
            tracing::debug!(%error, "what a network card was connected to did not end as it should");
        }
        for (token, queue) in [(RECEIVE, &mut self.receive), (TRANSMIT, &mut self.transmit)] {
            queue.take_position();
            watches.add(token, queue.doorbell(), Interest::Read)?;
            // What was rung is heard by now, by the other.
            queue.doorbell().signal();
        }
        Ok(())
    }

    fn end_backend(&mut self, end: fn(&mut Backend) -> io::Result<()>) -> io::Result<()> {
        self.is_handed_over = false;
        self.wire.as_ref().and_then(|wire| lock(wire).backend().map(end)).unwrap_or(Ok(()))
    }

    /// What is at the other end is of no use any longer. The guest sees a cable that is not plugged in, and goes on.
    fn lose(&mut self, error: io::Error, watches: &mut Watches) -> io::Result<()> {
        self.take_back(Backend::abandon, watches)?;
        self.unwatch(watches);
        (self.waiting, self.is_full) = (None, false);
        if let Some(wire) = self.wire.take() {
            self.link.lose(&wire, error);
        }
        Ok(())
    }

    fn unwatch(&mut self, watches: &mut Watches) {
        if self.watched.take().is_some() {
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
            if !self.receive.put(&self.memory, packet, self.features & MERGEABLE != 0)? {
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
        self.is_full = wire.has_backlog().map_err(Broken::Wire)?;
        let done = self.transmit_some(&mut **wire);
        self.transmit.interrupt()?;
        done
    }

    fn transmit_some(&mut self, wire: &mut dyn Frames) -> Result<(), Broken> {
        let (memory, left, has_offloads) = (&self.memory, self.left, wire.has_offloads());
        let (mut bytes, mut has_waited) = (0, false);
        while !self.is_full {
            self.transmit.silence(memory)?;
            let mut taken = self.transmit.take_packets(memory, has_offloads)?;
            let chains = taken.len();
            if chains == 0 {
                // Who sends much has more in a moment: others may run until then, and many packets are cheaper together.
                if bytes >= BULK && !std::mem::replace(&mut has_waited, true) {
                    std::thread::yield_now();
                    continue;
                }
                // The guest may have added one between the last look and this.
                if !self.transmit.listen(memory)? {
                    return Ok(());
                }
                continue;
            }
            let sent = if taken.packets.is_empty() { Ok(0) } else { wire.send(&taken.packets) };
            // On a wire that is broken they are lost.
            let (count, failed) = sent.map_or_else(|error| (taken.packets.len(), Some(error)), |count| (count, None));
            self.is_full = !self.transmit.give_back_packets(&taken, count)?;
            if let Some(error) = failed {
                return Err(Broken::Wire(error));
            }
            if let Some((head, buffers)) = taken.demanding.take().filter(|_| !self.is_full) {
                let packet = packet_of(buffers, &mut self.outgoing);
                match packet.map_or(Ok(()), |packet| segment::carry_out(packet, left, |frame| send_one(wire, frame))) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.transmit.leave();
                        self.is_full = true;
                    }
                    other => {
                        self.transmit.give_back(head, 0)?;
                        other.map_err(Broken::Wire)?;
                    }
                }
            }
            self.transmit.interrupt()?;
            self.is_full = self.is_full || wire.has_backlog().map_err(Broken::Wire)?;
            (bytes, has_waited) = (bytes + taken.packets.bytes() + CHAIN_COST * chains, false);
            if bytes >= TURN_BYTES {
                self.transmit.doorbell().signal();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sees whether who serves the queues is still there.
    fn look_after_backend(&mut self) -> Result<(), Broken> {
        let Some(wire) = &self.wire else { return Ok(()) };
        match lock(wire).receive(&mut self.packet) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(Broken::Wire(error)),
            _ => Ok(()),
        }
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
            Some(_) if self.watched == Some(interest) => Ok(()),
            Some(wire) => {
                match self.watched {
                    Some(_) => watches.change(WIRE, interest)?,
                    None => watches.add(WIRE, lock(wire).descriptor(), interest)?,
                }
                self.watched = Some(interest);
                Ok(())
            }
        }
    }

    fn serve(&mut self, token: u32, watches: &mut Watches) -> Result<(), Broken> {
        if token == CHANGED {
            self.changed.take();
            self.connect(watches).map_err(Broken::Host)?;
        }
        if self.is_handed_over {
            return self.look_after_backend();
        }
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

impl Drop for Card {
    fn drop(&mut self) {
        // When the driver is gone nobody touches its queues.
        if self.is_handed_over
            && let Err(error) = self.end_backend(Backend::end)
            && let Some(wire) = self.wire.take()
        {
            self.link.lose(&wire, error);
        }
    }
}

/// Sends a packet whose header asks for nothing on a wire without headers.
fn send_one(wire: &mut dyn Frames, packet: &mut [u8]) -> io::Result<()> {
    match wire.send(&Packets::single(packet.get_mut(HEADER_SIZE..).unwrap_or_default()))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
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
            Err(Broken::Wire(error)) => match self.lose(error, watches) {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(Broken::Queue(error)) => io::Error::other(error),
            Err(Broken::Host(error)) => error,
        };
        for token in [RECEIVE, TRANSMIT, WIRE, CHANGED] {
            watches.remove(token);
        }
        self.failure.fail("network", &broken);
    }
}
