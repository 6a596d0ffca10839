//! One queue of a disk, served: requests become transfers, and what has ended is answered.
//!
//! Why unsafe: requests and transfers keep addresses of guest memory. The server holds the memory, and ends only when all of them have.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use hv::{Event, GuestMemory};
use slab::Slab;

use super::disk::Disk;
use super::gathering::Gathering;
use super::pace::Pace;
use super::request::{IO_ERROR, OK, Request, Wish};
use super::transfer::{Ended, Shared, Transfer, Transfers};
use crate::virtio::{ActiveQueue, Failure};

/// A request that is under way.
struct Pending {
    request: Request,
    /// Bytes written to the chain if all goes well, without the answer.
    written: u32,
    transfers: usize,
    status: u8,
    /// It is answered only when it lasts.
    sync_after: bool,
}

/// A transfer that is under way, for the request with this number. Boxed, as it has to stay where it is.
struct Piece {
    request: usize,
    transfer: Box<Transfer>,
}

/// A queue and what is under way in it.
pub struct Server {
    queue: ActiveQueue,
    memory: GuestMemory,
    disk: Arc<Disk>,
    transfers: Shared,
    event: Event,
    failure: Failure,
    /// The guest's driver does not flush, so that every write has to last by itself.
    write_through: bool,
    pending: Slab<Pending>,
    pieces: Slab<Piece>,
    /// For so many further requests others are likely to come while one is carried out.
    crowded: u32,
    writes: Pace,
    syncs: Pace,
    /// Bytes that were carried out here since the guest was last told of what has ended.
    untold: usize,
    gathering: Gathering,
    inside: bool,
    paused: Arc<AtomicBool>,
    failed: bool,
}

/// How many requests are not waited for after one during which another one came.
const CROWDED: u32 = 64;
/// After so many bytes the guest is told, and can go on meanwhile.
const UNTOLD: usize = 1 << 20;
/// The most transfers under way before no further request is taken.
pub const UNDER_WAY: usize = 256;

impl Server {
    /// Serves this queue.
    pub fn new(queue: ActiveQueue, disk: Arc<Disk>, transfers: Shared, failure: Failure, write_through: bool) -> Self {
        let event = transfers.lock().unwrap_or_else(PoisonError::into_inner).event().clone();
        let memory = queue.memory().clone();
        let (pending, pieces) = (Slab::new(), Slab::new());
        Self {
            queue,
            memory,
            disk,
            transfers,
            event,
            failure,
            write_through,
            pending,
            pieces,
            crowded: 0,
            writes: Pace::default(),
            syncs: Pace::default(),
            untold: 0,
            gathering: Gathering::default(),
            inside: false,
            paused: Arc::default(),
            failed: false,
        }
    }

    /// The queue.
    pub fn queue(&self) -> &ActiveQueue {
        &self.queue
    }

    /// Happens when a transfer has ended.
    pub fn event(&self) -> &Event {
        &self.event
    }

    fn transfers(&self) -> MutexGuard<'_, Box<dyn Transfers>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what there is to do. `false` when the queue makes no sense any longer.
    pub fn serve(&mut self) -> bool {
        if self.failed {
            return false;
        }
        let served = self.work();
        if let Err(error) = served {
            self.failed = true;
            self.drain();
            self.failure.fail("block", &error);
        }
        !self.failed
    }

    fn work(&mut self) -> Result<(), virtio_queue::Error> {
        loop {
            let ended = self.transfers().ended();
            let mut progress = !ended.is_empty();
            for ended in ended {
                self.ended(ended)?;
            }
            if self.inside && self.pending.is_empty() {
                self.leave();
            }
            while !self.paused.load(Ordering::SeqCst) && self.pieces.len() < UNDER_WAY && !(self.inside && self.disk.gate.is_wanted()) {
                let (memory, size) = (&self.memory, self.disk.size());
                // SAFETY: the memory is held for as long as the request.
                let taken = self.queue.take(|head, chain| unsafe { Request::read(head, chain, memory, size) })?;
                match taken {
                    None => break,
                    // Without room for an answer there is nothing to do but to give the chain back.
                    Some(Err(head)) => self.queue.give_back(head, 0)?,
                    Some(Ok(request)) => self.begin(request)?,
                }
                progress = true;
                if self.untold > UNTOLD {
                    self.tell()?;
                }
            }
            if !progress && !self.gather()? {
                break;
            }
        }
        self.tell()
    }

    /// Waits for what the guest is about to ask for, if that is likely to come. False when there is nothing to wait for any longer.
    fn gather(&mut self) -> Result<bool, virtio_queue::Error> {
        if !self.pending.is_empty() || self.paused.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let Some((more, time)) = self.gathering.wait(Instant::now) else { return Ok(false) };
        // It is a few.
        self.queue.wait_for(more as u16, time)?;
        Ok(true)
    }

