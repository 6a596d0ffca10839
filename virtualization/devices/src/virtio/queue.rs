//! A queue in use: its chains, its doorbell, its interrupt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering, fence};
use std::time::Duration;

use hv::{Event, GuestMemory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virtio_queue::{DescriptorChain, Error, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use crate::pci::Msix;

/// A chain of descriptors that the guest made available.
pub type Chain<'a> = DescriptorChain<&'a GuestMemory>;

/// Chains that are served before others have their turn.
const TURN: usize = 128;

/// A queue that the guest's driver has set up.
#[derive(Debug)]
pub struct ActiveQueue {
    pub(super) queue: Queue,
    pub(super) memory: GuestMemory,
    pub(super) doorbell: Event,
    pub(super) interrupt: QueueInterrupt,
    /// Something was given back since the guest was last told.
    pub(super) given_back: bool,
    pub(super) position: Arc<Position>,
}

/// How far a queue has been served: what its device and those who save it share. It is of use while the device stands still.
#[derive(Debug, Default)]
pub(super) struct Position {
    available: AtomicU16,
    used: AtomicU16,
}

impl Position {
    pub fn of(queue: &Queue) -> Arc<Self> {
        let position = Self::default();
        position.set(queue);
        Arc::new(position)
    }

    /// It has been served so far.
    pub fn set(&self, queue: &Queue) {
        self.set_to(queue.next_avail(), queue.next_used());
    }

    /// As [`Self::set`]: the next chain that the guest makes available, and the next place for one that is used.
    pub fn set_to(&self, available: u16, used: u16) {
        self.available.store(available, Ordering::SeqCst);
        self.used.store(used, Ordering::SeqCst);
    }

    /// The next chain that the guest makes available, and the next place for one that is used.
    pub fn get(&self) -> (u16, u16) {
        (self.available.load(Ordering::SeqCst), self.used.load(Ordering::SeqCst))
    }
}

/// The interrupt of a queue; the guest may choose another vector for it at any time before the queue is in use.
#[derive(Debug, Clone)]
pub(super) struct QueueInterrupt {
    pub msix: Arc<Msix>,
    pub vector: u16,
}

impl ActiveQueue {
    /// The event that happens when the guest has made something available.
    pub fn doorbell(&self) -> &Event {
        &self.doorbell
    }

    /// The event that interrupts the guest; one that does nothing where the guest wants no interrupt.
    pub(super) fn call(&self) -> io::Result<Event> {
        self.interrupt.msix.event(self.interrupt.vector).map_or_else(Event::new, Ok)
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Serves every chain that there is, and interrupts the guest if it wants that. `serve` returns how many bytes it has written to the
    /// chain, or `None` to leave it and all others for later. A guest adds chains as fast as they are served: after many of them the others
    /// are for later, too, and the doorbell rings by itself.
    ///
    /// # Errors
    /// Where the queue itself makes no sense: the device needs a reset.
    pub fn serve(&mut self, mut serve: impl FnMut(Chain<'_>) -> Option<u32>) -> Result<(), Error> {
        let result = self.serve_all(&mut serve);
        self.interrupt()?;
        result
    }

    /// Takes the next chain, if there is one, and makes something of it. For devices that answer later, by [`Self::give_back`].
    ///
    /// # Errors
    /// Where the queue itself makes no sense: the device needs a reset.
    pub fn take<T>(&mut self, make: impl FnOnce(u16, Chain<'_>) -> T) -> Result<Option<T>, Error> {
        loop {
            if let Some(chain) = next(&mut self.queue, &self.memory)? {
                return Ok(Some(make(chain.head_index(), chain)));
            }
            // The guest may have added one between the last look and this.
            if !self.queue.enable_notification(&self.memory)? {
                return Ok(None);
            }
            self.queue.disable_notification(&self.memory)?;
        }
    }

    /// Whether the guest has made something available that was not taken.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn has_more(&self) -> Result<bool, Error> {
        let index = self.queue.avail_idx(&self.memory, Ordering::Acquire)?;
        Ok(index.0 != self.queue.next_avail())
    }

    /// Waits until the guest has made this many more available, but no longer than this.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn wait_for(&mut self, more: u16, time: Duration) -> Result<(), Error> {
        // What rings from here on is about what is waited for, or later.
        self.doorbell.take();
        if self.queue.event_idx_enabled() {
            // The doorbell rings when the guest's index goes past this (Virtio 1.2, 2.7.10).
            let last = self.queue.next_avail().wrapping_add(more).wrapping_sub(1);
            let place = self.queue.used_ring().checked_add(4 + 8 * u64::from(self.queue.size())).ok_or(Error::AddressOverflow)?;
            self.memory.store(last.to_le(), GuestAddress(place), Ordering::Relaxed).map_err(Error::GuestMemory)?;
        }
        // The guest looks at that after it has made something available.
        fence(Ordering::SeqCst);
        let there = self.queue.avail_idx(&self.memory, Ordering::Acquire)?.0.wrapping_sub(self.queue.next_avail());
        if there < more
            && let Ok(time) = Timespec::try_from(time)
        {
            // Whether it has rung or time is up is seen by what there is.
            let _ = poll(&mut [PollFd::new(&self.doorbell, PollFlags::IN)], Some(&time));
        }
        Ok(())
    }

    /// Gives a chain back, to which this many bytes were written. The guest is told by [`Self::interrupt`].
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn give_back(&mut self, head: u16, written: u32) -> Result<(), Error> {
        self.given_back = true;
        self.queue.add_used(&self.memory, head, written)
    }

    /// Interrupts the guest, if it was given something back since and wants to be told.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn interrupt(&mut self) -> Result<(), Error> {
        self.position.set(&self.queue);
        if std::mem::take(&mut self.given_back) && self.queue.needs_notification(&self.memory)? {
            self.interrupt.msix.trigger(self.interrupt.vector);
        }
        Ok(())
    }

    fn serve_all(&mut self, serve: &mut impl FnMut(Chain<'_>) -> Option<u32>) -> Result<(), Error> {
        let mut served = 0;
        loop {
            self.queue.disable_notification(&self.memory)?;
            // Not `pop_descriptor_chain`, which makes "none" of an index that makes no sense, and so an endless loop of this.
            while let Some(chain) = next(&mut self.queue, &self.memory)? {
                let head = chain.head_index();
                let Some(written) = serve(chain) else {
                    self.queue.go_to_previous_position();
                    return Ok(());
                };
                self.give_back(head, written)?;
                served += 1;
                if served == TURN {
                    self.doorbell.signal();
                    return Ok(());
                }
            }
            // The guest may have added one between the last look and this.
            if !self.queue.enable_notification(&self.memory)? {
                return Ok(());
            }
        }
    }
}

/// The next chain, if there is one.
pub(super) fn next<'a>(queue: &mut Queue, memory: &'a GuestMemory) -> Result<Option<Chain<'a>>, Error> {
    Ok(queue.iter(memory)?.next())
}

/// How a device says that it cannot go on.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(super) needs_reset: Arc<AtomicBool>,
    pub(super) msix: Arc<Msix>,
    pub(super) vector: Arc<AtomicU16>,
}

