//! The memory balloon (Virtio 1.2, 5.5): takes memory from the guest and gives it back.
//!
//! What the guest puts into the balloon, or reports as free, goes back to the host at once; the guest finds zeros there when it takes it out.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hv::GuestMemory;
use hv::vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use rustix::fs::FallocateFlags;

use super::buffers::Buffers;
use super::queue::{ActiveQueue, Failure};
use super::{Activation, Kind, VirtioDevice};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

const QUEUE_SIZE: u16 = 128;
/// Bytes of a page of the balloon, whatever the guest's pages are (`VIRTIO_BALLOON_PFN_SHIFT`).
pub const PAGE_SIZE: u64 = 4096;

/// Features (5.5.3).
const DEFLATE_ON_OOM: u64 = 1 << 2;
const REPORTING: u64 = 1 << 5;

/// Queues: into the balloon, out of it, and what is free anyway.
const INFLATE: u32 = 0;
const DEFLATE: u32 = 1;
const REPORT: u32 = 2;

/// Numbers of pages taken from a chain at once.
const PAGES_MAXIMUM: usize = 64 << 10;

/// The host's side, which outlives the device.
#[derive(Debug, Default)]
pub struct BalloonTarget {
    /// Pages that the balloon should have, and has.
    wanted: AtomicU32,
    actual: AtomicU32,
    /// Whom to tell when it should have more or fewer.
    device: Mutex<Option<Failure>>,
}

impl BalloonTarget {
    /// From now on the balloon should have so many pages. The guest may take its time, or ignore it.
    pub fn set(&self, pages: u32) {
        self.wanted.store(pages, Ordering::SeqCst);
        if let Some(device) = &*self.device.lock().unwrap_or_else(PoisonError::into_inner) {
            device.configuration_changed();
        }
    }

    /// Pages that it should have.
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Pages that it has, as the guest says.
    pub fn actual(&self) -> u32 {
        self.actual.load(Ordering::SeqCst)
    }

    fn set_device(&self, device: Option<Failure>) {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = device;
    }
}

/// The device.
#[derive(Debug)]
pub struct Balloon {
    target: Arc<BalloonTarget>,
    events: Arc<EventLoop>,
    running: Option<Registration>,
}

impl Balloon {
    /// A balloon with this target, empty at first, served by this loop.
    pub fn new(target: Arc<BalloonTarget>, events: Arc<EventLoop>) -> Self {
        target.actual.store(0, Ordering::SeqCst);
        Self { target, events, running: None }
    }
}

impl VirtioDevice for Balloon {
    fn kind(&self) -> Kind {
        Kind::Balloon
    }

    fn features(&self) -> u64 {
        DEFLATE_ON_OOM | REPORTING
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 3]
    }

    fn configuration(&self) -> Vec<u8> {
        [self.target.wanted().to_le_bytes(), self.target.actual().to_le_bytes()].concat()
    }

    fn write_configuration(&mut self, offset: u64, data: &[u8]) {
        if let (4, Ok(pages)) = (offset, data.try_into()) {
            self.target.actual.store(u32::from_le_bytes(pages), Ordering::SeqCst);
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Activation { queues, failure, .. } = activation;
        self.target.set_device(Some(failure.clone()));
        let server = Server { queues, failure };
        self.running = Some(self.events.add(server, |server, watches| {
            server.queues.iter().try_for_each(|(number, queue)| watches.add((*number).into(), queue.doorbell(), Interest::Read))
        })?);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
        self.target.set_device(None);
    }
}

struct Server {
    queues: Vec<(u16, ActiveQueue)>,
    failure: Failure,
}

impl Handler for Server {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        let Some((_, queue)) = self.queues.iter_mut().find(|(number, _)| u32::from(*number) == token) else { return };
        queue.doorbell().take();
        let memory = queue.memory().clone();
        let served = queue.serve(|chain| {
            match token {
                INFLATE => {
                    let buffers = Buffers::of(chain, &memory).unwrap_or_default();
                    pages(buffers).into_iter().for_each(|page| give_back(&memory, page, PAGE_SIZE));
                }
                // It gets its pages as it touches them.
                DEFLATE => {}
                REPORT => {
                    for descriptor in chain.filter(|descriptor| descriptor.is_write_only()) {
                        give_back(&memory, descriptor.addr().0, descriptor.len().into());
                    }
                }
                _ => {}
            }
            Some(0)
        });
        if let Err(error) = served {
            watches.remove(token);
            self.failure.fail("balloon", &error);
        }
    }
}

/// Addresses of the pages that a chain names.
fn pages(mut buffers: Buffers<'_>) -> Vec<u64> {
    let mut pages = Vec::new();
    while let Some(number) = buffers.read::<4>().filter(|_| pages.len() < PAGES_MAXIMUM) {
        pages.push(u64::from(u32::from_le_bytes(number)) * PAGE_SIZE);
    }
    pages
}

/// Gives whole pages of the guest's memory back to the host. What is not memory is left alone.
fn give_back(memory: &GuestMemory, start: u64, length: u64) {
    let Some(end) = start.checked_add(length) else { return };
    let whole = start.next_multiple_of(PAGE_SIZE)..end & !(PAGE_SIZE - 1);
    let Some((region, place)) = memory.to_region_addr(GuestAddress(whole.start)) else { return };
    let inside = whole.end.saturating_sub(whole.start).min(region.len().saturating_sub(place.0));
    let (Some(file), true) = (region.file_offset(), inside > 0) else { return };
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = rustix::fs::fallocate(file.file().as_fd(), flags, file.start() + place.0, inside) {
        tracing::warn!(%error, "memory of the guest could not be given back");
    }
}
