//! Memory written to a file in which pages of zeros are holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::{GuestMemory, Region, Sharing};

/// Bytes of what is a hole or not.
const PAGE: usize = 4096;
/// Bytes that are looked at at once.
const CHUNK: usize = 1 << 20;

static ZEROS: [u8; PAGE] = [0; PAGE];

/// Writes memory to a file from this offset on, one region after the other, and leaves out what is zero: the file must hold nothing there
/// yet, and be long enough. Nothing may write to the memory meanwhile.
///
/// # Errors
/// What the kernel says, such as that there is no room.
pub fn write_image(memory: &GuestMemory, file: &File, mut offset: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for region in memory.iter() {
        let mut from = 0;
        while let Some(data) = next_data(region, from)? {
            let mut place = data.start;
            while place < data.end {
                let count = CHUNK.min(usize::try_from(data.end - place).unwrap_or(CHUNK));
                let chunk = &mut buffer[..count];
                region.read_slice(chunk, MemoryRegionAddress(place)).map_err(io::Error::other)?;
                write_pages(chunk, file, offset + place)?;
                place += count as u64;
            }
            from = data.end;
        }
        offset += region.len();
    }
    Ok(())
}

/// The next part of a region, from this offset on, that may be something else than zeros. Nothing is touched for that: a page that nobody
/// has used yet would otherwise be read from the file, or taken from the host.
fn next_data(region: &Region, from: u64) -> io::Result<Option<Range<u64>>> {
    let size = region.len();
    if from >= size {
        return Ok(None);
    }
    let in_file = next_in_file(region, from)?;
    if region.sharing == Sharing::Shared {
        return Ok(in_file);
    }
    // What was written to a copy is not in its file.
    let until = in_file.as_ref().map_or(size, |data| data.start);
    let written = region.pages.as_ref().and_then(|pages| next_written(region, pages, from..until).ok());
    Ok(written.unwrap_or(Some(from..until).filter(|rest| !rest.is_empty())).or(in_file))
}

