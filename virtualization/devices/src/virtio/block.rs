//! The disk (Virtio 1.2, 5.2).
//!
//! Each queue has a thread of its own, which reads requests and answers them; meanwhile the host's kernel carries out what they ask for
//! (io_uring), or other threads do. A request that comes alone is carried out by the queue's thread itself, and so is what is written to
//! the host's cache, as long as that takes it at once. A flush is answered when every write that was answered before it is on the medium.

mod disk;
mod gate;
mod gathering;
mod ordered;
mod pace;
mod pool;
mod qcow2;
mod request;
mod ring;
mod server;
mod transfer;
mod vectors;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use confinement::Confinement;
pub use disk::Disk;
use serde_json::{Value, json};
pub use transfer::Mode;

use self::request::{RANGE_MAXIMUM, SECTOR, SEGMENT_SIZE, SEGMENTS};
use self::server::{Server, UNDER_WAY};
use super::{Activation, Kind, VirtioDevice, parse};
use crate::{EventLoop, Handler, Registration, Watches};

const QUEUE_SIZE: u16 = 256;

/// Features (5.2.3).
const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
const SEVERAL_QUEUES: u64 = 1 << 12;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// What a queue's thread waits for.
const DOORBELL: u32 = 0;
const ENDED: u32 = 1;

/// The device.
#[derive(Debug)]
pub struct Block {
    disk: Arc<Disk>,
    queues: Vec<Running>,
    /// One for each queue, from the device's creation on: who makes the device may do more than who activates it.
    workers: Vec<Worker>,
    /// Queues that come into use wait, too.
    is_paused: AtomicBool,
}

/// What serves a queue: its thread, and what carries out its transfers.
struct Worker {
    thread: EventLoop,
    transfers: transfer::Shared,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

/// A queue in use. The order of the fields is the order of their end: nothing calls the server when it ends.
struct Running {
    _registration: Registration,
    server: Arc<Mutex<Server>>,
    /// It takes no further request.
    paused: Arc<AtomicBool>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running")
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing more, when what it does just now is done.
    fn stop_taking(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Goes on.
    fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.lock().queue().doorbell().signal();
    }
}

impl Block {
    /// A device over this disk.
    ///
    /// # Errors
    /// Where there are no descriptors or threads left, or a thread cannot be confined.
    pub fn new(disk: Disk, confinement: &Confinement) -> io::Result<Self> {
        let host = disk.host(confinement);
        let worker = |number| {
            let thread = EventLoop::new(&format!("vm-block-{number}"), disk.thread(), confinement)?;
            Ok(Worker { thread, transfers: host.transfers(UNDER_WAY as u16)? })
        };
        let workers = (0..disk.queues).map(worker).collect::<io::Result<_>>()?;
        Ok(Self { disk: Arc::new(disk), queues: Vec::new(), workers, is_paused: AtomicBool::new(false) })
    }
}

impl VirtioDevice for Block {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn features(&self) -> u64 {
        let writes = if self.disk.read_only { READ_ONLY } else { DISCARD | WRITE_ZEROES };
        SIZE_MAX | SEG_MAX | BLOCK_SIZE | FLUSH | TOPOLOGY | SEVERAL_QUEUES | writes
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; usize::from(self.disk.queues)]
    }

    /// 5.2.4.
    fn configuration(&self) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        let mut put = |place: usize, value: &[u8]| bytes[place..place + value.len()].copy_from_slice(value);
        put(0, &(self.disk.size() / SECTOR).to_le_bytes());
        put(8, &SEGMENT_SIZE.to_le_bytes());
        put(12, &SEGMENTS.to_le_bytes());
        put(20, &(SECTOR as u32).to_le_bytes());
        // Blocks have a few thousand bytes, clusters at most 2^21.
        let sectors = (self.disk.block_size() / SECTOR) as u16;
        put(24, &[sectors.ilog2() as u8]);
        put(26, &sectors.to_le_bytes());
        put(34, &self.disk.queues.to_le_bytes());
        if !self.disk.read_only {
            let alignment = (self.disk.discard_size() / SECTOR) as u32;
            for (place, value) in [(36, RANGE_MAXIMUM), (40, 1), (44, alignment), (48, RANGE_MAXIMUM), (52, 1)] {
                put(place, &value.to_le_bytes());
            }
            // Zeros may be written by giving room back.
            put(56, &[1]);
        }
        bytes
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        // A driver that does not flush expects that what is answered lasts (5.2.6.2).
        let write_through = activation.features & FLUSH == 0;
        for (number, queue) in activation.queues {
            // There are as many as queues.
            let Worker { thread, transfers } = self.workers.get(usize::from(number)).ok_or(io::ErrorKind::NotFound)?;
            let server = Server::new(queue, Arc::clone(&self.disk), Arc::clone(transfers), activation.failure.clone(), write_through);
            let paused = server.paused();
            paused.store(self.is_paused.load(Ordering::SeqCst), Ordering::SeqCst);
            let server = Arc::new(Mutex::new(server));
            let registration = thread.add(Serving(Arc::clone(&server)), |serving, watches| {
                let server = serving.0.lock().unwrap_or_else(PoisonError::into_inner);
                watches.add_event(DOORBELL, server.queue().doorbell())?;
                watches.add_event(ENDED, server.event())
            })?;
            self.queues.push(Running { _registration: registration, server, paused });
        }
        Ok(())
    }

    fn reset(&mut self) {
        // All of them before any is waited for.
        self.queues.iter().for_each(Running::stop_taking);
        self.queues.clear();
    }

    fn save(&mut self) -> io::Result<Value> {
        // What the guest wrote and did not flush is still there for it later: a state is no power failure.
        self.disk.flush_now()?;
        Ok(json!(self.disk.size() / SECTOR))
    }

    fn restore(&mut self, state: &Value) -> io::Result<()> {
        let (saved, now) = (parse::<u64>(state)?, self.disk.size() / SECTOR);
        let message = || format!("it had {saved} sectors, and now has {now}");
        if saved == now { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, message())) }
    }

    fn pause(&self) {
        self.is_paused.store(true, Ordering::SeqCst);
        self.queues.iter().for_each(Running::stop_taking);
        self.queues.iter().for_each(|queue| queue.lock().drain());
    }

    fn resume(&self) {
        self.is_paused.store(false, Ordering::SeqCst);
        self.queues.iter().for_each(Running::resume);
    }
}

/// A server, as its thread has it.
struct Serving(Arc<Mutex<Server>>);

impl Handler for Serving {
    fn ready(&mut self, _token: u32, watches: &mut Watches) {
        let mut server = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !server.serve() {
            watches.remove(DOORBELL);
            watches.remove(ENDED);
        }
    }
}
