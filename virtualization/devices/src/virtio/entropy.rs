//! The source of random numbers (Virtio 1.2, 5.4), fed by the host's.

use std::io;
use std::sync::Arc;

use super::buffers::Buffers;
use super::queue::{ActiveQueue, Failure};
use super::{Activation, Kind, VirtioDevice};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

const QUEUE_SIZE: u16 = 64;
/// Bytes given at once; a guest that wants more asks again.
const MOST: usize = 64 << 10;

/// The device.
#[derive(Debug)]
pub struct Entropy {
    events: Arc<EventLoop>,
    running: Option<Registration>,
}

impl Entropy {
    /// A device that is served by this loop.
    pub fn new(events: Arc<EventLoop>) -> Self {
        Self { events, running: None }
    }
}

impl VirtioDevice for Entropy {
    fn kind(&self) -> Kind {
        Kind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Some((_, queue)) = activation.queues.into_iter().next() else { return Ok(()) };
        let server = Server { queue, failure: activation.failure };
        self.running = Some(self.events.add(server, |server, watches| watches.add(0, server.queue.doorbell(), Interest::Read))?);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
    }
}

struct Server {
    queue: ActiveQueue,
    failure: Failure,
}

impl Handler for Server {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        self.queue.doorbell().take();
        let memory = self.queue.memory().clone();
        let served = self.queue.serve(|chain| {
            let mut buffers = Buffers::of(chain, &memory).unwrap_or_default();
            let mut random = vec![0; buffers.writable_length().min(MOST)];
            let filled = getrandom::fill(&mut random).ok().and_then(|()| buffers.write(&random));
            // At most MOST.
            Some(filled.map_or(0, |()| random.len() as u32))
        });
        if let Err(error) = served {
            watches.remove(token);
            self.failure.fail("entropy", &error);
        }
    }
}