impl Failure {
    /// The device does nothing more until the guest resets it.
    pub fn fail(&self, device: &str, why: &dyn std::fmt::Display) {
        tracing::warn!(device, %why, "a device of the guest needs a reset");
        self.needs_reset.store(true, Ordering::SeqCst);
        self.configuration_changed();
    }

    /// The guest is to read the device's configuration again.
    pub fn configuration_changed(&self) {
        self.msix.trigger(self.vector.load(Ordering::SeqCst));
    }
}

#[cfg(test)]
mod tests {
    use hv::fake::FakeVm;

    use super::*;

    const AVAILABLE: u64 = 0x2000;
    const USED: u64 = 0x3000;
    const SIZE: u16 = 16;
    const LONG: Duration = Duration::from_secs(3600);

    fn queue(memory: &GuestMemory) -> ActiveQueue {
        let mut queue = Queue::new(SIZE).unwrap();
        queue.set_desc_table_address(Some(0x1000), Some(0));
        queue.set_avail_ring_address(Some(AVAILABLE as u32), Some(0));
        queue.set_used_ring_address(Some(USED as u32), Some(0));
        queue.set_event_idx(true);
        queue.set_ready(true);
        let msix = Msix::new(1, &FakeVm::default()).unwrap();
        let (doorbell, position) = (Event::new().unwrap(), Position::of(&queue));
        let interrupt = QueueInterrupt { msix, vector: 0 };
        ActiveQueue { queue, memory: memory.clone(), doorbell, interrupt, given_back: false, position }
    }

    #[test]
    fn several_are_waited_for_until_they_are_there_or_ring_or_time_is_up() {
        let memory = hv::allocate(&[(0, 1 << 20)]).unwrap();
        let mut queue = queue(&memory);
        let rings_past = |memory: &GuestMemory| memory.read_obj::<u16>(GuestAddress(USED + 4 + 8 * u64::from(SIZE))).unwrap();
        // What rang before is not about this.
        queue.doorbell.signal();
        queue.wait_for(3, Duration::from_millis(1)).unwrap();
        assert_eq!(rings_past(&memory), 2);

        let (guest, doorbell) = (memory.clone(), queue.doorbell.clone());
        let driver = std::thread::spawn(move || {
            while rings_past(&guest) != 4 {
                std::thread::yield_now();
            }
            doorbell.signal();
        });
        queue.wait_for(5, LONG).unwrap();
        driver.join().unwrap();

        memory.write_obj(5_u16, GuestAddress(AVAILABLE + 2)).unwrap();
        queue.wait_for(5, LONG).unwrap();
    }
}
