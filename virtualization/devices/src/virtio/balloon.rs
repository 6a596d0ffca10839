//! The memory balloon (Virtio 1.2, 5.5): takes memory from the guest and gives it back.
//!
//! What the guest puts into the balloon, or reports as free, goes back to the host at once; the guest finds zeros there when it takes it
//! out, or in a restored machine what was there when it was saved.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hv::vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use hv::{Event, GuestMemory};
use serde_json::{Value, json};

use super::buffers::Buffers;
use super::queue::{ActiveQueue, Failure};
use super::{Activation, Kind, VirtioDevice, parse};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

mod statistics;

pub use statistics::Statistics;

const QUEUE_SIZE: u16 = 128;
/// Bytes of a page of the balloon, whatever the guest's pages are (`VIRTIO_BALLOON_PFN_SHIFT`).
pub const PAGE_SIZE: u64 = 4096;

/// Features (5.5.3).
const STATISTICS: u64 = 1 << 1;
const DEFLATE_ON_OOM: u64 = 1 << 2;
const REPORTING: u64 = 1 << 5;

/// Queues: into the balloon, out of it, and, with its feature, the guest's statistics. The queue for what is free anyway comes after those
/// that the driver knows.
const INFLATE: u32 = 0;
const DEFLATE: u32 = 1;
const STATISTICS_QUEUE: u32 = 2;
/// The token of a wish for statistics, which is no queue's number.
const ASKED: u32 = 1 << 16;

/// Ranges of free memory taken from a chain at once.
const RANGES_MAXIMUM: usize = 1024;
/// Numbers of pages taken from a chain at once, each of which is a call of the kernel. Drivers give 256 or 1024; of one that gives more the
/// others stay with the guest.
const PAGES_MAXIMUM: usize = 4096;

/// The host's side, which outlives the device.
#[derive(Debug, Default)]
pub struct BalloonTarget {
    /// Pages that the balloon should have, and has.
    wanted: AtomicU32,
    actual: AtomicU32,
    /// The device, while the guest has a driver for it.
    device: Mutex<Option<InUse>>,
    /// Who waits for statistics.
    waiting: Mutex<Vec<Wish>>,
}

/// Told what the guest says of its memory.
type Told = Box<dyn FnOnce(Statistics) + Send>;

/// A wish for statistics.
struct Wish {
    tell: Told,
    /// The guest has been asked, and what comes next is its answer.
    is_asked: bool,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wish")
    }
}

/// How a device that a driver uses is told what the host wants.
#[derive(Debug)]
struct InUse {
    /// It should have more or fewer pages.
    target: Failure,
    /// Somebody wants statistics, where the driver has any.
    statistics: Option<Event>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BalloonTarget {
    /// From now on the balloon should have so many pages. The guest may take its time, or ignore it.
    pub fn set(&self, pages: u32) {
        self.wanted.store(pages, Ordering::SeqCst);
        if let Some(device) = &*lock(&self.device) {
            device.target.configuration_changed();
        }
    }

    /// Asks the guest for statistics, which are given to `tell` when they come; it is dropped where the guest ends first. False, and nothing
    /// has been asked, where the guest has no driver that gives any.
    pub fn ask_for_statistics(&self, tell: impl FnOnce(Statistics) + Send + 'static) -> bool {
        let device = lock(&self.device);
        let Some(asked) = device.as_ref().and_then(|device| device.statistics.as_ref()) else { return false };
        lock(&self.waiting).push(Wish { tell: Box::new(tell), is_asked: false });
        asked.signal();
        true
    }

    /// Pages that it should have.
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Pages that it has, as the guest says.
    pub fn actual(&self) -> u32 {
        self.actual.load(Ordering::SeqCst)
    }

    fn set_device(&self, device: Option<InUse>) {
        let mut place = lock(&self.device);
        if device.is_none() {
            lock(&self.waiting).clear();
        }
        *place = device;
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
        STATISTICS | DEFLATE_ON_OOM | REPORTING
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 4]
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
        let Activation { queues, failure, features } = activation;
        let has_statistics = features & STATISTICS != 0;
        let asked = Event::new()?;
        let statistics = has_statistics.then(|| asked.clone());
        self.target.set_device(Some(InUse { target: failure.clone(), statistics }));
        let target = Arc::clone(&self.target);
        let server = Server { queues, failure, target, asked, has_statistics, is_offered: false };
        self.running = Some(self.events.add(server, |server, watches| {
            watches.add(ASKED, &server.asked, Interest::Read)?;
            server.queues.iter().try_for_each(|(number, queue)| watches.add((*number).into(), queue.doorbell(), Interest::Read))
        })?);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
        self.target.set_device(None);
    }

