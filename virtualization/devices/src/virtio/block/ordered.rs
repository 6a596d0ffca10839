//! A qcow2 image's file, written in an order in which it is right whenever writing ends: the process killed, or the host's power lost.
//!
//! An image has four kinds of tables. Reference counts (in blocks, which the refcount table points to) say which clusters are used; mappings
//! (L2 tables, which the L1 table points to) say where the guest's data is. A cluster must be counted before anything points to it. The
//! library that knows the format keeps blocks and L2 tables in memory and writes them in that order, but entries of the refcount table and
//! of the L1 table at once, when what they point to may not have been counted yet on disk. So those wait here: refcount table entries until
//! an L2 table is written, before which the library has written all blocks; L1 entries until a flush, before which it has written all of
//! both. Where the medium may take things in another order, syncs separate counts from mappings, as QEMU does.
//!
//! Why unsafe: imago's trait has methods that are, for what its own locks promise; they are handed on.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::drivers::CommonStorageHelper;
use imago::{Storage, StorageExt};

use super::qcow2::{OFFSET, read};

/// Bytes of a header's beginning that say where tables are.
const HEADER: usize = 72;
/// Bytes of a table's entry.
const ENTRY: usize = 8;
/// The largest table that is looked at: that of an image of 4 EiB with clusters of 2 MiB.
const TABLE_MAXIMUM: u64 = 1 << 25;

/// The file.
#[derive(Debug)]
pub struct Ordered {
    file: imago::file::File,
    /// For reads of tables, which go past nothing.
    tables_file: File,
    syncs: Arc<AtomicBool>,
    helper: CommonStorageHelper,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cluster: u64,
    l1: Table,
    counts: Table,
    /// Something was written that is no L2 table, since the last sync.
    wrote_others: bool,
    /// An L2 table was, likewise.
    wrote_mappings: bool,
}

/// A table of offsets.
#[derive(Debug, Default)]
struct Table {
    start: u64,
    length: u64,
    /// Where its entries point to.
    targets: BTreeSet<u64>,
    /// Entries that wait to be written, by place.
    waiting: BTreeMap<u64, [u8; ENTRY]>,
}

impl Table {
    fn holds(&self, place: u64) -> bool {
        (self.start..self.start + self.length).contains(&place)
    }

    /// Knows of what an entry points to.
    fn learn(&mut self, entry: [u8; ENTRY]) {
        let target = u64::from_be_bytes(entry) & OFFSET;
        if target != 0 {
            self.targets.insert(target);
        }
    }

    /// Keeps entries until they may be written.
    fn keep(&mut self, place: u64, bytes: &[u8]) {
        for (entry, place) in bytes.chunks_exact(ENTRY).zip((place..).step_by(ENTRY)) {
            let entry = std::array::from_fn(|byte| entry[byte]);
            self.learn(entry);
            self.waiting.insert(place, entry);
        }
    }

    /// Puts what waits over what was read from this place.
    fn cover(&self, place: u64, bytes: &mut [u8]) {
        for (start, waiting) in &self.waiting {
            for (byte, at) in waiting.iter().zip(*start..) {
                if let Some(room) = at.checked_sub(place).and_then(|index| bytes.get_mut(usize::try_from(index).ok()?)) {
                    *room = *byte;
                }
            }
        }
    }
}

