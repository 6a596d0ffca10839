//! Transfers by threads: those of servers, and of files where there is no io_uring.
//!
//! Why unsafe: system calls on parts of guest memory.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use confinement::{Confinement, Thread};
use hv::Event;

use super::transfer::{Ended, Medium, Transfer, Transfers};
use crate::nbd::NbdClient;

/// Bytes that are read from or written to a server at once: a request of the guest may have many more than its memory.
const AT_ONCE: usize = 4 << 20;
/// The most threads of a disk.
const THREADS: usize = 16;

/// Threads for one medium; there are only as many as were needed at once.
#[derive(Debug)]
pub struct Pool {
    medium: Medium,
    confinement: Confinement,
    jobs: Mutex<Jobs>,
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Queues that may have more.
    users: usize,
}

#[derive(Debug)]
struct Job {
    number: u64,
    transfer: NonNull<Transfer>,
    done: Arc<Done>,
}

// SAFETY: whoever began the transfer leaves it alone until it has ended, so only the thread that carries it out looks at it.
unsafe impl Send for Job {}

/// What has ended, of one queue.
#[derive(Debug)]
struct Done {
    ended: Mutex<Vec<Ended>>,
    some: Condvar,
    event: Event,
}

impl Pool {
    /// No threads yet, for this medium.
    pub fn new(medium: Medium, confinement: Confinement) -> Arc<Self> {
        Arc::new(Self { medium, confinement, jobs: Mutex::default(), wanted: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, job: Job) {
        let mut jobs = self.lock();
        jobs.waiting.push_back(job);
        if jobs.idle < jobs.waiting.len() && jobs.threads < THREADS {
            let pool = Arc::clone(self);
            let kind = match self.medium {
                Medium::File(_) => Thread::DiskTransfers,
                Medium::Server(_) => Thread::Nbd,
            };
            match self.confinement.spawn(kind, "vm-block-io".to_owned(), move || pool.work()) {
                Ok(_) => jobs.threads += 1,
                Err(error) if jobs.threads > 0 => tracing::debug!(%error, "no further thread for a disk"),
                // Then whoever asks does it.
                Err(_) => {
                    if let Some(job) = jobs.waiting.pop_back() {
                        drop(jobs);
                        job.carry_out(&self.medium);
                    }
                    return;
                }
            }
        }
        drop(jobs);
        self.wanted.notify_one();
    }

    /// What each thread does, until no queue is left.
    fn work(&self) {
        let mut jobs = self.lock();
        while jobs.users > 0 {
            if let Some(job) = jobs.waiting.pop_front() {
                drop(jobs);
                job.carry_out(&self.medium);
                jobs = self.lock();
            } else {
                jobs.idle += 1;
                jobs = self.wanted.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                jobs.idle -= 1;
            }
        }
        jobs.threads -= 1;
    }
}

impl Job {
    fn carry_out(self, medium: &Medium) {
        // SAFETY: the transfer stays where it is until it has ended, which it has not.
        let transfer = unsafe { self.transfer.as_ref() };
        let result = carry_out(transfer, medium);
        self.done.ended.lock().unwrap_or_else(PoisonError::into_inner).push((self.number, result));
        self.done.some.notify_one();
        self.done.event.signal();
    }
}

/// Carries out a transfer, as far as one system call does.
pub fn carry_out(transfer: &Transfer, medium: &Medium) -> io::Result<usize> {
    match medium {
        Medium::File(file) => by_file(transfer, file),
        Medium::Server(server) => by_server(transfer, server),
    }
}

fn by_server(transfer: &Transfer, server: &NbdClient) -> io::Result<usize> {
    match transfer {
        Transfer::Read { place, memory } => {
            let mut bytes = vec![0; memory.length().min(AT_ONCE)];
            server.read(*place, &mut bytes)?;
            return Ok(memory.write(&bytes));
        }
        Transfer::Write { place, memory } => {
            let bytes = memory.read(AT_ONCE);
            server.write(*place, &bytes)?;
            return Ok(bytes.len());
        }
        Transfer::Sync => server.flush()?,
        Transfer::Discard { place, length } => server.discard(*place, *length)?,
        Transfer::Punch { place, length } => server.write_zeroes(*place, *length, true)?,
        Transfer::Clear { place, length } => server.write_zeroes(*place, *length, false)?,
    }
    Ok(0)
}

fn by_file(transfer: &Transfer, file: &File) -> io::Result<usize> {
    let descriptor = file.as_raw_fd();
    // Places in a file fit, as the file would otherwise be no file; a request has few parts.
    // SAFETY: the parts are mapped until the transfer has ended; the other calls touch no memory.
    let result = unsafe {
        match transfer {
            Transfer::Read { place, memory } => {
                libc::preadv(descriptor, memory.parts().as_ptr(), memory.parts().len() as libc::c_int, *place as libc::off_t)
            }
            Transfer::Write { place, memory } => {
                libc::pwritev(descriptor, memory.parts().as_ptr(), memory.parts().len() as libc::c_int, *place as libc::off_t)
            }
            Transfer::Sync => libc::fdatasync(descriptor) as isize,
            Transfer::Discard { .. } | Transfer::Punch { .. } | Transfer::Clear { .. } => {
                let (mode, place, length) = transfer.fallocate().unwrap_or_default();
                libc::fallocate(descriptor, mode, place as libc::off_t, length as libc::off_t) as isize
            }
        }
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The transfers of one queue.
pub struct PoolTransfers {
    pool: Arc<Pool>,
    done: Arc<Done>,
    under_way: usize,
}

impl PoolTransfers {
    /// Carried out by this pool.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn new(pool: Arc<Pool>) -> io::Result<Self> {
        let done = Done { ended: Mutex::default(), some: Condvar::new(), event: Event::new()? };
        pool.lock().users += 1;
        Ok(Self { pool, done: Arc::new(done), under_way: 0 })
    }
}

impl Transfers for PoolTransfers {
    unsafe fn begin(&mut self, number: u64, transfer: &Transfer) {
        self.under_way += 1;
        self.pool.add(Job { number, transfer: NonNull::from(transfer), done: Arc::clone(&self.done) });
    }

    fn ended(&mut self) -> Vec<Ended> {
        let ended = std::mem::take(&mut *self.done.ended.lock().unwrap_or_else(PoisonError::into_inner));
        self.under_way -= ended.len();
        ended
    }

    fn wait(&mut self) {
        let mut ended = self.done.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while ended.is_empty() && self.under_way > 0 {
            ended = self.done.some.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn event(&self) -> &Event {
        &self.done.event
    }
}

impl Drop for PoolTransfers {
    fn drop(&mut self) {
        self.pool.lock().users -= 1;
        self.pool.wanted.notify_all();
    }
}