    fn tell(&mut self) -> Result<(), virtio_queue::Error> {
        self.untold = 0;
        self.gathering.told(Instant::now);
        self.queue.interrupt()
    }

    fn enter(&mut self) {
        if !self.inside {
            self.disk.gate.enter();
            self.inside = true;
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.inside) {
            self.disk.gate.leave();
        }
    }

    fn begin(&mut self, mut request: Request) -> Result<(), virtio_queue::Error> {
        if request.is_change() && self.disk.read_only {
            request.wish = Wish::Refuse(IO_ERROR);
        }
        let sync_after = self.write_through && request.is_change();
        let mut written = 0;
        let transfers = match request.wish {
            Wish::Refuse(status) => return self.answer(&request, status, 0),
            Wish::Identify => {
                // At most 20.
                written = request.data.write(&self.disk.identifier) as u32;
                Ok(Vec::new())
            }
            Wish::Read { start } => {
                self.enter();
                // It was checked against the most that a request may have.
                written = request.data.length() as u32;
                self.disk.read(start, std::mem::take(&mut request.data))
            }
            Wish::Write { start } => {
                self.enter();
                self.disk.write(start, std::mem::take(&mut request.data))
            }
            Wish::Flush => {
                self.enter();
                self.disk.flush()
            }
            Wish::Discard { start: place, length } if self.disk.is_direct() => Ok(vec![Transfer::Discard { place, length }]),
            Wish::WriteZeroes { start: place, length, may_unmap: true } if self.disk.is_direct() => {
                Ok(vec![Transfer::Punch { place, length }])
            }
            Wish::WriteZeroes { start: place, length, may_unmap: false } if self.disk.is_direct() => {
                Ok(vec![Transfer::Clear { place, length }])
            }
            Wish::Discard { .. } | Wish::WriteZeroes { .. } => self.alone(request.wish)?.map(|()| Vec::new()),
        };
        let status = if let Err(error) = &transfers {
            tracing::warn!(%error, wish = ?request.wish, "a request of the guest's disk failed");
            IO_ERROR
        } else {
            OK
        };
        let transfers = transfers.unwrap_or_default();
        if transfers.is_empty() && !(sync_after && status == OK) {
            return self.answer(&request, status, written);
        }
        self.enter();
        let is_lone =
            self.disk.is_near() && transfers.len() == 1 && self.pieces.is_empty() && self.crowded == 0 && !self.queue.has_more()?;
        self.crowded = self.crowded.saturating_sub(1);
        let number = self.pending.insert(Pending { request, written, transfers: transfers.len(), status, sync_after });
        for transfer in transfers {
            let is_here = is_lone || self.is_quick(&transfer);
            let piece = self.pieces.insert(Piece { request: number, transfer: Box::new(transfer) });
            if is_here { self.carry_out(piece)? } else { self.restart(piece) }
        }
        if is_lone && self.queue.has_more()? {
            self.crowded = CROWDED;
        }
        self.advance(number)
    }

    /// Whether this thread has done a transfer sooner than it could have others do it.
    fn is_quick(&mut self, transfer: &Transfer) -> bool {
        self.disk.is_cached()
            && match transfer {
                Transfer::Write { .. } => self.writes.is_quick(),
                Transfer::Sync => self.syncs.is_quick(),
                // Of these the kernel does at once what it can, and for all that are handed over by one call.
                Transfer::Read { .. } | Transfer::Discard { .. } | Transfer::Punch { .. } | Transfer::Clear { .. } => false,
            }
    }

    /// Carries out a transfer here and now: nobody has to be woken. The only one of the only request that there is keeps nobody waiting.
    fn carry_out(&mut self, number: usize) -> Result<(), virtio_queue::Error> {
        let transfer = &self.pieces[number].transfer;
        let pace = match **transfer {
            Transfer::Write { .. } => Some(&mut self.writes),
            Transfer::Sync => Some(&mut self.syncs),
            Transfer::Read { .. } | Transfer::Discard { .. } | Transfer::Punch { .. } | Transfer::Clear { .. } => None,
        };
        let (begun, result) = (pace.is_some().then(Instant::now), self.disk.carry_out(transfer));
        let bytes = result.as_ref().map_or(0, |bytes| *bytes);
        if let (Some(pace), Some(begun)) = (pace, begun) {
            pace.took(begun.elapsed(), bytes);
        }
        self.untold = self.untold.saturating_add(bytes);
        self.ended((number as u64, result))
    }

