//! Packets out of the guest's buffers, as many at once as there are.

use hv::GuestMemory;
use virtio_queue::{Error, QueueOwnedT, QueueT};

use super::super::buffers::Buffers;
use super::super::queue::{ActiveQueue, next};
use super::packets::{PARTS_MAXIMUM, Packets};
use super::wire::{HEADER_SIZE, PACKET_MAXIMUM};

/// Bytes, and chains, from which on packets are sent: who takes them is not to wait until the guest has no more.
const BYTES: usize = 256 << 10;
const COUNT: usize = 64;
/// The flag of a header, its first byte, that asks for a checksum; the second asks for segments (Virtio 1.2, 5.1.6).
const NEEDS_CHECKSUM: u8 = 1;

/// Chains that were taken together.
#[derive(Debug, Default)]
pub(super) struct Taken<'a> {
    pub packets: Packets<'a>,
    /// Where each chain begins, and whether it has a packet: some have none.
    chains: Vec<(u16, bool)>,
    /// A packet that asks for something which the wire does not do, after all of them.
    pub demanding: Option<(u16, Buffers<'a>)>,
}

impl Taken<'_> {
    /// How many chains there were.
    pub fn len(&self) -> usize {
        self.chains.len() + usize::from(self.demanding.is_some())
    }
}

impl ActiveQueue {
    /// The guest need not say that there is more.
    pub(super) fn silence(&mut self, memory: &GuestMemory) -> Result<(), Error> {
        self.queue.disable_notification(memory)
    }

    /// The guest is to say it again; true where there is more already.
    pub(super) fn listen(&mut self, memory: &GuestMemory) -> Result<bool, Error> {
        self.queue.enable_notification(memory)
    }

    /// Goes on where somebody else was, who has served it meanwhile.
    pub(super) fn take_position(&mut self) {
        let (available, used) = self.position.get();
        self.queue.set_next_avail(available);
        self.queue.set_next_used(used);
    }

    /// Leaves the last chain that was taken for later.
    pub(super) fn leave(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Takes chains for a wire that does what headers ask for, or for one that does not and gets frames without headers. None of them is
    /// given back.
    ///
    /// # Errors
    /// Where the queue itself makes no sense.
    pub(super) fn take_packets<'a>(&mut self, memory: &'a GuestMemory, has_offloads: bool) -> Result<Taken<'a>, Error> {
        let mut taken = Taken::default();
        while taken.chains.len() < COUNT && taken.packets.bytes() < BYTES && taken.packets.part_count() < PARTS_MAXIMUM / 2 {
            let Some(chain) = next(&mut self.queue, memory)? else { break };
            let head = chain.head_index();
            let mut buffers = Buffers::of(chain, memory).unwrap_or_default();
            let is_packet = (HEADER_SIZE + 1..=PACKET_MAXIMUM).contains(&buffers.readable_length());
            if is_packet && !has_offloads {
                let header = buffers.clone().read::<HEADER_SIZE>();
                if header.is_none_or(|[flags, kind, ..]| flags & NEEDS_CHECKSUM != 0 || kind != 0) {
                    taken.demanding = Some((head, buffers));
                    break;
                }
                buffers.read::<HEADER_SIZE>();
            }
            if is_packet {
                taken.packets.push(buffers.take_readable());
            }
            taken.chains.push((head, is_packet));
        }
        Ok(taken)
    }

    /// Gives back what was taken and sent, so many packets, and leaves the rest for later. Returns whether that was all.
    ///
    /// # Errors
    /// As [`Self::take_packets`].
    pub(super) fn give_back_packets(&mut self, taken: &Taken<'_>, sent: usize) -> Result<bool, Error> {
        let (mut left, mut given) = (sent, 0_u16);
        for (head, is_packet) in &taken.chains {
            if *is_packet {
                let Some(less) = left.checked_sub(1) else { break };
                left = less;
            }
            self.give_back(*head, 0)?;
            given += 1;
        }
        let later = taken.chains.len() as u16 - given;
        if later > 0 {
            let more = later + u16::from(taken.demanding.is_some());
            self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(more));
        }
        Ok(later == 0)
    }
}
