//! What is behind a disk: a file, and where in it the disk's bytes are.
//!
//! Why unsafe: the library that knows qcow2 is told that nobody else works with an image while room in it is given back.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use confinement::{Confinement, Thread};
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::{DenyImplicitOpenGate, DynStorage, FormatAccess, FormatDriverBuilder, ShallowMapping, Storage as _};
use rustix::fs::OFlags;

use super::gate::Gate;
use super::ordered::Ordered;
use super::request::SECTOR;
use super::transfer::{Host, Medium, Mode, Transfer};
use super::vectors::Vectors;
use super::{pool, qcow2};
use crate::nbd::{NbdClient, NbdStorage};

/// Bytes of a serial number.
pub const ID_SIZE: usize = 20;
/// What the library that knows formats reads and writes.
type Storage = Box<dyn DynStorage>;

/// The most pieces of a file that one request is cut into.
const PIECES: usize = 32;

/// What is behind the disk: an image in a format that was chosen, never guessed.
#[derive(Debug)]
pub struct Disk {
    /// Where the image's bytes are.
    medium: Medium,
    image: FormatAccess<Storage>,
    format: Format,
    pub(super) read_only: bool,
    syncs: Arc<AtomicBool>,
    pub(super) identifier: [u8; ID_SIZE],
    pub(super) queues: u16,
    mode: Mode,
    /// What places in the file, lengths and addresses in memory have to be multiples of.
    alignment: usize,
    /// Bytes of the file when it was opened; it may grow.
    file_size: u64,
    pub(super) gate: Gate,
    /// Held by whoever uses a format's tables. The library allows several at once, and then writes one's tables while another one is
    /// between two of its own: a process that is killed right there leaves clusters that are used and not counted.
    tables: Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Raw,
    Qcow2 {
        cluster: u64,
    },
    /// Of a server, which may want to be asked for more than a sector at once; then the library does that.
    Nbd {
        is_direct: bool,
    },
}

impl Disk {
    /// A raw image or a block device.
    ///
    /// # Errors
    /// Where its size cannot be read.
    pub fn raw(file: File, read_only: bool) -> io::Result<Self> {
        let storage: Storage = Box::new(imago::file::File::try_from(file.try_clone()?)?);
        let image = imago::raw::Raw::open_image(storage, !read_only)?;
        Self::new(Medium::File(Arc::new(file)), FormatAccess::new(image), Format::Raw, read_only)
    }

