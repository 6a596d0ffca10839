//! Guest memory: a memfd, mapped at addresses where huge pages fit; or a copy, made page by page as it is written, of what a file holds.
//!
//! Why unsafe: `vm-memory` maps where the kernel likes, which is seldom a multiple of a huge page, so the mapping is made here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::Result as MemoryResult;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes, GuestRegionCollection, GuestUsize,
    MemoryRegionAddress, VolatileSlice,
};

use crate::{Error, Result};

mod image;

use image::PAGES;
pub use image::write_image;

/// Bytes of a huge page on x86-64 and on arm64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// All of a guest's memory.
pub type GuestMemory = GuestRegionCollection<Region>;

/// Address space of this process that is ours until it is dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to no thread, and what is in it is only reached through volatile accesses of `vm-memory`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps part of a file so that offset 0 of the mapping is a multiple of a huge page.
    fn of_file(file: &File, offset: u64, size: usize, sharing: MapFlags) -> rustix::io::Result<Self> {
        let room = size.checked_add(HUGE_PAGE).ok_or(rustix::io::Errno::NOMEM)?;
        // SAFETY: a new mapping where the kernel finds room; nothing that exists is touched.
        let reserved =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), room, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)? };
        let reservation = Self { start: NonNull::new(reserved.cast()).ok_or(rustix::io::Errno::NOMEM)?, size: room };
        let before = reserved.addr().next_multiple_of(HUGE_PAGE) - reserved.addr();
        let start = reserved.cast::<u8>().wrapping_add(before);
        // SAFETY: the whole range lies in the reservation that was just made, which nobody else knows of.
        unsafe {
            let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, sharing | MapFlags::FIXED | MapFlags::NORESERVE);
            rustix::mm::mmap(start.cast(), size, access, flags, file.as_fd(), offset)?;
        }
        // What is left of the reservation on both sides goes back; from here on the new mapping is the owner of its part.
        std::mem::forget(reservation);
        let after = start.wrapping_add(size);
        // SAFETY: both ranges are parts of the reservation outside the mapping.
        unsafe {
            if before > 0 {
                rustix::mm::munmap(reserved, before)?;
            }
            if room - before - size > 0 {
                rustix::mm::munmap(after.cast(), room - before - size)?;
            }
        }
        Ok(Self { start: NonNull::new(start).ok_or(rustix::io::Errno::NOMEM)?, size })
    }

    fn advise(&self, advice: Advice) {
        // SAFETY: the range is ours; the advice changes how the kernel backs it, not what it holds. A kernel without huge pages for shared
        // memory refuses, which only means small pages.
        let _ = unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.size, advice) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and regions lend slices only for as long as they hold it.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

/// A contiguous part of the guest's memory.
#[derive(Debug)]
pub struct Region {
    mapping: Mapping,
    start: GuestAddress,
    file: FileOffset,
    sharing: Sharing,
    /// What a copy has of its own can be found in this, if it can: opened with the memory, as who saves it later may open nothing.
    pages: Option<Arc<File>>,
}

impl Region {
    /// Gives whole pages back to the host. What the guest finds there afterwards is zeros, or what the file held that it is a copy of.
    ///
    /// # Errors
    /// Where they are not all inside, or the kernel refuses.
    pub fn give_back(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset.checked_add(length).filter(|end| *end <= self.len());
        end.ok_or(io::ErrorKind::InvalidInput)?;
        if self.sharing == Sharing::Shared {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(self.file.file(), flags, self.file.start() + offset, length)?;
        } else {
            // Both are below the size, which is a usize.
            let start = self.mapping.start.as_ptr().wrapping_add(offset as usize);
            // SAFETY: the range lies in the mapping, and whoever reads guest memory expects it to change at any time.
            unsafe { rustix::mm::madvise(start.cast(), length as usize, Advice::LinuxDontNeed)? };
        }
        Ok(())
    }
}

impl GuestMemoryRegion for Region {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.mapping.size as GuestUsize
    }

    fn start_addr(&self) -> GuestAddress {
        self.start
    }

    fn bitmap(&self) -> BS<'_, ()> {}

    fn get_host_address(&self, address: MemoryRegionAddress) -> MemoryResult<*mut u8> {
        let inside = self.check_address(address).ok_or(GuestMemoryError::InvalidBackendAddress)?;
        // The address is below the size, which is a usize.
        Ok(self.mapping.start.as_ptr().wrapping_add(inside.0 as usize))
    }

    /// The memfd that it is part of; nothing where it is a copy of a file, which no other process can have.
    fn file_offset(&self) -> Option<&FileOffset> {
        (self.sharing == Sharing::Shared).then_some(&self.file)
    }

    fn get_slice(&self, offset: MemoryRegionAddress, count: usize) -> MemoryResult<VolatileSlice<'_, BS<'_, ()>>> {
        let end = offset.0.checked_add(count as u64).filter(|end| *end <= self.len());
        end.ok_or(GuestMemoryError::InvalidBackendAddress)?;
        let start = self.mapping.start.as_ptr().wrapping_add(offset.0 as usize);
        // SAFETY: the range lies in the mapping, which lives as long as the region that the slice borrows.
        Ok(unsafe { VolatileSlice::with_bitmap(start, count, (), None) })
    }
}