    fn save(&mut self) -> io::Result<Value> {
        Ok(json!((self.target.wanted(), self.target.actual())))
    }

    fn restore(&mut self, state: &Value) -> io::Result<()> {
        let (wanted, actual) = parse(state)?;
        self.target.wanted.store(wanted, Ordering::SeqCst);
        self.target.actual.store(actual, Ordering::SeqCst);
        Ok(())
    }
}

struct Server {
    queues: Vec<(u16, ActiveQueue)>,
    failure: Failure,
    target: Arc<BalloonTarget>,
    asked: Event,
    has_statistics: bool,
    /// There is a chain with statistics; the guest is asked for newer ones by giving it back (5.5.6.3).
    is_offered: bool,
}

impl Server {
    fn serve(&mut self, token: u32) -> Result<(), virtio_queue::Error> {
        let Some((_, queue)) = self.queues.iter_mut().find(|(number, _)| u32::from(*number) == token) else { return Ok(()) };
        queue.doorbell().take();
        if self.has_statistics && token == STATISTICS_QUEUE {
            return self.take_statistics();
        }
        let report = if self.has_statistics { STATISTICS_QUEUE + 1 } else { STATISTICS_QUEUE };
        let memory = queue.memory().clone();
        queue.serve(|chain| {
            match token {
                INFLATE => {
                    let buffers = Buffers::of(chain, &memory).unwrap_or_default();
                    pages(buffers).into_iter().for_each(|page| give_back(&memory, page, PAGE_SIZE));
                }
                // It gets its pages as it touches them.
                DEFLATE => {}
                number if number == report => {
                    for descriptor in chain.filter(|descriptor| descriptor.is_write_only()).take(RANGES_MAXIMUM) {
                        give_back(&memory, descriptor.addr().0, descriptor.len().into());
                    }
                }
                _ => {}
            }
            Some(0)
        })
    }

    fn statistics_queue(&mut self) -> Option<&mut ActiveQueue> {
        let mut queues = self.queues.iter_mut();
        queues.find(|(number, _)| u32::from(*number) == STATISTICS_QUEUE).map(|(_, queue)| queue)
    }

    /// Reads what the guest says, and leaves the chain where it is until somebody wants more.
    fn take_statistics(&mut self) -> Result<(), virtio_queue::Error> {
        let mut said = None;
        if let Some(queue) = self.statistics_queue() {
            let memory = queue.memory().clone();
            queue.serve(|chain| {
                said = Some(Statistics::read(Buffers::of(chain, &memory).unwrap_or_default()));
                None
            })?;
        }
        let Some(said) = said else { return Ok(()) };
        self.is_offered = true;
        let mut waiting = lock(&self.target.waiting);
        let (answered, later) = std::mem::take(&mut *waiting).into_iter().partition(|wish| wish.is_asked);
        *waiting = later;
        drop(waiting);
        let answered: Vec<Wish> = answered;
        answered.into_iter().for_each(|wish| (wish.tell)(said));
        self.ask()
    }

    /// Asks the guest for newer statistics, if somebody wants them and it does not owe us any.
    fn ask(&mut self) -> Result<(), virtio_queue::Error> {
        let mut waiting = lock(&self.target.waiting);
        if waiting.is_empty() || !std::mem::take(&mut self.is_offered) {
            return Ok(());
        }
        waiting.iter_mut().for_each(|wish| wish.is_asked = true);
        drop(waiting);
        let mut is_first = true;
        match self.statistics_queue() {
            Some(queue) => queue.serve(|_| std::mem::take(&mut is_first).then_some(0)),
            None => Ok(()),
        }
    }
}

impl Handler for Server {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        let served = if token == ASKED {
            self.asked.take();
            self.ask()
        } else {
            self.serve(token)
        };
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
    let (Some(first), Some(end)) = (start.checked_next_multiple_of(PAGE_SIZE), start.checked_add(length)) else { return };
    let whole = first..end & !(PAGE_SIZE - 1);
    let Some((region, place)) = memory.to_region_addr(GuestAddress(whole.start)) else { return };
    let inside = whole.end.saturating_sub(whole.start).min(region.len().saturating_sub(place.0));
    if inside == 0 {
        return;
    }
    if let Err(error) = region.give_back(place.0, inside) {
        tracing::warn!(%error, "memory of the guest could not be given back");
    }
}