    /// Does what needs the whole image for itself.
    fn alone(&mut self, wish: Wish) -> Result<io::Result<()>, virtio_queue::Error> {
        self.finish()?;
        let disk = &self.disk;
        Ok(disk.gate.alone(|| match wish {
            Wish::Discard { start, length } => disk.discard(start, length),
            Wish::WriteZeroes { start, length, may_unmap } => disk.clear(start, length, may_unmap),
            _ => Ok(()),
        }))
    }

    fn start(&mut self, request: usize, transfer: Transfer) {
        if let Some(pending) = self.pending.get_mut(request) {
            pending.transfers += 1;
        }
        let number = self.pieces.insert(Piece { request, transfer: Box::new(transfer) });
        self.restart(number);
    }

    fn restart(&mut self, number: usize) {
        // SAFETY: the piece stays, boxed, until its end is seen, and the memory is held for longer.
        unsafe { self.transfers().begin(number as u64, &self.pieces[number].transfer) };
    }

    fn ended(&mut self, (number, result): Ended) -> Result<(), virtio_queue::Error> {
        let number = number as usize;
        let Some(piece) = self.pieces.get_mut(number) else { return Ok(()) };
        let done = match (&mut *piece.transfer, result) {
            (_, Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            (Transfer::Read { place, memory } | Transfer::Write { place, memory }, Ok(count)) => {
                drop(memory.take(count));
                *place += count as u64;
                match memory.length() {
                    0 => Ok(true),
                    // It has become smaller, or is full.
                    _ if count == 0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    _ => Ok(false),
                }
            }
            (Transfer::Sync | Transfer::Discard { .. } | Transfer::Punch { .. } | Transfer::Clear { .. }, Ok(_)) => Ok(true),
            (_, Err(error)) => Err(error),
        };
        match done {
            Ok(false) => {
                self.restart(number);
                return Ok(());
            }
            Ok(true) => {}
            Err(error) => self.failed_transfer(number, error)?,
        }
        let request = self.pieces.remove(number).request;
        if let Some(pending) = self.pending.get_mut(request) {
            pending.transfers -= 1;
        }
        self.advance(request)
    }

    fn failed_transfer(&mut self, number: usize, error: io::Error) -> Result<(), virtio_queue::Error> {
        let Piece { request, transfer } = &self.pieces[number];
        let request = *request;
        let is_broken = error.raw_os_error() == Some(libc::EIO);
        let mut result = Err(error);
        if let Some((_, start, length)) = transfer.fallocate()
            && let Some(pending) = self.pending.get(request)
        {
            // What the file system cannot do by itself.
            result = match pending.request.wish {
                // It is only advice.
                Wish::Discard { .. } if !is_broken => Ok(()),
                Wish::WriteZeroes { .. } if self.disk.is_near() => self.disk.clear(start, length, false),
                _ => result,
            };
        }
        if let (Err(error), Some(pending)) = (result, self.pending.get_mut(request)) {
            tracing::warn!(%error, wish = ?pending.request.wish, "a request of the guest's disk failed");
            pending.status = IO_ERROR;
        }
        Ok(())
    }

    /// Answers a request when nothing of it is under way any longer.
    fn advance(&mut self, number: usize) -> Result<(), virtio_queue::Error> {
        let Some(pending) = self.pending.get_mut(number).filter(|pending| pending.transfers == 0) else { return Ok(()) };
        if pending.status == OK && std::mem::take(&mut pending.sync_after) {
            match self.disk.flush() {
                Ok(transfers) if transfers.is_empty() => {}
                Ok(transfers) => {
                    transfers.into_iter().for_each(|transfer| self.start(number, transfer));
                    return Ok(());
                }
                Err(_) => pending.status = IO_ERROR,
            }
        }
        let Pending { request, written, status, .. } = self.pending.remove(number);
        self.answer(&request, status, written)
    }

    fn answer(&mut self, request: &Request, status: u8, written: u32) -> Result<(), virtio_queue::Error> {
        request.answer(status);
        self.gathering.answered();
        self.queue.give_back(request.head, if status == OK { written } else { 0 } + 1)
    }

    /// Ends what is under way.
    fn finish(&mut self) -> Result<(), virtio_queue::Error> {
        let mut result = Ok(());
        while !self.pieces.is_empty() {
            self.transfers().wait();
            let all = self.transfers().ended();
            for ended in all {
                result = result.and(self.ended(ended));
            }
        }
        self.leave();
        result
    }

    /// Ends what is under way, whatever becomes of the queue.
    pub fn drain(&mut self) {
        let finished = self.finish().and_then(|()| self.queue.interrupt());
        if let Err(error) = finished {
            tracing::debug!(%error, "a disk's queue could not be given its last answers");
        }
    }

    /// While this is true it takes no further request: whoever wants it to stand still need not wait for all that the guest has asked for.
    pub fn paused(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.paused)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain();
    }
}