    /// An export of a network block device server, which may itself be one that is only read.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn nbd(client: Arc<NbdClient>, read_only: bool) -> io::Result<Self> {
        let read_only = read_only || client.export().is_read_only();
        let storage: Storage = Box::new(NbdStorage::new(Arc::clone(&client)));
        let image = imago::raw::Raw::open_image(storage, !read_only)?;
        let format = Format::Nbd { is_direct: u64::from(client.export().block) <= SECTOR };
        Self::new(Medium::Server(client), FormatAccess::new(image), format, read_only)
    }

    /// A qcow2 image without a backing file.
    ///
    /// # Errors
    /// Where it is damaged, is encrypted, has a backing file or snapshots that writing would damage, or what is not known here.
    pub fn qcow2(file: File, read_only: bool) -> io::Result<Self> {
        let cluster = qcow2::check(&file, read_only)?;
        let syncs = Arc::new(AtomicBool::new(true));
        let inner = imago::file::File::try_from(file.try_clone()?)?;
        if inner.req_align() as u64 > cluster {
            let why = "Its clusters are smaller than the blocks of its file system; it can only be used cached";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let storage: Storage = Box::new(Ordered::new(inner, file.try_clone()?, Arc::clone(&syncs))?);
        // What an image names may be any file of whoever runs this, so nothing is opened for it.
        let image = imago::qcow2::Qcow2::<Storage>::builder(storage).write(!read_only).open(DenyImplicitOpenGate::default())?;
        let disk = Self::new(Medium::File(Arc::new(file)), FormatAccess::new(image), Format::Qcow2 { cluster }, read_only)?;
        Ok(Self { syncs, ..disk })
    }

    fn new(medium: Medium, image: FormatAccess<Storage>, format: Format, read_only: bool) -> io::Result<Self> {
        let (mut alignment, mut file_size) = (1, 0);
        if let Medium::File(file) = &medium {
            file_size = size(file)?;
            if rustix::fs::fcntl_getfl(file)?.contains(OFlags::DIRECT) {
                alignment = image.req_align().max(image.mem_align());
            }
        }
        Ok(Self {
            medium,
            image,
            format,
            read_only,
            syncs: Arc::new(AtomicBool::new(true)),
            identifier: [0; ID_SIZE],
            queues: 1,
            mode: Mode::default(),
            alignment,
            file_size,
            gate: Gate::default(),
            tables: Mutex::default(),
        })
    }

    /// With this serial number, of which 20 bytes are used.
    #[must_use]
    pub fn identifier(mut self, identifier: &[u8]) -> Self {
        for (place, byte) in self.identifier.iter_mut().zip(identifier) {
            *place = *byte;
        }
        self
    }

    /// Whether a flush reaches the medium.
    #[must_use]
    pub fn syncs(self, syncs: bool) -> Self {
        self.syncs.store(syncs, Ordering::Relaxed);
        self
    }

    /// With this many queues, at least one.
    #[must_use]
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues.max(1);
        self
    }

    /// Read and written in this way.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Carries out a transfer and waits for it.
    pub(super) fn carry_out(&self, transfer: &Transfer) -> io::Result<usize> {
        pool::carry_out(transfer, &self.medium)
    }

    /// What carries out its transfers.
    pub(super) fn host(&self, confinement: &Confinement) -> Host {
        Host::new(self.medium.clone(), self.mode, confinement.clone())
    }

    /// What serves its queues.
    pub(super) fn thread(&self) -> Thread {
        match self.format {
            Format::Raw | Format::Qcow2 { .. } => Thread::Disk,
            Format::Nbd { .. } => Thread::Nbd,
        }
    }

    /// Bytes of the disk, as the guest sees it.
    pub(super) fn size(&self) -> u64 {
        self.image.size()
    }

    /// What reading and writing whole multiples of is quickest: a page, or what the file demands.
    pub(super) fn block_size(&self) -> u64 {
        (self.alignment as u64).max(4096)
    }

    /// What giving room back works in.
    pub(super) fn discard_size(&self) -> u64 {
        match self.format {
            Format::Raw | Format::Nbd { .. } => self.block_size(),
            Format::Qcow2 { cluster } => cluster,
        }
    }

    /// Reads into memory: at once what has to be, the rest by the transfers that are returned.
    pub(super) fn read(&self, mut start: u64, mut memory: Vectors) -> io::Result<Vec<Transfer>> {
        let mut transfers = Vec::new();
        while memory.length() > 0 {
            let left = memory.length();
            if !self.is_aligned(start, &memory) || transfers.len() >= PIECES {
                self.read_now(start, &memory)?;
                break;
            }
            let (found, length) = self.find(start, left as u64, false)?;
            let part = memory.take(length);
            match found {
                Found::At(place) => transfers.push(Transfer::Read { place, memory: part }),
                Found::Zeros => part.clear(),
                Found::Elsewhere => self.read_now(start, &part)?,
            }
            start += length as u64;
        }
        Ok(transfers)
    }

    /// Writes from memory: at once what has to be, the rest by the transfers that are returned.
    pub(super) fn write(&self, mut start: u64, mut memory: Vectors) -> io::Result<Vec<Transfer>> {
        let mut transfers = Vec::new();
        while memory.length() > 0 {
            let left = memory.length();
            if !self.is_aligned(start, &memory) || transfers.len() >= PIECES {
                self.write_now(start, &memory)?;
                break;
            }
            let (found, length) = self.find(start, left as u64, true)?;
            let part = memory.take(length);
            match found {
                Found::At(place) => transfers.push(Transfer::Write { place, memory: part }),
                Found::Zeros | Found::Elsewhere => self.write_now(start, &part)?,
            }
            start += length as u64;
        }
        Ok(transfers)
    }

    /// Makes what was written last, as far as that is wanted, when what is returned has been done too.
    pub(super) fn flush(&self) -> io::Result<Vec<Transfer>> {
        // Data that was written into what somebody has cut off is lost.
        if let Medium::File(file) = &self.medium
            && size(file)? < self.file_size
        {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "The disk's file has become smaller"));
        }
        let tables = self.tables();
        self.image.flush()?;
        drop(tables);
        Ok(if self.syncs.load(Ordering::Relaxed) { vec![Transfer::Sync] } else { Vec::new() })
    }

    /// The same, done when this returns.
    pub(super) fn flush_now(&self) -> io::Result<()> {
        self.flush()?.iter().try_for_each(|transfer| self.carry_out(transfer).map(drop))
    }

    /// Gives a range's room back, where the format can; nobody else is inside the gate.
    pub(super) fn discard(&self, start: u64, length: u64) -> io::Result<()> {
        let _tables = self.tables();
        // SAFETY: nobody else reads or writes meanwhile.
        match unsafe { self.image.discard_to_any_unsafe(start, length) } {
            // It is only advice.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            other => other,
        }
    }

    /// Makes a range zeros; nobody else is inside the gate.
    pub(super) fn clear(&self, start: u64, length: u64, may_unmap: bool) -> io::Result<()> {
        let _tables = self.tables();
        if may_unmap {
            // SAFETY: nobody else reads or writes meanwhile.
            match unsafe { self.image.discard_to_zero_unsafe(start, length) } {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                other => return other,
            }
        }
        self.image.write_zeroes(start, length)
    }

    /// Whether ranges of the disk are ranges of what is behind it.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self.format, Format::Raw | Format::Nbd { is_direct: true })
    }

    /// Whether what is behind it is on this computer, and so soon done.
    pub(super) fn is_near(&self) -> bool {
        matches!(self.medium, Medium::File(_))
    }

    /// Whether what is written goes into this computer's memory, if there is room.
    pub(super) fn is_cached(&self) -> bool {
        self.is_near() && self.alignment == 1
    }

    fn tables(&self) -> Option<MutexGuard<'_, ()>> {
        let has_tables = matches!(self.format, Format::Qcow2 { .. });
        has_tables.then(|| self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_aligned(&self, start: u64, memory: &Vectors) -> bool {
        self.alignment == 1 || (start.is_multiple_of(self.alignment as u64) && memory.is_aligned(self.alignment))
    }

    /// Where in the file a range begins, and how much of it is there.
    fn find(&self, start: u64, length: u64, to_write: bool) -> io::Result<(Found, usize)> {
        match self.format {
            Format::Raw | Format::Nbd { is_direct: true } => return Ok((Found::At(start), length as usize)),
            Format::Nbd { is_direct: false } => return Ok((Found::Elsewhere, length as usize)),
            Format::Qcow2 { .. } => {}
        }
        let _tables = self.tables();
        let (mapping, length) = self.image.get_shallow_mapping(start, length)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let found = match mapping {
            // Where the file ends inside, the library knows what to do.
            ShallowMapping::Raw { storage, offset, writable, .. } if offset.saturating_add(length) <= storage.size()? => {
                if writable || !to_write { Found::At(offset) } else { Found::Elsewhere }
            }
            ShallowMapping::Zero { .. } => Found::Zeros,
            _ => Found::Elsewhere,
        };
        // It is no more than was asked for.
        Ok((found, length as usize))
    }

    fn read_now(&self, start: u64, memory: &Vectors) -> io::Result<()> {
        let _tables = self.tables();
        let slices = memory.slices();
        let (vector, _guard) = IoVectorMut::from_volatile_slice(&slices);
        self.image.readv(vector, start)
    }

    fn write_now(&self, start: u64, memory: &Vectors) -> io::Result<()> {
        let _tables = self.tables();
        let slices = memory.slices();
        let (vector, _guard) = IoVector::from_volatile_slice(&slices);
        self.image.writev(vector, start)
    }
}

/// Where a range of the disk is.
enum Found {
    /// In the file, from here on.
    At(u64),
    /// Nowhere: it is zeros.
    Zeros,
    /// Where only the library gets at it, or puts it.
    Elsewhere,
}

fn size(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.file_type().is_block_device() {
        return rustix::fs::seek(file, rustix::fs::SeekFrom::End(0)).map_err(Into::into);
    }
    Ok(metadata.len())
}
