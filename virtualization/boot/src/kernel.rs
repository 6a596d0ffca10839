//! Kernel images: what a file is, and what of it goes where in memory.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use linux_loader::bootparam::setup_header;
use linux_loader::loader::KernelLoader;
use linux_loader::loader::bzimage::BzImage;
use linux_loader::loader::elf::Elf;
use vm_memory::{GuestAddress, GuestMemoryBackend, ReadVolatile};

use crate::layout;
use crate::linux::{Error, Result};

/// "HdrS", at 0x202 of a kernel for the Linux boot protocol.
const MAGIC: u32 = 0x5372_6448;
/// The oldest protocol with a 64-bit entry (Linux 3.8).
const PROTOCOL_MINIMUM: u16 = 0x020c;
/// `XLF_KERNEL_64` of `xloadflags`: the kernel has a 64-bit entry.
const HAS_64_BIT_ENTRY: u16 = 1 << 0;
/// Where that entry is, from the start of the protected-mode part.
const ENTRY_OFFSET: u64 = 0x200;
/// Where the header is in the file.
const HEADER_OFFSET: usize = 0x1f1;
/// Bytes of the file that are enough to tell what it is: the boot sector and the header, which ends before this.
const HEAD: usize = 0x270;
/// The highest byte of an initial RAM disk where a kernel does not say (what bzImages for x86-64 say).
const INITRD_MAXIMUM: u64 = 0x7fff_ffff;
/// More than any kernel has; bounds what a decompression may produce.
const KERNEL_MAXIMUM: u64 = 1 << 30;

/// A kernel in memory.
#[derive(Debug)]
pub struct KernelImage {
    /// Its first instruction in 64-bit mode.
    pub entry: u64,
    /// The memory that it needs until it manages memory itself.
    pub needs: Range<u64>,
    /// Where an initial RAM disk must have ended.
    pub initrd_end: u64,
    /// What it says about itself; an ELF file says nothing.
    pub header: Option<setup_header>,
}

impl KernelImage {
    /// Puts the kernel of this file into memory.
    ///
    /// # Errors
    /// Where the file is no kernel for x86-64, or memory is too small for it.
    pub fn load<F: Read + Seek + ReadVolatile>(file: &mut F, memory: &impl GuestMemoryBackend) -> Result<Self> {
        let head = head(file)?;
        if head.starts_with(b"\x7fELF") {
            return Self::load_elf(file, &head, memory);
        }
        let header = header(&head).ok_or(Error::NotAKernel)?;
        Self::load_bz_image(file, header, memory)
    }

    fn load_elf<F: Read + Seek + ReadVolatile>(file: &mut F, head: &[u8], memory: &impl GuestMemoryBackend) -> Result<Self> {
        // ELFCLASS64 and EM_X86_64 (ELF-64, figure 3).
        if head.get(4) != Some(&2) || head.get(18..20) != Some(&[62, 0]) {
            return Err(Error::OtherArchitecture);
        }
        let loaded = Elf::load(memory, None, file, Some(GuestAddress(layout::HIGH_MEMORY))).map_err(Error::Load)?;
        let entry = loaded.kernel_load.0;
        if entry >= loaded.kernel_end {
            return Err(Error::NotAKernel);
        }
        let needs = layout::HIGH_MEMORY..loaded.kernel_end;
        Ok(Self { entry, needs, initrd_end: INITRD_MAXIMUM + 1, header: None })
    }

    fn load_bz_image<F: Read + Seek + ReadVolatile>(file: &mut F, header: setup_header, memory: &impl GuestMemoryBackend) -> Result<Self> {
        if header.version < PROTOCOL_MINIMUM || header.xloadflags & HAS_64_BIT_ENTRY == 0 {
            return Err(Error::OtherArchitecture);
        }
        // Where it would move itself otherwise; below that is where it would be if it could not be moved.
        let start = if header.relocatable_kernel != 0 { header.pref_address } else { u64::from(header.code32_start) };
        if start < layout::HIGH_MEMORY {
            return Err(Error::NotAKernel);
        }
        let end = start.checked_add(u64::from(header.init_size)).ok_or(Error::NotAKernel)?;
        if !memory.address_in_range(GuestAddress(end)) {
            return Err(Error::TooLittleMemory { needed: end });
        }
        let loaded = BzImage::load(memory, Some(GuestAddress(start)), file, None).map_err(Error::Load)?;
        let entry = start.checked_add(ENTRY_OFFSET).ok_or(Error::NotAKernel)?;
        let needs = start..end.max(loaded.kernel_end);
        Ok(Self { entry, needs, initrd_end: u64::from(header.initrd_addr_max) + 1, header: loaded.setup_header })
    }
}

fn head<F: Read + Seek>(file: &mut F) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.seek(SeekFrom::Start(0)).map_err(Error::Read)?;
    file.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(Error::Read)?;
    Ok(head)
}

/// The header of a kernel for the Linux boot protocol.
fn header(head: &[u8]) -> Option<setup_header> {
    let bytes = head.get(HEADER_OFFSET..)?;
    let mut header = setup_header::default();
    Cursor::new(bytes).read_exact_volatile(&mut vm_memory::VolatileSlice::from(vm_memory::ByteValued::as_mut_slice(&mut header))).ok()?;
    (header.header == MAGIC).then_some(header)
}

/// How the kernel inside a bzImage is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstandard,
}

impl Compression {
    fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstandard),
            _ => None,
        }
    }
}

/// The ELF kernel inside a bzImage, decompressed here, where it is several times as fast as in the guest.
///
/// `None` where the file is no bzImage or holds something that we do not decompress; it is then up to the guest.
///
/// # Errors
/// Where the file cannot be read or is damaged.
pub fn payload<F: Read + Seek>(file: &mut F) -> Result<Option<Vec<u8>>> {
    let Some(header) = header(&head(file)?) else { return Ok(None) };
    if header.version < PROTOCOL_MINIMUM {
        return Ok(None);
    }
    let sectors = if header.setup_sects == 0 { 4 } else { u64::from(header.setup_sects) };
    let start = (sectors + 1) * 512 + u64::from(header.payload_offset);
    file.seek(SeekFrom::Start(start)).map_err(Error::Read)?;
    let mut packed = Vec::new();
    file.by_ref().take(u64::from(header.payload_length).min(KERNEL_MAXIMUM)).read_to_end(&mut packed).map_err(Error::Read)?;
    // The last four bytes are the size of what comes out, put there by the kernel's build.
    let Some((packed, _size)) = packed.split_last_chunk::<4>() else { return Ok(None) };
    let Some(compression) = Compression::of(packed) else { return Ok(None) };
    let kernel = decompress(compression, packed)?;
    Ok(kernel.starts_with(b"\x7fELF").then_some(kernel))
}

fn decompress(compression: Compression, packed: &[u8]) -> Result<Vec<u8>> {
    let mut kernel = Vec::new();
    let read = match compression {
        Compression::Gzip => flate2::read::GzDecoder::new(packed).take(KERNEL_MAXIMUM).read_to_end(&mut kernel),
        Compression::Xz => lzma_rust2::XzReader::new(packed, false).take(KERNEL_MAXIMUM).read_to_end(&mut kernel),
        Compression::Zstandard => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed);
            let decoder = decoder.map_err(|error| Error::Decompress(std::io::Error::other(error.to_string())))?;
            decoder.take(KERNEL_MAXIMUM).read_to_end(&mut kernel)
        }
    };
    read.map_err(Error::Decompress)?;
    Ok(kernel)
}
