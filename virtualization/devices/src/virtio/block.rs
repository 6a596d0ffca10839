//! The disk (Virtio 1.2, 5.2).
//!
//! Each disk has a thread of its own, as its backend may keep it waiting. A flush that the guest asked for has reached the medium when it is
//! answered.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use imago::io_buffers::{IoVector, IoVectorMut};
use imago::{DenyImplicitOpenGate, DynStorage, FormatAccess, FormatDriverBuilder};

use super::buffers::Buffers;
use super::queue::{ActiveQueue, Failure};
use super::{Activation, Kind, VirtioDevice};
use crate::nbd::{NbdClient, NbdStorage};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

const QUEUE_SIZE: u16 = 256;
const SECTOR: u64 = 512;

/// Features (5.2.3).
const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// Types of requests (5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_REQUEST: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD_REQUEST: u32 = 11;
const WRITE_ZEROES_REQUEST: u32 = 13;

/// Answers.
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Bytes of a serial number.
const ID_SIZE: usize = 20;
/// Parts of a request, and bytes of one, that the guest is told are the most.
const SEGMENTS: u32 = 126;
const SEGMENT_SIZE: u32 = 1 << 20;
/// Bytes that are read or written by one request at most.
const REQUEST_MAXIMUM: usize = SEGMENTS as usize * SEGMENT_SIZE as usize;
/// Sectors that one discard or write of zeros may name.
const RANGE_MAXIMUM: u32 = 1 << 22;

/// Where an image's bytes are.
type Storage = Box<dyn DynStorage>;

/// What is behind the disk: an image in a format that was chosen, never guessed.
#[derive(Debug)]
pub struct Disk {
    image: FormatAccess<Storage>,
    read_only: bool,
    syncs: bool,
    identifier: [u8; ID_SIZE],
}

impl Disk {
    /// A raw image or a block device.
    ///
    /// # Errors
    /// Where its size cannot be read.
    pub fn raw(file: File, read_only: bool) -> io::Result<Self> {
        Self::raw_in(Box::new(imago::file::File::try_from(file)?), read_only)
    }

    /// An export of a network block device server, which may itself be one that is only read.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn nbd(client: Arc<NbdClient>, read_only: bool) -> io::Result<Self> {
        let read_only = read_only || client.export().is_read_only();
        Self::raw_in(Box::new(NbdStorage::new(client)), read_only)
    }

    fn raw_in(storage: Storage, read_only: bool) -> io::Result<Self> {
        let image = imago::raw::Raw::open_image(storage, !read_only)?;
        Ok(Self::new(FormatAccess::new(image), read_only))
    }

    /// A qcow2 image without a backing file.
    ///
    /// # Errors
    /// Where it is damaged, or has a backing file.
    pub fn qcow2(file: File, read_only: bool) -> io::Result<Self> {
        let builder = imago::qcow2::Qcow2::<Storage>::builder(Box::new(imago::file::File::try_from(file)?));
        // What an image names may be any file of whoever runs this, so nothing is opened for it.
        let image = builder.write(!read_only).open(DenyImplicitOpenGate::default())?;
        Ok(Self::new(FormatAccess::new(image), read_only))
    }

    fn new(image: FormatAccess<Storage>, read_only: bool) -> Self {
        Self { image, read_only, syncs: true, identifier: [0; ID_SIZE] }
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
    pub fn syncs(mut self, syncs: bool) -> Self {
        self.syncs = syncs;
        self
    }

    fn flush(&self) -> io::Result<()> {
        self.image.flush()?;
        if self.syncs { self.image.sync() } else { Ok(()) }
    }

    /// Whether this many bytes from this sector on are all there.
    fn place(&self, sector: u64, length: u64) -> Option<u64> {
        let start = sector.checked_mul(SECTOR)?;
        (length.is_multiple_of(SECTOR) && start.checked_add(length)? <= self.image.size()).then_some(start)
    }
}

/// The device.
#[derive(Debug)]
pub struct Block {
    disk: Arc<Mutex<Disk>>,
    events: EventLoop,
    running: Option<Registration>,
    features: u64,
    sectors: u64,
}

impl Block {
    /// A device over this disk, with a thread of its own.
    ///
    /// # Errors
    /// Where there are no threads or descriptors left.
    pub fn new(disk: Disk) -> io::Result<Self> {
        let writes = if disk.read_only { READ_ONLY } else { DISCARD | WRITE_ZEROES };
        let features = SIZE_MAX | SEG_MAX | BLOCK_SIZE | FLUSH | writes;
        let sectors = disk.image.size() / SECTOR;
        Ok(Self { disk: Arc::new(Mutex::new(disk)), events: EventLoop::new("vm-block")?, running: None, features, sectors })
    }
}

