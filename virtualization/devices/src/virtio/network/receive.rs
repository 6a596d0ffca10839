//! Packets into the guest's buffers. Those that can be merged (Virtio 1.2, 5.1.6.3.1) take as many as they need, which the guest is shown
//! at once, as it counts on all of them when it sees the first.

use std::sync::atomic::{Ordering, fence};

use hv::GuestMemory;
use virtio_queue::{Error, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::super::buffers::Buffers;
use super::super::queue::{ActiveQueue, next};
use super::wire::HEADER_SIZE;

/// Where the header says how many buffers there are.
const BUFFERS: std::ops::Range<usize> = 10..12;
/// A queue's flag, in the guest's part: no interrupts, please.
const NO_INTERRUPT: u16 = 1;

fn address(base: u64, offset: u64) -> Result<GuestAddress, Error> {
    base.checked_add(offset).map(GuestAddress).ok_or(Error::AddressOverflow)
}

impl ActiveQueue {
    /// Packets are about to be put. What this returns is for [`Self::end_putting`].
    pub(super) fn begin_putting(&mut self) -> Result<u16, Error> {
        self.queue.disable_notification(&self.memory)?;
        Ok(self.queue.next_used())
    }

    /// Interrupts the guest if packets were put since and it wants that.
    pub(super) fn end_putting(&mut self, before: u16) -> Result<(), Error> {
        self.position.set(&self.queue);
        let now = self.queue.next_used();
        if now == before {
            return Ok(());
        }
        // What was put is to be seen before the guest's wish is looked at.
        fence(Ordering::SeqCst);
        let ring = self.queue.avail_ring();
        let read = |offset: u64| self.memory.read_obj::<u16>(address(ring, offset)?).map(u16::from_le).map_err(Error::GuestMemory);
        let is_wanted = if self.queue.event_idx_enabled() {
            let event = read(4 + 2 * u64::from(self.queue.size()))?;
            now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
        } else {
            read(0)? & NO_INTERRUPT == 0
        };
        if is_wanted {
            self.interrupt.msix.trigger(self.interrupt.vector);
        }
        Ok(())
    }

    /// Puts a packet into the guest's next buffer, or into several. False where it has no room yet; then its doorbell says when it has. A
    /// packet that is too large for what the guest offers is lost, and what it would have filled is given back.
    pub(super) fn put(&mut self, memory: &GuestMemory, packet: &mut [u8], is_mergeable: bool) -> Result<bool, Error> {
        let start = self.queue.next_avail();
        let (mut chains, mut room) = (Vec::new(), 0_usize);
        while room < packet.len() && (chains.is_empty() || is_mergeable && chains.len() < usize::from(self.queue.size())) {
            match next(&mut self.queue, memory)? {
                Some(chain) => {
                    let head = chain.head_index();
                    let buffers = Buffers::of(chain, memory).unwrap_or_default();
                    room = room.saturating_add(buffers.writable_length());
                    chains.push((head, buffers));
                }
                // The guest may have added one between the last look and this.
                None if self.queue.enable_notification(memory)? => {}
                None => {
                    self.queue.set_next_avail(start);
                    return Ok(false);
                }
            }
        }
        let has_room = room >= packet.len() && chains.first().is_some_and(|(_, buffers)| buffers.writable_length() >= HEADER_SIZE);
        // There are no more than the queue has descriptors.
        let count = chains.len() as u16;
        if let Some(place) = packet.get_mut(BUFFERS) {
            place.copy_from_slice(&count.to_le_bytes());
        }
        let mut left = if has_room { &*packet } else { &[] };
        let (ring, size, first) = (self.queue.used_ring(), self.queue.size(), self.queue.next_used());
        for (index, (head, mut buffers)) in (0..count).zip(chains) {
            let (now, later) = left.split_at(left.len().min(buffers.writable_length()));
            // There is room for that much.
            let written = buffers.write(now).map_or(0, |()| now.len());
            left = later;
            let place = address(ring, 4 + u64::from(first.wrapping_add(index) % size) * 8)?;
            let element = u64::from(head) | (written as u64) << 32;
            memory.write_obj(element.to_le(), place).map_err(Error::GuestMemory)?;
        }
        let next = first.wrapping_add(count);
        self.queue.set_next_used(next);
        memory.store(next.to_le(), address(ring, 2)?, Ordering::Release).map_err(Error::GuestMemory)?;
        Ok(true)
    }
}