impl GuestMemoryRegionBytes for Region {}

/// Memory at these guest addresses (start and bytes, ascending), filled with zeros and taken from the host as it is touched.
///
/// It is one memfd, the regions one after the other in it, so that another process (a vhost-user device) can map it.
///
/// # Errors
/// [`Error::Memory`] where the host does not have the address space or the descriptors.
pub fn allocate(ranges: &[(u64, u64)]) -> Result<GuestMemory> {
    let size = ranges.iter().map(|(_, size)| size).sum();
    let refused = |source: rustix::io::Errno| Error::Memory { size, source: source.into() };

    let descriptor = rustix::fs::memfd_create("guest-memory", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(refused)?;
    rustix::fs::ftruncate(&descriptor, size).map_err(refused)?;
    // Whoever is given the file must not be able to shrink it below our feet (SIGBUS).
    rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(refused)?;
    let file = Arc::new(File::from(descriptor));
    map(&file, 0, ranges, Sharing::Shared)
}

/// Memory at these guest addresses, filled with what a file holds from this offset on, one range after the other. Nothing is read before
/// it is touched, and nothing is written to the file: pages that are written become this process's own.
///
/// The file must not change or shrink as long as the memory is in use. Other processes cannot be given this memory. The calling thread opens
/// a file of the kernel's, by which [`write_image`] later finds what was written; without it all of the memory is read then.
///
/// # Errors
/// [`Error::Memory`] where the host does not have the address space, or the file cannot be mapped.
pub fn map_image(file: &File, offset: u64, ranges: &[(u64, u64)]) -> Result<GuestMemory> {
    let size = ranges.iter().map(|(_, size)| size).sum();
    let file = file.try_clone().map_err(|source| Error::Memory { size, source })?;
    map(&Arc::new(file), offset, ranges, Sharing::Private)
}

/// Who sees what is written to a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// Whoever has the file.
    Shared,
    /// Nobody else.
    Private,
}

fn map(file: &Arc<File>, mut offset: u64, ranges: &[(u64, u64)], sharing: Sharing) -> Result<GuestMemory> {
    let size = ranges.iter().map(|(_, size)| size).sum();
    let refused = |source: rustix::io::Errno| Error::Memory { size, source: source.into() };
    let unfit = |source: &str| Error::Memory { size, source: io::Error::other(source.to_owned()) };
    let flags = if sharing == Sharing::Shared { MapFlags::SHARED } else { MapFlags::PRIVATE };

    let pages = if sharing == Sharing::Private { File::open(PAGES).ok().map(Arc::new) } else { None };
    let mut regions = Vec::new();
    for (start, bytes) in ranges {
        let length = usize::try_from(*bytes).map_err(|_| unfit("it is larger than this process's address space"))?;
        let mapping = Mapping::of_file(file, offset, length, flags).map_err(refused)?;
        mapping.advise(Advice::LinuxHugepage);
        // A core dump of this process is no place for a guest's secrets.
        mapping.advise(Advice::LinuxDontDump);
        let file = FileOffset::from_arc(Arc::clone(file), offset);
        regions.push(Region { mapping, start: GuestAddress(*start), file, sharing, pages: pages.clone() });
        offset += bytes;
    }
    GuestMemory::from_regions(regions).map_err(|error| unfit(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryBackend};

    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_ends_where_it_should() {
        let memory = allocate(&[(0, 3 << 20), (4 << 30, 1 << 20)]).unwrap();
        for region in memory.iter() {
            assert_eq!(region.get_host_address(MemoryRegionAddress(0)).unwrap().addr() % HUGE_PAGE, 0);
        }
        assert_eq!(memory.read_obj::<u64>(GuestAddress((3 << 20) - 8)).unwrap(), 0);
        memory.write_obj(0x55aa_u16, GuestAddress((4 << 30) + 0x1000)).unwrap();
        assert_eq!(memory.read_obj::<u16>(GuestAddress((4 << 30) + 0x1000)).unwrap(), 0x55aa);
        assert!(memory.read_obj::<u64>(GuestAddress((3 << 20) - 4)).is_err());
        assert!(memory.get_slice(GuestAddress(4 << 30), (1 << 20) + 1).is_err());
        assert!(memory.iter().all(|region| region.get_slice(MemoryRegionAddress(u64::MAX), 2).is_err()));
    }

    #[test]
    fn the_file_holds_the_regions_one_after_the_other() {
        let memory = allocate(&[(0, 1 << 20), (4 << 30, 1 << 20)]).unwrap();
        memory.write_slice(b"high", GuestAddress(4 << 30)).unwrap();
        let region = memory.iter().nth(1).unwrap();
        let place = region.file_offset().unwrap();
        let mut bytes = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(place.file(), &mut bytes, place.start()).unwrap();
        assert_eq!(&bytes, b"high");
        assert!(place.file().set_len(0).is_err());
    }
}
