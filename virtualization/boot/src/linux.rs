//! The Linux boot protocol (Documentation/arch/x86/boot.rst, zero-page.rst): what goes where before the first instruction.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;

use linux_loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::Error as LoadError;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, ReadVolatile};

use crate::kernel::KernelImage;
use crate::{layout, start};

/// The result of preparing a guest.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a guest cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is something else.
    #[error("The file is not a Linux kernel: neither a bzImage (vmlinuz) nor an ELF file (vmlinux)")]
    NotAKernel,
    /// The kernel is for other processors.
    #[error("The kernel is not for 64-bit x86 processors, or older than Linux 3.8")]
    OtherArchitecture,
    /// The kernel does not fit.
    #[error("The kernel needs memory up to {} MiB", needed.div_ceil(1 << 20))]
    TooLittleMemory {
        /// Where its memory ends, in bytes.
        needed: u64,
    },
    /// The initial RAM disk does not fit.
    #[error("The initial RAM disk ({} MiB) does not fit into memory beside the kernel", size.div_ceil(1 << 20))]
    InitrdTooLarge {
        /// Its bytes.
        size: u64,
    },
    /// The command line does not fit.
    #[error("The kernel takes a command line of at most {maximum} bytes, and this one has {length}")]
    CommandLineTooLong {
        /// Its bytes.
        length: usize,
        /// The most.
        maximum: usize,
    },
    /// A file could not be read.
    #[error("Could not read the kernel or its initial RAM disk")]
    Read(#[source] io::Error),
    /// What is inside the kernel image is damaged.
    #[error("Could not decompress the kernel")]
    Decompress(#[source] io::Error),
    /// The kernel could not be put into memory.
    #[error("Could not load the kernel into the guest's memory")]
    Load(#[source] LoadError),
    /// Something else could not be put into memory.
    #[error("Could not write to the guest's memory")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// Where the first vCPU begins, in 64-bit mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The first instruction.
    pub instruction: u64,
    /// The boot parameters.
    pub parameters: u64,
    /// The top-level page table.
    pub page_table: u64,
    /// The segment descriptors.
    pub segments: u64,
}

/// Types of memory (zero-page.rst, `e820_table`).
const USABLE: u32 = 1;
const RESERVED: u32 = 2;
/// The longest command line of a kernel that does not say, without the zero at its end.
const COMMAND_LINE_MAXIMUM: usize = 2047;
/// "undefined" boot loader.
const LOADER_UNDEFINED: u8 = 0xff;
/// Pages of memory are what an initial RAM disk is aligned to.
const PAGE_SIZE: u64 = 4096;

/// A Linux guest's beginning.
#[derive(Debug)]
pub struct Linux<'a> {
    /// The initial RAM disk.
    pub initrd: Option<&'a mut File>,
    /// The command line, without a zero at its end.
    pub command_line: &'a str,
}

impl Linux<'_> {
    /// Puts everything into memory but the ACPI tables, whose root pointer is expected at [`layout::ACPI`].
    ///
    /// # Errors
    /// Where a file is not what it should be, or something does not fit.
    pub fn load<F: Read + Seek + ReadVolatile>(self, kernel: &mut F, memory: &impl GuestMemoryBackend) -> Result<Begin> {
        let kernel = KernelImage::load(kernel, memory)?;
        let mut parameters = boot_params::default();
        match kernel.header {
            Some(header) => parameters.hdr = header,
            // What an ELF file cannot say.
            None => {
                parameters.hdr.boot_flag = 0xaa55;
                parameters.hdr.header = 0x5372_6448;
                parameters.hdr.version = 0x020f;
                parameters.hdr.kernel_alignment = 0x100_0000;
            }
        }
        parameters.hdr.type_of_loader = LOADER_UNDEFINED;
        parameters.acpi_rsdp_addr = layout::ACPI;

        let maximum = kernel.header.map_or(COMMAND_LINE_MAXIMUM, |header| header.cmdline_size as usize).min(COMMAND_LINE_MAXIMUM);
        if self.command_line.len() > maximum {
            return Err(Error::CommandLineTooLong { length: self.command_line.len(), maximum });
        }
        memory.write_slice(self.command_line.as_bytes(), GuestAddress(layout::COMMAND_LINE))?;
        memory.write_obj(0_u8, GuestAddress(layout::COMMAND_LINE + self.command_line.len() as u64))?;
        // The layout's addresses are below 4 GiB.
        parameters.hdr.cmd_line_ptr = layout::COMMAND_LINE as u32;
        parameters.hdr.cmdline_size = self.command_line.len() as u32;

        if let Some(file) = self.initrd {
            let place = load_initrd(file, &kernel, memory)?;
            // Both were checked to end below 4 GiB.
            parameters.hdr.ramdisk_image = place.start as u32;
            parameters.hdr.ramdisk_size = (place.end - place.start) as u32;
        }

        let map = memory_map(memory);
        for (entry, (range, kind)) in parameters.e820_table.iter_mut().zip(&map) {
            *entry = boot_e820_entry { addr: range.start, size: range.end - range.start, r#type: *kind };
        }
        parameters.e820_entries = u8::try_from(map.len()).unwrap_or(u8::MAX);
        memory.write_obj(parameters, GuestAddress(layout::PARAMETERS))?;
        start::write(memory)?;
        Ok(Begin { instruction: kernel.entry, parameters: layout::PARAMETERS, page_table: layout::PAGE_TABLE, segments: layout::SEGMENTS })
    }
}

/// Puts the initial RAM disk as high as the kernel allows, out of its way.
fn load_initrd(file: &mut File, kernel: &KernelImage, memory: &impl GuestMemoryBackend) -> Result<Range<u64>> {
    let size = file.metadata().map_err(Error::Read)?.len();
    let low = memory.iter().next().map_or(0, |region| region.len());
    let top = low.min(kernel.initrd_end).min(layout::GAP);
    let start = top.checked_sub(size).map(|start| start & !(PAGE_SIZE - 1)).filter(|start| *start >= kernel.needs.end);
    let start = start.ok_or(Error::InitrdTooLarge { size })?;
    file.rewind().map_err(Error::Read)?;
    let length = usize::try_from(size).map_err(|_| Error::InitrdTooLarge { size })?;
    memory.read_exact_volatile_from(GuestAddress(start), file, length)?;
    Ok(start..start + size)
}

/// What the guest is told about memory.
fn memory_map(memory: &impl GuestMemoryBackend) -> Vec<(Range<u64>, u32)> {
    let mut map = vec![(0..layout::LOW_MEMORY_END, USABLE), (layout::ACPI..layout::FIRMWARE_END, RESERVED)];
    for region in memory.iter() {
        let (start, end) = (region.start_addr().0, region.start_addr().0.saturating_add(region.len()));
        map.push((start.max(layout::HIGH_MEMORY)..end, USABLE));
    }
    map.push((layout::PCI_CONFIGURATION..layout::PCI_CONFIGURATION + layout::PCI_CONFIGURATION_SIZE, RESERVED));
    map.sort_by_key(|(range, _)| range.start);
    map
}
