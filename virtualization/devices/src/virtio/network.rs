//! The network card (Virtio 1.2, 5.1): pairs of queues, and what they are connected to.
//!
//! A [`Link`] is the cable: it outlives what is at its other end ([`Frames`]), which can be replaced while the guest runs. What the card
//! offers the guest is decided when the card is made; what another end cannot do then is done here (`segment`).

mod backend;
mod card;
mod control;
mod link;
mod packets;
mod receive;
mod segment;
mod stream;
mod tap;
mod transmit;
mod wire;

use std::io;
use std::sync::Arc;

pub use backend::Backend;
use confinement::{Confinement, Thread};
pub use link::Link;
pub use packets::Packets;
use serde_json::{Value, json};
pub use stream::FrameStream;
pub use tap::Tap;
pub use wire::{Frames, HEADER_SIZE, Offloads, Unplugged};

use self::card::Card;
use self::control::Control;
use self::segment::Left;
pub use super::vhost_user::PATIENCE;
use super::{Activation, Kind, VirtioDevice, feature, parse};
use crate::{EventLoop, Registration};

const QUEUE_SIZE: u16 = 256;
/// Descriptors of the queue for commands.
const CONTROL_SIZE: u16 = 16;

/// Features (5.1.3).
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const MERGEABLE: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CONTROL_QUEUE: u64 = 1 << 17;
const SEVERAL_PAIRS: u64 = 1 << 22;
/// Where the status is in the configuration.
const STATUS_PLACE: u64 = 6;

/// The most pairs of queues.
pub const PAIRS_MAXIMUM: u16 = 16;

/// The device.
pub struct Network {
    link: Arc<Link>,
    /// One for each pair of queues: the machine's for the first, threads of their own for the others.
    events: Vec<Arc<EventLoop>>,
    running: Vec<Registration>,
    address: [u8; 6],
    mtu: u16,
    /// What the guest is offered beyond plain frames.
    offloads: bool,
    /// Features of queues.
    common: u64,
    /// Pairs that the driver used when it was saved.
    saved_pairs: Option<usize>,
}

impl Network {
    /// A card on this link with this address, this maximum transmission unit in bytes, and this many pairs of queues, 1 to
    /// [`PAIRS_MAXIMUM`]. The first pair is served by this loop.
    ///
    /// # Errors
    /// Where there are no threads left.
    pub fn new(
        link: Arc<Link>,
        address: [u8; 6],
        mtu: u16,
        pairs: u16,
        events: Arc<EventLoop>,
        confinement: &Confinement,
    ) -> io::Result<Self> {
        let another = |_| Ok(Arc::new(EventLoop::new("vm-network", Thread::Network, confinement)?));
        let more = (1..pairs.clamp(1, PAIRS_MAXIMUM)).map(another);
        let events = std::iter::once(Ok(events)).chain(more).collect::<io::Result<Vec<_>>>()?;
        let (offloads, common) = (link.has_offloads(), link.common_features());
        Ok(Self { link, events, running: Vec::new(), address, mtu, offloads, common, saved_pairs: None })
    }

    fn pairs(&self) -> u16 {
        // There are at most PAIRS_MAXIMUM.
        self.events.len() as u16
    }
}

impl VirtioDevice for Network {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn features(&self) -> u64 {
        let offloads = CSUM | HOST_TSO4 | HOST_TSO6 | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6;
        let several = CONTROL_QUEUE | SEVERAL_PAIRS;
        MTU | MAC | STATUS | MERGEABLE | if self.offloads { offloads } else { 0 } | if self.pairs() > 1 { several } else { 0 }
    }

    fn common_features(&self) -> u64 {
        self.common
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![QUEUE_SIZE; 2 * self.events.len()];
        if self.pairs() > 1 {
            sizes.push(CONTROL_SIZE);
        }
        sizes
    }

    fn configuration(&self) -> Vec<u8> {
        // `struct virtio_net_config`: address, status (1: the link is up), pairs of queues, maximum transmission unit.
        let status = u16::from(self.link.is_seen());
        [&self.address[..], &status.to_le_bytes(), &self.pairs().to_le_bytes(), &self.mtu.to_le_bytes()].concat()
    }

    fn configuration_was_read(&self, offset: u64, length: usize) {
        if offset <= STATUS_PLACE && STATUS_PLACE < offset.saturating_add(length as u64) {
            self.link.was_looked_at();
        }
    }

    fn save(&mut self) -> io::Result<Value> {
        Ok(json!((self.mtu, self.link.enabled())))
    }

    fn restore(&mut self, state: &Value) -> io::Result<()> {
        let (saved, pairs) = parse::<(u16, usize)>(state)?;
        let now = self.mtu;
        if saved != now {
            let message = format!("it had a maximum transmission unit of {saved} bytes, and now has one of {now}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.saved_pairs = Some(pairs);
        Ok(())
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Activation { queues, failure, features } = activation;
        let offloads =
            Offloads { checksum: features & GUEST_CSUM != 0, tcp4: features & GUEST_TSO4 != 0, tcp6: features & GUEST_TSO6 != 0 };
        // A driver that knows one pair has its commands, if any, after that one (5.1.2).
        let pairs = if features & SEVERAL_PAIRS != 0 { self.pairs() } else { 1 };
        let changed = self.link.begin(usize::from(pairs), offloads, failure.clone())?;
        if let Some(pairs) = self.saved_pairs.take() {
            self.link.go_on(pairs);
        }
        let left = Left { checksum: features & CSUM != 0, tcp4: features & HOST_TSO4 != 0, tcp6: features & HOST_TSO6 != 0 };
        let agreed = (features, left);
        let mut queues: std::collections::BTreeMap<u16, _> = queues.into_iter().collect();
        for (pair, (changed, events)) in (0..pairs).zip(changed.into_iter().zip(&self.events)) {
            let (Some(receive), Some(transmit)) = (queues.remove(&(pair * 2)), queues.remove(&(pair * 2 + 1))) else { continue };
            let card = Card::new(pair.into(), (receive, transmit), Arc::clone(&self.link), changed, failure.clone(), agreed);
            self.running.push(events.add(card, Card::begin)?);
        }
        if let (Some(queue), Some(events)) = (queues.remove(&(pairs * 2)), self.events.first()) {
            let control = Control::new(queue, Arc::clone(&self.link), failure);
            self.running.push(events.add(control, Control::begin)?);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.running.clear();
        self.link.end();
    }

    fn pause(&self) {
        self.events.iter().skip(1).for_each(|events| events.pause());
        self.link.pause();
    }

    fn resume(&self) {
        self.link.resume();
        self.events.iter().skip(1).for_each(|events| events.resume());
    }
}
