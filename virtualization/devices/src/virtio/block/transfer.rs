//! What carries out reads and writes of a file or a server while others go on: the kernel's ring, or threads.
//!
//! Why unsafe: a transfer goes on after the call that begins it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use confinement::Confinement;
use hv::Event;

use super::pool::{Pool, PoolTransfers};
use super::ring::Ring;
use super::vectors::Vectors;
use crate::nbd::NbdClient;

/// What is behind a disk.
#[derive(Debug, Clone)]
pub enum Medium {
    /// A file, or a block device.
    File(Arc<File>),
    /// An export of a server.
    Server(Arc<NbdClient>),
}

/// Something to do with it.
#[derive(Debug)]
pub enum Transfer {
    /// Read from this place of the file.
    Read { place: u64, memory: Vectors },
    /// Write to this place of the file.
    Write { place: u64, memory: Vectors },
    /// Make lasting what was written.
    Sync,
    /// What is in a range does not matter any longer.
    Discard { place: u64, length: u64 },
    /// Make a range zeros by giving its room back.
    Punch { place: u64, length: u64 },
    /// Make a range zeros that keeps its room.
    Clear { place: u64, length: u64 },
}

impl Transfer {
    /// For `fallocate(2)`: what to do with which range.
    pub fn fallocate(&self) -> Option<(i32, u64, u64)> {
        match self {
            Self::Discard { place, length } | Self::Punch { place, length } => {
                Some((libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, *place, *length))
            }
            Self::Clear { place, length } => Some((libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE, *place, *length)),
            Self::Read { .. } | Self::Write { .. } | Self::Sync => None,
        }
    }
}

/// The end of a transfer: its number, and how many bytes there were.
pub type Ended = (u64, io::Result<usize>);

/// What carries out transfers of one medium.
pub trait Transfers: Send {
    /// Begins a transfer, at the latest with the next call of [`Self::ended`] or [`Self::wait`].
    ///
    /// # Safety
    /// The transfer stays where it is, and its memory mapped, until it has ended.
    unsafe fn begin(&mut self, number: u64, transfer: &Transfer);

    /// Those that have ended since.
    fn ended(&mut self) -> Vec<Ended>;

    /// Waits until one has ended, if any is under way.
    fn wait(&mut self);

    /// Happens when a transfer has ended.
    fn event(&self) -> &Event;
}

/// What carries out a queue's transfers, which whoever serves the queue uses alone.
pub type Shared = Arc<Mutex<Box<dyn Transfers>>>;

/// How transfers are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// By io_uring where the host allows it, otherwise by threads.
    #[default]
    Automatic,
    /// By threads.
    Threads,
}

/// Makes what carries out transfers, for any number of queues of a disk.
#[derive(Debug)]
pub struct Host {
    medium: Medium,
    pool: Arc<Pool>,
    mode: Mode,
}

impl Host {
    /// For this medium.
    pub fn new(medium: Medium, mode: Mode, confinement: Confinement) -> Self {
        Self { pool: Pool::new(medium.clone(), confinement), medium, mode }
    }

    /// For one queue that has at most this many requests.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn transfers(&self, requests: u16) -> io::Result<Shared> {
        if let Medium::File(file) = &self.medium
            && self.mode == Mode::Automatic
        {
            match Ring::new(Arc::clone(file), requests) {
                Ok(ring) => return Ok(Arc::new(Mutex::new(Box::new(ring)))),
                // Many hosts and containers forbid it.
                Err(error) => tracing::debug!(%error, "no io_uring here; threads read and write disks"),
            }
        }
        Ok(Arc::new(Mutex::new(Box::new(PoolTransfers::new(Arc::clone(&self.pool))?))))
    }
}
