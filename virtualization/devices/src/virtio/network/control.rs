//! The queue for commands (Virtio 1.2, 5.1.6.5): how many pairs of queues the guest uses.

use std::io;
use std::sync::Arc;

use super::super::buffers::Buffers;
use super::super::queue::{ActiveQueue, Failure};
use super::link::Link;
use crate::{Handler, Interest, Watches};

/// The command, and its class.
const SET_PAIRS: [u8; 2] = [4, 0];
/// Answers.
const OK: u8 = 0;
const ERROR: u8 = 1;

/// The queue.
pub(super) struct Control {
    queue: ActiveQueue,
    link: Arc<Link>,
    failure: Failure,
}

impl Control {
    pub(super) fn new(queue: ActiveQueue, link: Arc<Link>, failure: Failure) -> Self {
        Self { queue, link, failure }
    }

    pub(super) fn begin(&mut self, watches: &mut Watches) -> io::Result<()> {
        watches.add(0, self.queue.doorbell(), Interest::Read)
    }
}

fn carry_out(buffers: &mut Buffers<'_>, link: &Link) -> u8 {
    let is_done = buffers.read() == Some(SET_PAIRS)
        && buffers.read().is_some_and(|pairs| link.enable(u16::from_le_bytes(pairs).into()))
        && buffers.readable_length() == 0;
    if is_done { OK } else { ERROR }
}

impl Handler for Control {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        self.queue.doorbell().take();
        let (memory, link) = (self.queue.memory().clone(), &self.link);
        let served = self.queue.serve(|chain| {
            let mut buffers = Buffers::of(chain, &memory).unwrap_or_default();
            let answer = carry_out(&mut buffers, link);
            Some(buffers.write(&[answer]).map_or(0, |()| 1))
        });
        if let Err(error) = served {
            watches.remove(token);
            self.failure.fail("network", &error);
        }
    }
}
