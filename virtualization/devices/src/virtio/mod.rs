//! Virtio devices (Virtio 1.2), each behind PCI.
//!
//! A device is a [`VirtioDevice`]: what it offers, and what it does once the guest's driver is ready ([`VirtioDevice::activate`] hands it
//! its queues) and no longer is ([`VirtioDevice::reset`]). [`VirtioPci`] is everything that all of them have in common.
//!
//! What a guest puts into queues is not trusted. A chain that makes no sense gets an error where the device has one to give; a queue that
//! cannot be read any longer makes the device ask for a reset (`DEVICE_NEEDS_RESET`).

pub mod balloon;
mod block;
mod buffers;
pub mod console;
mod entropy;
pub mod file_system;
pub mod network;
mod queue;
pub mod socket;
mod transport;
mod vhost_user;

use std::io;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use block::{Block, Disk, Mode as DiskMode};
pub use buffers::Buffers;
pub use entropy::Entropy;
pub use file_system::FileSystem;
pub use network::Network;
pub use queue::{ActiveQueue, Chain, Failure};
pub use transport::{SavedQueue, SavedVirtioPci, VirtioPci};

/// A device's own state.
fn parse<T: DeserializeOwned>(state: &Value) -> io::Result<T> {
    T::deserialize(state).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Feature bits of every device (Virtio 1.2, 6).
pub mod feature {
    /// Descriptors may be tables of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Either side says from when on it wants to be told.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device is one of version 1, without which nothing here works.
    pub const VERSION_1: u64 = 1 << 32;
}

/// Which device it is (Virtio 1.2, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Network card.
    Network = 1,
    /// Disk.
    Block = 2,
    /// Console.
    Console = 3,
    /// Source of random numbers.
    Entropy = 4,
    /// Memory balloon.
    Balloon = 5,
    /// Sockets.
    Socket = 19,
    /// File system.
    FileSystem = 26,
}

/// What a device has once the guest's driver is ready.
#[derive(Debug)]
pub struct Activation {
    /// The features that both sides have.
    pub features: u64,
    /// The queues in use, with their numbers.
    pub queues: Vec<(u16, ActiveQueue)>,
    /// How it says that it cannot go on, or that its configuration changed.
    pub failure: Failure,
}

/// A device, as the guest sees it. Called on vCPU threads, one at a time.
pub trait VirtioDevice: Send {
    /// Which device it is.
    fn kind(&self) -> Kind;

    /// Its own features; [`Self::common_features`] are added.
    fn features(&self) -> u64;

    /// Features of its queues: all, unless something else serves them that has not all of them.
    fn common_features(&self) -> u64 {
        feature::EVENT_IDX | feature::INDIRECT_DESC
    }

    /// The most descriptors of each of its queues; powers of two.
    fn queue_sizes(&self) -> Vec<u16>;

    /// Its configuration, as the guest reads it.
    fn configuration(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The guest wrote to its configuration.
    fn write_configuration(&mut self, _offset: u64, _data: &[u8]) {}

    /// The driver is ready: from here on the queues are served.
    ///
    /// # Errors
    /// Where the host lacks something; the guest then sees a device that needs a reset.
    fn activate(&mut self, activation: Activation) -> io::Result<()>;

    /// The driver is gone: when this returns, no queue is touched any longer.
    fn reset(&mut self);

    /// The guest has read this part of its configuration.
    fn configuration_was_read(&self, _offset: u64, _length: usize) {}

    /// What of it is neither in its queues nor in what every device has, while it stands still. What the guest was told is done has been
    /// done when this returns.
    ///
    /// # Errors
    /// Where that failed.
    fn save(&mut self) -> io::Result<Value> {
        Ok(Value::Null)
    }

    /// It is what it was then, in another process. It is not active yet, and stands still.
    ///
    /// # Errors
    /// Where that makes no sense.
    fn restore(&mut self, _state: &Value) -> io::Result<()> {
        Ok(())
    }

    /// Threads of its own stand still when this returns.
    fn pause(&self) {}

    /// They go on.
    fn resume(&self) {}
}