impl VirtioDevice for Block {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn configuration(&self) -> Vec<u8> {
        // `struct virtio_blk_config` (5.2.4).
        let mut bytes = vec![0; 60];
        let mut put = |place: usize, value: &[u8]| bytes[place..place + value.len()].copy_from_slice(value);
        put(0, &self.sectors.to_le_bytes());
        put(8, &SEGMENT_SIZE.to_le_bytes());
        put(12, &SEGMENTS.to_le_bytes());
        put(20, &(SECTOR as u32).to_le_bytes());
        for (place, value) in [(36, RANGE_MAXIMUM), (40, 1), (44, 8), (48, RANGE_MAXIMUM), (52, 1)] {
            put(place, &value.to_le_bytes());
        }
        // Zeros may be written by giving room back.
        put(56, &[1]);
        bytes
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Some((_, queue)) = activation.queues.into_iter().next() else { return Ok(()) };
        let server = Server { queue, failure: activation.failure, disk: Arc::clone(&self.disk) };
        self.running = Some(self.events.add(server, |server, watches| watches.add(0, server.queue.doorbell(), Interest::Read))?);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
    }

    fn pause(&self) {
        self.events.pause();
    }

    fn resume(&self) {
        self.events.resume();
    }
}

struct Server {
    queue: ActiveQueue,
    failure: Failure,
    disk: Arc<Mutex<Disk>>,
}

impl Handler for Server {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        self.queue.doorbell().take();
        let memory = self.queue.memory().clone();
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let served = self.queue.serve(|chain| {
            // Without room for an answer there is nothing to do but to give the chain back.
            Some(Buffers::of(chain, &memory).and_then(|buffers| answer(buffers, &mut disk)).unwrap_or(0))
        });
        if let Err(error) = served {
            watches.remove(token);
            self.failure.fail("block", &error);
        }
    }
}

/// Carries out a request and returns how many bytes of the chain were written; `None` where there is no room for an answer.
fn answer(mut buffers: Buffers<'_>, disk: &mut Disk) -> Option<u32> {
    // The answer is the last byte that can be written.
    let room = buffers.writable_length().checked_sub(1)?;
    let data = buffers.take_writable(room)?;
    let (status, written) = match carry_out(&mut buffers, &data, room, disk) {
        Ok((status, written)) => (status, written),
        Err(error) => {
            tracing::warn!(%error, "a request of the guest's disk failed");
            (IO_ERROR, 0)
        }
    };
    buffers.write(&[status])?;
    u32::try_from(written).ok()?.checked_add(1)
}

fn carry_out(buffers: &mut Buffers<'_>, room: &[vm_memory::VolatileSlice<'_>], length: usize, disk: &mut Disk) -> io::Result<(u8, usize)> {
    let Some(header) = buffers.read::<16>() else { return Ok((IO_ERROR, 0)) };
    let [kind, _reserved, sector_low, sector_high] = words(header);
    let sector = u64::from(sector_high) << 32 | u64::from(sector_low);
    match kind {
        IN => {
            let Some(start) = disk.place(sector, length as u64).filter(|_| length <= REQUEST_MAXIMUM) else { return Ok((IO_ERROR, 0)) };
            let (vector, _guard) = IoVectorMut::from_volatile_slice(room);
            disk.image.readv(vector, start)?;
            Ok((OK, length))
        }
        OUT if disk.read_only => Ok((IO_ERROR, 0)),
        OUT => {
            let length = buffers.readable_length();
            let Some(start) = disk.place(sector, length as u64).filter(|_| length <= REQUEST_MAXIMUM) else { return Ok((IO_ERROR, 0)) };
            let data = buffers.take_readable();
            let (vector, _guard) = IoVector::from_volatile_slice(&data);
            disk.image.writev(vector, start)?;
            Ok((OK, 0))
        }
        FLUSH_REQUEST => disk.flush().map(|()| (OK, 0)),
        GET_ID => {
            let mut left = &disk.identifier[..];
            for part in room {
                let count = part.len().min(left.len());
                part.copy_from(&left[..count]);
                left = &left[count..];
            }
            Ok((OK, ID_SIZE - left.len()))
        }
        DISCARD_REQUEST | WRITE_ZEROES_REQUEST if disk.read_only => Ok((IO_ERROR, 0)),
        DISCARD_REQUEST | WRITE_ZEROES_REQUEST => {
            // One range each (5.2.6.1), as the configuration says.
            let Some(range) = buffers.read::<16>().filter(|_| buffers.readable_length() == 0) else { return Ok((IO_ERROR, 0)) };
            let [sector_low, sector_high, count, flags] = words(range);
            let sector = u64::from(sector_high) << 32 | u64::from(sector_low);
            let length = u64::from(count) * SECTOR;
            let Some(start) = disk.place(sector, length).filter(|_| count <= RANGE_MAXIMUM) else { return Ok((IO_ERROR, 0)) };
            match (kind, flags) {
                (DISCARD_REQUEST, 0) => disk.image.discard_to_any(start, length)?,
                (WRITE_ZEROES_REQUEST, 0) => disk.image.write_zeroes(start, length)?,
                // Giving room back is allowed.
                (WRITE_ZEROES_REQUEST, 1) => disk.image.discard_to_zero(start, length)?,
                _ => return Ok((UNSUPPORTED, 0)),
            }
            Ok((OK, 0))
        }
        _ => Ok((UNSUPPORTED, 0)),
    }
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    std::array::from_fn(|index| u32::from_le_bytes(std::array::from_fn(|byte| bytes[index * 4 + byte])))
}
