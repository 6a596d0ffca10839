//! What a qcow2 image's header says, before anything else looks at the image
//! (QEMU's docs/interop/qcow2.rst has the format).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 4] = b"QFI\xfb";
/// Bytes of a header that every image has, and every image of version 3.
const V2_HEADER: usize = 72;
const HEADER: usize = 104;
/// What a read past the host's cache has to be a multiple of, almost everywhere.
const BLOCK: usize = 4096;
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
    let header = read(file)?;
    if header.len() < V2_HEADER || header[..4] != *MAGIC {
        return Err(refused("It is not a qcow2 image"));
    }
    let word = |place: usize| u32::from_be_bytes(std::array::from_fn(|byte| header[place + byte]));
    let long = |place: usize| u64::from(word(place)) << 32 | u64::from(word(place + 4));
    match word(4) {
        2 if read_only => {}
        // The library cannot give room back in these.
        2 => return Err(refused("It has version 2 of the format; qemu-img amend -o compat=1.1 makes it version 3")),
        3 if header.len() == HEADER => {}
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
        return Err(refused("It has a backing file, which is not opened here; qemu-img rebase -b '' puts everything into one file"));
    }
    let features = if word(4) == 3 { long(72) } else { 0 };
    if let Some((_, why)) = FEATURES.iter().find(|(bit, _)| features & bit != 0) {
        return Err(refused(&format!("It cannot be used: {why}")));
    }
    if features != 0 {
        return Err(refused(&format!("It has features that are not known here (bits {features:#x})")));
    }
    // Where there is nothing of a table, the library would read zeros: a disk that is empty.
    let tables = [(long(40), u64::from(word(36)) * 8), (long(48), 8)];
    let size = file.metadata()?.len();
    if tables.iter().any(|(start, length)| start.checked_add(*length).is_none_or(|end| end > size)) {
        return Err(refused("It ends before its tables do: part of the file is missing"));
    }
    match word(20) {
        bits @ 9..=21 => Ok(1 << bits),
        bits => Err(refused(&format!("Its clusters have 2^{bits} bytes; 2^9 to 2^21 are allowed"))),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The header, or what there is of it.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut room = vec![0; 2 * BLOCK];
    let start = room.as_ptr().align_offset(BLOCK);
    let count = loop {
        match file.read_at(&mut room[start..start + BLOCK], 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    Ok(room[start..start + count.min(HEADER)].to_vec())
}
