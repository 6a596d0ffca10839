//! The file.
//!
//! ```text
//!   0  header: magic, version, number of sections, bytes of the file
//!  32  for each section: kind, where it is, how many bytes it has, SHA-256 of them
//!      SHA-256 of all of this
//!      sections
//!      memory, at a multiple of 2 MiB, with holes where it is zero
//! ```
//!
//! All numbers have the lowest byte first. The digests find damage, not malice: whoever may write the file may change it. Memory has none,
//! as it is not read before the guest runs; that the file has all of its bytes is looked at.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hv::GuestMemory;
use hv::vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// Not text, and damaged by whatever takes it for text.
const MAGIC: [u8; 8] = *b"\x89VMSTAT\n";
/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
const HEADER_SIZE: usize = 32;
const ENTRY_SIZE: usize = 56;
const DIGEST_SIZE: usize = 32;
/// Memory is where huge pages of the file's own would fit.
const ALIGNMENT: u64 = 2 << 20;
/// Bytes of a section at most: 64 vCPUs have a tenth of that.
const SECTION_MAXIMUM: u64 = 64 << 20;

/// Sections in their order; memory is the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Section {
    /// What machine it is.
    Configuration = 1,
    /// What processor it ran on.
    Processor = 2,
    /// vCPUs and devices.
    Machine = 3,
    /// Memory.
    Memory = 4,
}

impl Section {
    const ALL: [Self; 4] = [Self::Configuration, Self::Processor, Self::Machine, Self::Memory];

    fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Processor => "processor",
            Self::Machine => "state of vCPUs and devices",
            Self::Memory => "memory",
        }
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Something else than a saved state.
    #[error("It is no saved state of a machine")]
    Foreign,
    /// Another version.
    #[error("It has version {0} of the format, and this program reads version {VERSION}: restore it with the program that saved it")]
    Version(u32),
    /// A part of a saved state.
    #[error("It is not as it was saved, or not all there: it has {is} bytes, and had {was}")]
    Truncated {
        /// Bytes that it has.
        is: u64,
        /// Bytes that it had when it was written.
        was: u64,
    },
    /// Not what was written.
    #[error("Its {0} is damaged")]
    Damaged(&'static str),
    /// What the kernel says.
    #[error("It cannot be read")]
    Io(#[from] io::Error),
}

/// A saved state as it lies in its file.
#[derive(Debug)]
pub struct Contents {
    /// The file.
    pub file: File,
    /// The sections before memory.
    pub parts: [Vec<u8>; 3],
    /// Where memory is in the file.
    pub memory_offset: u64,
    /// Bytes of memory.
    pub memory_size: u64,
}

struct Entry {
    offset: u64,
    length: u64,
    digest: [u8; DIGEST_SIZE],
}

/// A file that has another name until everything is in it. Whoever makes it gives it its name or removes it, too: it is not removed
/// when this is dropped, as that may happen where nothing can be removed.
#[derive(Debug)]
pub struct Unfinished {
    file: NamedTempFile,
    path: PathBuf,
}

impl Unfinished {
    /// A new one that is to have this path.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        // Only for its owner, as all files of this kind: it holds everything that the guest knows.
        let file = tempfile::Builder::new().prefix(".saving-").disable_cleanup(true).tempfile_in(folder(&path))?;
        Ok(Self { file, path })
    }

    /// Another descriptor of the file.
    pub fn file(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }

    /// Puts it in place of what has the path.
    pub fn finish(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|mut error| {
            error.file.disable_cleanup(false);
            error.error
        })?;
        // The name, too, survives a power failure.
        File::open(folder(&self.path))?.sync_all()
    }

    /// Removes it.
    pub fn discard(mut self) {
        self.file.disable_cleanup(false);
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a saved state to an empty file; all of it is on the disk when this returns.
pub fn write(mut file: &File, parts: &[Vec<u8>; 3], memory: &GuestMemory) -> io::Result<()> {
    let table_size = HEADER_SIZE + Section::ALL.len() * ENTRY_SIZE + DIGEST_SIZE;
    let mut offset = table_size as u64;
    let mut entries = Vec::new();
    for part in parts {
        entries.push(Entry { offset, length: part.len() as u64, digest: Sha256::digest(part).into() });
        offset += part.len() as u64;
    }
    let (memory_offset, length) = (offset.next_multiple_of(ALIGNMENT), memory.iter().map(GuestMemoryRegion::len).sum());
    entries.push(Entry { offset: memory_offset, length, digest: [0; DIGEST_SIZE] });
    let size = memory_offset + length;

    let mut head = Vec::with_capacity(table_size);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    // As many as there are kinds.
    head.extend((entries.len() as u32).to_le_bytes());
    head.extend(size.to_le_bytes());
    head.extend([0; 8]);
    for (kind, entry) in Section::ALL.into_iter().zip(&entries) {
        head.extend(u64::from(kind as u32).to_le_bytes());
        head.extend(entry.offset.to_le_bytes());
        head.extend(entry.length.to_le_bytes());
        head.extend(entry.digest);
    }
    head.extend(<[u8; DIGEST_SIZE]>::from(Sha256::digest(&head)));
    file.write_all(&head)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.set_len(size)?;
    hv::write_image(memory, file, memory_offset)?;
    file.sync_all()
}

/// Opens what may be a saved state.
pub fn open(path: &Path) -> Result<File, Unreadable> {
    // Opening anything else may wait for somebody.
    if !fs::metadata(path)?.is_file() {
        return Err(Unreadable::Foreign);
    }
    Ok(File::open(path)?)
}

/// Reads everything but memory.
pub fn read(mut file: File) -> Result<Contents, Unreadable> {
    let is = file.metadata()?.len();
    let mut head = vec![0; HEADER_SIZE];
    if is < HEADER_SIZE as u64 {
        // What there is of it may say more.
        let mut start = Vec::new();
        file.read_to_end(&mut start)?;
        let begins = !start.is_empty() && MAGIC.starts_with(&start[..start.len().min(MAGIC.len())]);
        return Err(if begins { Unreadable::Truncated { is, was: HEADER_SIZE as u64 } } else { Unreadable::Foreign });
    }
    file.read_exact(&mut head)?;
    if !head.starts_with(&MAGIC) {
        return Err(Unreadable::Foreign);
    }
    if word(&head, 8) != VERSION {
        return Err(Unreadable::Version(word(&head, 8)));
    }
    let table_size = HEADER_SIZE + Section::ALL.len() * ENTRY_SIZE + DIGEST_SIZE;
    if is < table_size as u64 {
        return Err(Unreadable::Truncated { is, was: long(&head, 16) });
    }
    head.resize(table_size, 0);
    file.read_exact(&mut head[HEADER_SIZE..])?;
    let (said, digest) = head.split_at(table_size - DIGEST_SIZE);
    if Sha256::digest(said).as_slice() != digest {
        return Err(Unreadable::Damaged("table of contents"));
    }
    // From here on everything is what was written, unless it was written to deceive.
    let was = long(said, 16);
    if is != was {
        return Err(Unreadable::Truncated { is, was });
    }
    let mut entries = said[HEADER_SIZE..].chunks_exact(ENTRY_SIZE).zip(Section::ALL).map(|(bytes, kind)| {
        let entry = Entry { offset: long(bytes, 8), length: long(bytes, 16), digest: digest_of(&bytes[24..]) };
        let is_inside = entry.offset.checked_add(entry.length).is_some_and(|end| end <= is);
        if long(bytes, 0) == u64::from(kind as u32) && is_inside { Ok(entry) } else { Err(Unreadable::Damaged(kind.name())) }
    });
    let mut part = |kind: Section| -> Result<Vec<u8>, Unreadable> {
        let entry = entries.next().ok_or(Unreadable::Damaged(kind.name()))??;
        // One after the other, without anything between them.
        let is_next = io::Seek::stream_position(&mut file)? == entry.offset;
        if entry.length > SECTION_MAXIMUM || !is_next {
            return Err(Unreadable::Damaged(kind.name()));
        }
        let mut bytes = Vec::new();
        (&mut file).take(entry.length).read_to_end(&mut bytes)?;
        if Sha256::digest(&bytes).as_slice() == entry.digest { Ok(bytes) } else { Err(Unreadable::Damaged(kind.name())) }
    };
    let parts = [part(Section::Configuration)?, part(Section::Processor)?, part(Section::Machine)?];
    let memory = entries.next().ok_or(Unreadable::Damaged(Section::Memory.name()))??;
    if !memory.offset.is_multiple_of(ALIGNMENT) || memory.offset + memory.length != is {
        return Err(Unreadable::Damaged(Section::Memory.name()));
    }
    drop(entries);
    Ok(Contents { file, parts, memory_offset: memory.offset, memory_size: memory.length })
}

fn word(bytes: &[u8], place: usize) -> u32 {
    bytes.get(place..place + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], place: usize) -> u64 {
    u64::from(word(bytes, place + 4)) << 32 | u64::from(word(bytes, place))
}

fn digest_of(bytes: &[u8]) -> [u8; DIGEST_SIZE] {
    bytes.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hv::vm_memory::{Bytes, GuestAddress};
    use proptest::prelude::*;

    use super::*;

    const RANGES: [(u64, u64); 1] = [(0, 4 << 20)];

    fn saved(folder: &Path, parts: &[Vec<u8>; 3]) -> PathBuf {
        let memory = hv::allocate(&RANGES).unwrap();
        memory.write_slice(b"in memory", GuestAddress(0x12345)).unwrap();
        let path = folder.join("state");
        save(&path, parts, &memory).unwrap();
        path
    }

    fn save(path: &Path, parts: &[Vec<u8>; 3], memory: &GuestMemory) -> io::Result<()> {
        let unfinished = Unfinished::new(path.to_owned())?;
        write(&unfinished.file()?, parts, memory)?;
        unfinished.finish()
    }

    fn read(path: &Path) -> Result<Contents, Unreadable> {
        super::read(open(path)?)
    }

    fn parts() -> [Vec<u8>; 3] {
        [b"{}".to_vec(), Vec::new(), vec![7; 5000]]
    }

    /// Bytes of everything before memory.
    fn length(parts: &[Vec<u8>; 3]) -> usize {
        HEADER_SIZE + 4 * ENTRY_SIZE + DIGEST_SIZE + parts.iter().map(Vec::len).sum::<usize>()
    }

    #[test]
    fn what_is_not_a_state_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        for bytes in [&b""[..], b"x", b"some text that is longer than a header is, which is thirty-two bytes"] {
            fs::write(&other, bytes).unwrap();
            assert!(matches!(read(&other), Err(Unreadable::Foreign)));
        }
        assert!(matches!(read(folder.path()), Err(Unreadable::Foreign)));
        assert!(matches!(read(&folder.path().join("nothing")), Err(Unreadable::Io(_))));
        let state = saved(folder.path(), &parts());
        let whole = fs::read(&state).unwrap();
        for end in [1, 7, 20, 40, 200, 3000, whole.len() - 1] {
            fs::write(&other, &whole[..end]).unwrap();
            let error = read(&other).unwrap_err();
            assert!(matches!(error, Unreadable::Truncated { is, .. } if is == end as u64), "{end}: {error}");
        }
        let mut newer = whole.clone();
        newer[8] = 2;
        fs::write(&other, &newer).unwrap();
        assert!(matches!(read(&other), Err(Unreadable::Version(2))));
        fs::write(&other, [&whole[..], b"x"].concat()).unwrap();
        assert!(matches!(read(&other), Err(Unreadable::Truncated { .. })));
    }

    #[test]
    fn a_state_is_private_sparse_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path(), &parts());
        saved(folder.path(), &parts());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 < 64 << 10);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let (memory, occupied) = (hv::allocate(&RANGES).unwrap(), folder.path().join("occupied"));
        fs::create_dir(&occupied).unwrap();
        assert!(save(&folder.path().join("no/folder/state"), &parts(), &memory).is_err());
        assert!(save(&occupied, &parts(), &memory).is_err(), "in place of a folder");
        Unfinished::new(occupied).unwrap().discard();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn what_is_written_is_read(a in prop::collection::vec(any::<u8>(), 0..300), b in prop::collection::vec(any::<u8>(), 0..9000)) {
            let folder = tempfile::tempdir().unwrap();
            let parts = [a, b, Vec::new()];
            let contents = read(&saved(folder.path(), &parts)).unwrap();
            prop_assert_eq!(&contents.parts, &parts);
            prop_assert_eq!(contents.memory_size, 4 << 20);
            let memory = hv::map_image(&contents.file, contents.memory_offset, &RANGES).unwrap();
            let mut bytes = [0; 9];
            memory.read_slice(&mut bytes, GuestAddress(0x12345)).unwrap();
            prop_assert_eq!(&bytes, b"in memory");
        }

        #[test]
        fn no_bit_of_it_can_change(place in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let folder = tempfile::tempdir().unwrap();
            let path = saved(folder.path(), &parts());
            let mut bytes = fs::read(&path).unwrap();
            let place = place.index(length(&parts()));
            bytes[place] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            prop_assert!(read(&path).is_err());
        }

        #[test]
        fn bytes_with_a_right_digest_are_no_trouble(table in prop::collection::vec(prop_oneof![
            Just(0_u64), Just(1), Just(2), Just(3), Just(4), Just(u64::MAX), Just(2 << 20), Just(4 << 20), 200..400_u64], 29)) {
            let folder = tempfile::tempdir().unwrap();
            let mut head = [&MAGIC[..], &VERSION.to_le_bytes(), &4_u32.to_le_bytes()].concat();
            head.extend(table.iter().take(30).flat_map(|number| number.to_le_bytes()));
            head.resize(HEADER_SIZE + 4 * ENTRY_SIZE, 0);
            head[16..24].copy_from_slice(&(4_u64 << 20).to_le_bytes());
            let digest: [u8; 32] = Sha256::digest(&head).into();
            head.extend(digest);
            head.resize(4 << 20, 0);
            let path = folder.path().join("state");
            fs::write(&path, head).unwrap();
            let _ = read(&path);
        }
    }
}