/// The next part that is no hole of the file.
fn next_in_file(region: &Region, from: u64) -> io::Result<Option<Range<u64>>> {
    let file = region.file.file();
    let (start, end) = (region.file.start(), region.file.start() + region.len());
    let data = match rustix::fs::seek(file, SeekFrom::Data(start + from)) {
        Ok(data) if data < end => data,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let hole = rustix::fs::seek(file, SeekFrom::Hole(data))?;
    Ok(Some(data - start..hole.min(end) - start))
}

/// What is mapped to pages of this process.
pub const PAGES: &str = "/proc/self/pagemap";
/// What it says of each, in eight bytes (Linux: Documentation/admin-guide/mm/pagemap.rst): in memory or swapped out, and not the file's.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
/// Bytes that say something about one page.
const ENTRY: usize = 8;

/// The next run of pages in a range that are this process's own.
fn next_written(region: &Region, pages: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let first = region.mapping.start.addr().get() as u64;
    let mut entries = vec![0; CHUNK / PAGE * ENTRY];
    let mut run: Option<Range<u64>> = None;
    let mut place = range.start;
    while place < range.end {
        let count = ((range.end - place).div_ceil(PAGE as u64) as usize * ENTRY).min(entries.len());
        pages.read_exact_at(&mut entries[..count], (first + place) / PAGE as u64 * ENTRY as u64)?;
        for entry in entries[..count].chunks_exact(ENTRY) {
            let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
            let is_own = entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0;
            match &mut run {
                Some(run) if is_own => run.end = (place + PAGE as u64).min(range.end),
                Some(run) => return Ok(Some(run.clone())),
                None if is_own => run = Some(place..(place + PAGE as u64).min(range.end)),
                None => {}
            }
            place += PAGE as u64;
        }
    }
    Ok(run)
}

/// Writes runs of pages that are not zero.
fn write_pages(chunk: &[u8], file: &File, offset: u64) -> io::Result<()> {
    let mut run: Option<Range<usize>> = None;
    for (start, page) in (0..).step_by(PAGE).zip(chunk.chunks(PAGE)) {
        if page == &ZEROS[..page.len()] {
            if let Some(run) = run.take() {
                file.write_all_at(&chunk[run.clone()], offset + run.start as u64)?;
            }
        } else {
            run = Some(run.map_or(start, |run| run.start)..start + page.len());
        }
    }
    run.map_or(Ok(()), |run| file.write_all_at(&chunk[run.clone()], offset + run.start as u64))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use vm_memory::GuestAddress;

    use super::super::{allocate, map_image};
    use super::*;

    const RANGES: [(u64, u64); 2] = [(0, 4 << 20), (4 << 30, 4 << 20)];
    const OFFSET: u64 = 2 << 20;

    /// Places and lengths of what is written, across pages, chunks and at both ends.
    const PLACES: [(u64, usize); 5] = [(5, 3), (4090, 4106), ((1 << 20) - 1, 2), ((4 << 20) - 1, 1), ((4 << 30) + 12345, 5000)];

    fn image(memory: &GuestMemory) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(OFFSET + (8 << 20)).unwrap();
        write_image(memory, &file, OFFSET).unwrap();
        file
    }

    fn assert_filled(memory: &GuestMemory) {
        for (start, length) in PLACES {
            let mut bytes = vec![0; length];
            memory.read_slice(&mut bytes, GuestAddress(start)).unwrap();
            assert_eq!(bytes, vec![0x5a; length], "at {start:#x}");
        }
        assert_eq!(memory.read_obj::<u64>(GuestAddress(2 << 20)).unwrap(), 0);
    }

    #[test]
    fn an_image_has_what_was_there_and_holes() {
        let memory = allocate(&RANGES).unwrap();
        for (start, length) in PLACES {
            memory.write_slice(&vec![0x5a; length], GuestAddress(start)).unwrap();
        }
        // Taken from the host, and zero again.
        memory.write_slice(&[1; 1 << 20], GuestAddress(2 << 20)).unwrap();
        memory.write_slice(&[0; 1 << 20], GuestAddress(2 << 20)).unwrap();
        let file = image(&memory);
        let taken = file.metadata().unwrap().blocks() * 512;
        assert!(taken <= 16 * PAGE as u64, "{taken} bytes on the disk");

        let copy = map_image(&file, OFFSET, &RANGES).unwrap();
        assert_filled(&copy);
        // Once more, of a copy that was written to: the first file is as it was, the second one has what is new.
        copy.write_slice(b"new", GuestAddress(3 << 20)).unwrap();
        copy.write_slice(b"new", GuestAddress(0)).unwrap();
        let image_of_copy = image(&copy);
        let taken = image_of_copy.metadata().unwrap().blocks() * 512;
        assert!(taken <= 20 * PAGE as u64, "{taken} bytes on the disk");
        let second = map_image(&image_of_copy, OFFSET, &RANGES).unwrap();
        assert_filled(&map_image(&file, OFFSET, &RANGES).unwrap());
        let mut bytes = [0; 3];
        second.read_slice(&mut bytes, GuestAddress(3 << 20)).unwrap();
        assert_eq!(&bytes, b"new");
    }

    #[test]
    fn what_was_written_to_a_copy_is_found_without_touching_the_rest() {
        let copy = map_image(&image(&allocate(&RANGES).unwrap()), OFFSET, &RANGES).unwrap();
        let region = copy.iter().next().unwrap();
        assert_eq!(next_data(region, 0).unwrap(), None, "nothing was ever written");
        // Read is not written.
        assert_eq!(copy.read_obj::<u64>(GuestAddress(7 * PAGE as u64)).unwrap(), 0);
        for page in [3, 4, 500, 1023] {
            copy.write_obj(1_u8, GuestAddress(page * PAGE as u64 + 9)).unwrap();
        }
        let (mut from, mut found) = (0, Vec::new());
        while let Some(data) = next_data(region, from).unwrap() {
            from = data.end;
            found.push((data.start / PAGE as u64, data.end / PAGE as u64));
        }
        assert_eq!(found, [(3, 5), (500, 501), (1023, 1024)]);
    }

    #[test]
    fn memory_that_is_given_back_leaves_a_file_alone() {
        let memory = allocate(&RANGES).unwrap();
        memory.write_slice(b"kept", GuestAddress(0)).unwrap();
        let file = image(&memory);
        let copy = map_image(&file, OFFSET, &RANGES).unwrap();
        copy.write_slice(b"lost", GuestAddress(0)).unwrap();
        for memory in [&memory, &copy] {
            let region = memory.iter().next().unwrap();
            region.give_back(0, PAGE as u64).unwrap();
            assert!(region.give_back(region.len(), PAGE as u64).is_err());
            assert!(region.give_back(u64::MAX, PAGE as u64).is_err());
        }
        let mut bytes = [0; 4];
        memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
        assert_eq!(bytes, [0; 4]);
        file.read_exact_at(&mut bytes, OFFSET).unwrap();
        assert_eq!(&bytes, b"kept");
        copy.read_slice(&mut bytes, GuestAddress(0)).unwrap();
        assert_eq!(&bytes, b"kept");
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let memory = allocate(&RANGES).unwrap();
        memory.write_slice(b"data", GuestAddress(0)).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write_image(&memory, &full, 0).unwrap_err().raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    }
}
