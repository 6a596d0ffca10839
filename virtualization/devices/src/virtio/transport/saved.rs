//! What a device's driver has set up, to be kept, and to be set up again in another process.

use std::io;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use virtio_queue::{QueueState, QueueT};

use super::{DRIVER_OK, FEATURES_OK, NEEDS_RESET, VirtioPci};
use crate::pci::MsixState;
use crate::virtio::queue::Position;

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedQueue {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    vector: u16,
    enabled: bool,
    /// The next chain that the guest makes available, and the next place for one that is used.
    next: (u16, u16),
}

/// A virtio device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedVirtioPci {
    configuration: Vec<u8>,
    interrupts: MsixState,
    queues: Vec<SavedQueue>,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    status: u8,
    queue_select: u16,
    configuration_vector: u16,
    needs_reset: bool,
    /// What the device itself knows.
    device: Value,
}

fn unfit(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl VirtioPci {
    /// The device as it is, while it stands still. What the guest was told is done has been done when this returns.
    ///
    /// # Errors
    /// Where that failed.
    pub fn save(&self) -> io::Result<SavedVirtioPci> {
        let mut state = self.lock();
        let queues = state.queues.iter().map(|setup| SavedQueue {
            size: setup.queue.size(),
            descriptors: setup.queue.desc_table(),
            available: setup.queue.avail_ring(),
            used: setup.queue.used_ring(),
            vector: setup.vector,
            enabled: setup.enabled,
            next: setup.position.get(),
        });
        Ok(SavedVirtioPci {
            queues: queues.collect(),
            device: state.device.save()?,
            configuration: state.configuration.bytes().to_vec(),
            interrupts: self.msix.save(),
            device_feature_select: state.device_feature_select,
            driver_feature_select: state.driver_feature_select,
            driver_features: state.driver_features,
            status: state.status,
            queue_select: state.queue_select,
            configuration_vector: state.configuration_vector.load(Ordering::SeqCst),
            needs_reset: state.needs_reset.load(Ordering::SeqCst),
        })
    }

    /// Makes a device that nobody has used yet what that one was, and serves its queues once it goes on: it has to stand still, and the
    /// guest's memory to be as it was.
    ///
    /// # Errors
    /// Where it was another device, or something makes no sense.
    pub fn restore(&self, saved: &SavedVirtioPci) -> io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        if !state.configuration.restore(&saved.configuration) {
            return Err(unfit("it was another device"));
        }
        if saved.queues.len() != state.queues.len() || saved.driver_features & !state.features() != 0 {
            return Err(unfit("the guest uses what the device does not have"));
        }
        for (setup, saved) in state.queues.iter_mut().zip(&saved.queues) {
            let (next_avail, next_used) = saved.next;
            let queue = QueueState {
                max_size: setup.queue.max_size(),
                next_avail,
                next_used,
                event_idx_enabled: false,
                size: saved.size,
                ready: false,
                desc_table: saved.descriptors,
                avail_ring: saved.available,
                used_ring: saved.used,
            };
            setup.queue = queue.try_into().map_err(|_| unfit("a queue is not set up right"))?;
            (setup.vector, setup.enabled, setup.position) = (saved.vector, saved.enabled, Position::of(&setup.queue));
        }
        if !self.msix.restore(&saved.interrupts) {
            return Err(unfit("it had another number of interrupts"));
        }
        (state.device_feature_select, state.driver_feature_select) = (saved.device_feature_select, saved.driver_feature_select);
        (state.driver_features, state.queue_select) = (saved.driver_features, saved.queue_select);
        state.status = saved.status & !NEEDS_RESET;
        state.configuration_vector.store(saved.configuration_vector, Ordering::SeqCst);
        self.remap(state);
        state.device.restore(&saved.device)?;
        if saved.needs_reset {
            state.needs_reset.store(true, Ordering::SeqCst);
        } else if state.status & DRIVER_OK != 0 && state.status & FEATURES_OK != 0 {
            let failure = self.failure(state);
            self.activate(state, &failure)?;
            // What was rung and not yet heard, and what was sent and not yet delivered, is neither in memory nor in registers: once more.
            for (setup, doorbell) in state.queues.iter().zip(&self.doorbells).filter(|(setup, _)| setup.enabled) {
                doorbell.signal();
                self.msix.trigger(setup.vector);
            }
        }
        Ok(())
    }
}