impl Ordered {
    /// This file, which is open for reading, and a second descriptor of it. `syncs` says whether the medium matters.
    ///
    /// # Errors
    /// Where its tables cannot be read.
    pub fn new(file: imago::file::File, tables_file: File, syncs: Arc<AtomicBool>) -> io::Result<Self> {
        let ordered = Self { file, tables_file, syncs, helper: CommonStorageHelper::default(), state: Mutex::default() };
        ordered.look(&mut ordered.lock())?;
        Ok(ordered)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out where the tables are.
    fn look(&self, state: &mut State) -> io::Result<()> {
        let header = read(&self.tables_file, 0, HEADER as u64)?;
        let word = |place: usize| u64::from(u32::from_be_bytes(std::array::from_fn(|byte| header[place + byte])));
        let long = |place: usize| word(place) << 32 | word(place + 4);
        state.cluster = 1 << word(20).clamp(9, 21);
        for (table, start, length) in
            [(&mut state.l1, long(40), word(36) * 8), (&mut state.counts, long(48), word(56).saturating_mul(state.cluster))]
        {
            if length > TABLE_MAXIMUM || start.checked_add(length).is_none() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "A table of the image is larger than any should be"));
            }
            (table.start, table.length) = (start, length);
            table.targets.clear();
            let bytes = read(&self.tables_file, start, length)?;
            let waiting: Vec<[u8; ENTRY]> = table.waiting.values().copied().collect();
            let entries = bytes.chunks_exact(ENTRY).map(|entry| std::array::from_fn(|byte| entry[byte]));
            entries.chain(waiting).for_each(|entry| table.learn(entry));
        }
        Ok(())
    }

    /// Writes entries that waited, after everything that was written before.
    fn write_waiting(&self, state: &mut State, waiting: BTreeMap<u64, [u8; ENTRY]>) -> io::Result<()> {
        let mut waiting = waiting.into_iter().peekable();
        if waiting.peek().is_some() {
            self.separate(state, true)?;
        }
        while let Some((place, entry)) = waiting.next() {
            let mut bytes = entry.to_vec();
            while let Some((_, entry)) = waiting.next_if(|(next, _)| *next == place + bytes.len() as u64) {
                bytes.extend(entry);
            }
            self.file.write(&bytes[..], place)?;
            state.wrote_others = true;
        }
        Ok(())
    }

    /// Puts what was written so far before what comes now, if it has to be.
    fn separate(&self, state: &mut State, has_to_be: bool) -> io::Result<()> {
        if has_to_be && self.syncs.load(Ordering::Relaxed) {
            self.tables_file.sync_data()?;
            (state.wrote_others, state.wrote_mappings) = (false, false);
        }
        Ok(())
    }
}

impl fmt::Display for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Storage for Ordered {
    fn mem_align(&self) -> usize {
        self.file.mem_align()
    }

    fn req_align(&self) -> usize {
        self.file.req_align()
    }

    fn zero_align(&self) -> usize {
        self.file.zero_align()
    }

    fn discard_align(&self) -> usize {
        self.file.discard_align()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    unsafe fn pure_readv(&self, mut room: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let state = self.lock();
        let (length, tables) = (room.len(), [&state.l1, &state.counts]);
        let touches = |table: &&Table| !table.waiting.is_empty() && offset < table.start + table.length && table.start < offset + length;
        if !tables.iter().any(touches) {
            drop(state);
            // SAFETY: the caller's promises are those that are asked for.
            return unsafe { self.file.pure_readv(room, offset) };
        }
        let mut bytes = read(&self.tables_file, offset, length)?;
        tables.into_iter().for_each(|table| table.cover(offset, &mut bytes));
        room.copy_from_slice(&bytes);
        Ok(())
    }

    unsafe fn pure_writev(&self, data: IoVector<'_>, offset: u64) -> io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        for table in [&mut state.l1, &mut state.counts] {
            if table.holds(offset) && data.len().is_multiple_of(ENTRY as u64) {
                let mut bytes = vec![0; data.len() as usize];
                data.copy_into_slice(&mut bytes);
                table.keep(offset, &bytes);
                return Ok(());
            }
        }
        let is_header = offset < HEADER as u64;
        let is_mapping = state.l1.targets.contains(&(offset & !(state.cluster - 1)));
        let is_counts = state.counts.targets.contains(&(offset & !(state.cluster - 1)));
        if is_mapping || is_header {
            let waiting = std::mem::take(&mut state.counts.waiting);
            self.write_waiting(state, waiting)?;
            let has_to_be = state.wrote_others;
            self.separate(state, has_to_be)?;
        } else if is_counts {
            let has_to_be = state.wrote_mappings;
            self.separate(state, has_to_be)?;
        }
        state.wrote_mappings |= is_mapping;
        state.wrote_others |= !is_mapping;
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.file.pure_writev(data, offset) }?;
        if is_header {
            // The tables may be elsewhere now.
            self.look(state)?;
        }
        Ok(())
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.lock().wrote_others = true;
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.file.pure_write_zeroes(offset, length) }
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.lock().wrote_others = true;
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.file.pure_write_allocated_zeroes(offset, length) }
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.lock().wrote_others = true;
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.file.pure_discard(offset, length) }
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        let (counts, mappings) = (std::mem::take(&mut state.counts.waiting), std::mem::take(&mut state.l1.waiting));
        self.write_waiting(&mut state, counts)?;
        self.write_waiting(&mut state, mappings)?;
        self.file.flush()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.file.invalidate_cache() }
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }

    fn resize(&self, size: u64, mode: imago::storage::PreallocateMode) -> io::Result<()> {
        self.file.resize(size, mode)
    }
}
