//! Transfers by io_uring(7).
//!
//! Why unsafe: the kernel works on memory that it is given the address of.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use hv::Event;
use io_uring::register::Restriction;
use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::transfer::{Ended, Transfer, Transfers};

/// The file, as the ring knows it.
const FILE: types::Fixed = types::Fixed(0);

/// `IORING_UNREGISTER_FILES` (linux/io_uring.h).
const UNREGISTER_FILES: u8 = 3;

/// A ring for one file.
pub struct Ring {
    ring: IoUring,
    event: Event,
    under_way: usize,
    /// What could not even be begun.
    refused: Vec<Ended>,
    _file: Arc<File>,
}

impl Ring {
    /// A ring for at most this many transfers at once, or a few more; and for nothing else, whoever gets hold of it: what goes through a
    /// ring passes no filter of system calls.
    ///
    /// # Errors
    /// Where the host has no io_uring, or forbids it, or an old one.
    pub fn new(file: Arc<File>, transfers: u16) -> io::Result<Self> {
        let ring = IoUring::builder().dontfork().setup_r_disabled().build(u32::from(transfers))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];
        // Without the latter two, completions could be lost, and what is handed over would have to stay for longer.
        let complete = ring.params().is_feature_nodrop() && ring.params().is_feature_submit_stable();
        if !complete || needed.into_iter().any(|code| !probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let event = Event::new()?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        ring.submitter().register_eventfd(event.as_fd().as_raw_fd())?;
        let mut allowed: Vec<Restriction> = needed.into_iter().map(Restriction::sqe_op).collect();
        allowed.push(Restriction::register_op(UNREGISTER_FILES));
        allowed.push(Restriction::sqe_flags_required(squeue::Flags::FIXED_FILE.bits()));
        ring.submitter().register_restrictions(&mut allowed)?;
        ring.submitter().register_enable_rings()?;
        Ok(Self { ring, event, under_way: 0, refused: Vec::new(), _file: file })
    }

    /// Hands over what was begun.
    fn submit(&mut self, wait: usize) -> io::Result<()> {
        let queue = self.ring.submission();
        let is_idle = queue.is_empty() && !queue.cq_overflow();
        drop(queue);
        if is_idle && wait == 0 {
            return Ok(());
        }
        // What ends while it is handed over is seen by whoever looks afterwards, and needs no event.
        self.ring.completion().disable_eventfd();
        let result = loop {
            match self.ring.submit_and_wait(wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map(drop),
            }
        };
        self.ring.completion().enable_eventfd();
        // The kernel looks at that after it has put something into the queue; the queue is looked at after this.
        fence(Ordering::SeqCst);
        result
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel takes a ring apart later, and the file would stay open, and its image locked, until then.
        if let Err(error) = self.ring.submitter().unregister_files() {
            tracing::debug!(%error, "a disk's file is closed when the kernel gets round to it");
        }
    }
}

fn entry(number: u64, transfer: &Transfer) -> squeue::Entry {
    // A request has far fewer parts than a u32 counts.
    let entry = match transfer {
        Transfer::Read { place, memory } => {
            let parts = memory.parts();
            opcode::Readv::new(FILE, parts.as_ptr(), parts.len() as u32).offset(*place).build()
        }
        Transfer::Write { place, memory } => {
            let parts = memory.parts();
            opcode::Writev::new(FILE, parts.as_ptr(), parts.len() as u32).offset(*place).build()
        }
        Transfer::Sync => opcode::Fsync::new(FILE).flags(types::FsyncFlags::DATASYNC).build(),
        Transfer::Discard { .. } | Transfer::Punch { .. } | Transfer::Clear { .. } => {
            let (mode, place, length) = transfer.fallocate().unwrap_or_default();
            opcode::Fallocate::new(FILE, length).offset(place).mode(mode).build()
        }
    };
    entry.user_data(number)
}

impl Transfers for Ring {
    unsafe fn begin(&mut self, number: u64, transfer: &Transfer) {
        let entry = entry(number, transfer);
        // SAFETY: what the entry points to stays until the transfer has ended, as the caller promises.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // It is full.
            if let Err(error) = self.submit(0) {
                self.refused.push((number, Err(error)));
                return;
            }
        }
        self.under_way += 1;
    }

    fn ended(&mut self) -> Vec<Ended> {
        if let Err(error) = self.submit(0) {
            // It stays in the queue, and is tried again when the event is heard.
            tracing::warn!(%error, "the kernel does not take a disk's requests");
            self.event.signal();
        }
        let mut ended = std::mem::take(&mut self.refused);
        for entry in self.ring.completion() {
            self.under_way -= 1;
            let result = entry.result();
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            ended.push((entry.user_data(), result));
        }
        ended
    }

    fn wait(&mut self) {
        if self.under_way > 0
            && self.refused.is_empty()
            && let Err(error) = self.submit(1)
        {
            tracing::warn!(%error, "the kernel does not finish a disk's requests");
        }
    }

    fn event(&self) -> &Event {
        &self.event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_does_nothing_but_what_disks_need() {
        let Ok(mut ring) = Ring::new(Arc::new(tempfile::tempfile().unwrap()), 4) else {
            eprintln!("skipped: there is no io_uring here");
            return;
        };
        let path = c"/etc/passwd";
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
        let other_file = opcode::Fsync::new(types::Fd(0)).build();
        for entry in [open, other_file, opcode::Nop::new().build()] {
            // SAFETY: the path outlives the ring.
            unsafe { ring.ring.submission().push(&entry.user_data(7)) }.unwrap();
            ring.under_way += 1;
            ring.wait();
            let ended = ring.ended();
            let [(7, Err(error))] = &ended[..] else { panic!("{ended:?}") };
            assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        }
    }
}
