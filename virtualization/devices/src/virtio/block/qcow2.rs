//! What a qcow2 image's header says, before anything else looks at the image
//! (QEMU's docs/interop/qcow2.rst has the format).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 4] = b"QFI\xfb";
/// Bytes of a header that every image has, and every image of version 3.
const V2_HEADER: u64 = 72;
const HEADER: u64 = 104;
/// What a read past the host's cache has to be a multiple of, almost everywhere.
const BLOCK: u64 = 4096;
/// Bits of a table's entry that are an offset.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The largest tables that QEMU allows: mappings and reference counts.
const L1_MAXIMUM: u64 = 32 << 20;
const COUNTS_MAXIMUM: u64 = 8 << 20;
/// Bits of the incompatible features, with what they mean and what to do.
const FEATURES: &[(u64, &str)] = &[
    (1 << 0, "it was not closed properly by a program that keeps its reference counts late; qemu-img check -r all repairs it"),
    (1 << 1, "it is marked as corrupt; qemu-img check -r all may repair it"),
    (1 << 2, "its data is in another file; qemu-img convert makes one file of it"),
    (1 << 3, "it is compressed in another way than with zlib; qemu-img convert makes an image without that"),
    (1 << 4, "it has subclusters; qemu-img convert makes an image without them"),
];

/// Refuses what could be read wrong or damaged; returns the bytes of a cluster.
///
/// # Errors
/// With the reason and what to do.
pub fn check(file: &File, read_only: bool) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let header = read(file, 0, HEADER)?;
    if size < V2_HEADER || header[..4] != *MAGIC {
        return Err(refused("It is not a qcow2 image"));
    }
    let word = |place: usize| u32::from_be_bytes(std::array::from_fn(|byte| header[place + byte]));
    let long = |place: usize| u64::from(word(place)) << 32 | u64::from(word(place + 4));
    match word(4) {
        2 if read_only => {}
        // The library cannot give room back in these.
        2 => return Err(refused("It has version 2 of the format; qemu-img amend -o compat=1.1 makes it version 3")),
        3 if size >= HEADER => {}
        other => return Err(refused(&format!("It has version {other} of the format, which is not known here"))),
    }
    if word(32) != 0 {
        return Err(refused("It is encrypted; qemu-img convert makes an image that is not"));
    }
    if word(60) != 0 && !read_only {
        return Err(refused(
            "It holds snapshots, which writing would damage; open it read-only, or qemu-img convert makes an image without",
        ));
    }
    if long(8) != 0 {
        return Err(refused(
            "It has a backing file, which is not opened here; qemu-img rebase -b '' puts all of it into this file, qemu-img convert into a new one",
        ));
    }
    let features = if word(4) == 3 { long(72) } else { 0 };
    if let Some((_, why)) = FEATURES.iter().find(|(bit, _)| features & bit != 0) {
        return Err(refused(&format!("It cannot be used: {why}")));
    }
    if features != 0 {
        return Err(refused(&format!("It has features that are not known here (bits {features:#x})")));
    }
    let cluster: u64 = match word(20) {
        bits @ 9..=21 => 1 << bits,
        bits => return Err(refused(&format!("Its clusters have 2^{bits} bytes; 2^9 to 2^21 are allowed"))),
    };
    let (l1, counts) = (u64::from(word(36)) * 8, u64::from(word(56)) * cluster);
    if l1 > L1_MAXIMUM || counts > COUNTS_MAXIMUM || counts == 0 {
        return Err(refused("Its tables have sizes that are not allowed"));
    }
    // One entry of the L1 table is for a cluster of entries for clusters.
    if long(24).div_ceil(cluster * (cluster / 8)) > l1 / 8 {
        return Err(refused("Its tables are too small for its disk"));
    }
    // Where there is nothing of a table, the library would read zeros: a disk that is empty.
    let is_missing = |start: u64, length: u64| start.checked_add(length).is_none_or(|end| end > size);
    if is_missing(long(40), l1) || is_missing(long(48), 8) {
        return Err(refused("It ends before its tables do: part of the file is missing"));
    }
    check_table(file, long(40), l1, (cluster, size))?;
    // The first entry is for the cluster of the header itself.
    let counted = check_table(file, long(48), counts, (cluster, size))?;
    if counted.iter().take(8).all(|byte| *byte == 0) {
        return Err(refused("Its reference counts are missing; qemu-img check -r all repairs them"));
    }
    Ok(cluster)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Bytes of the file; beyond its end zeros.
///
/// # Errors
/// What the host says.
pub fn read(file: &File, place: u64, length: u64) -> io::Result<Vec<u8>> {
    // In whole blocks, of the file and of memory, for files that are not cached.
    let (start, end) = (place / BLOCK * BLOCK, (place + length).next_multiple_of(BLOCK));
    let mut room = vec![0; (end - start + BLOCK) as usize];
    let first = room.as_ptr().align_offset(BLOCK as usize);
    let mut count = 0;
    while start + (count as u64) < end {
        match file.read_at(&mut room[first + count..first + (end - start) as usize], start + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let begin = first + (place - start) as usize;
    Ok(room[begin..begin + length as usize].to_vec())
}

/// Refuses a table whose entries point to where no cluster can be.
fn check_table(file: &File, start: u64, length: u64, (cluster, size): (u64, u64)) -> io::Result<Vec<u8>> {
    let table = read(file, start, length)?;
    for entry in table.chunks_exact(8) {
        let target = u64::from_be_bytes(std::array::from_fn(|byte| entry[byte])) & OFFSET;
        if !target.is_multiple_of(cluster) || target >= size {
            return Err(refused("Its tables point to where nothing is; qemu-img check says more"));
        }
    }
    Ok(table)
}
