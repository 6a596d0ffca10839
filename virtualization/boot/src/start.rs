//! What a processor finds in memory: tables for its start in 64-bit mode (segments, and pages that map the first 4 GiB as they are), and
//! code where it would begin in real mode.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::layout;

/// Null, null, 64-bit code, data (Intel SDM, volume 3, 3.4.5).
const SEGMENTS: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// Present and writable; the second also a page of 2 MiB (Intel SDM, volume 3, 4.5).
const TABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 0b1000_0011;
const LARGE_PAGE_SIZE: u64 = 2 << 20;
const PAGE_SIZE: u64 = 4096;
/// GiB that are mapped.
const MAPPED: u64 = 4;

/// Where firmware would be entered after a reset, as real mode sees it. Without EFI, Linux resets a hardware-reduced computer by jumping
/// there.
const RESET_VECTOR: u64 = 0xf_fff0;
const PORT: [u8; 2] = layout::RESET_PORT.to_le_bytes();
/// `mov dx, RESET_PORT; mov al, RESET_VALUE; out dx, al; hlt; jmp $-1`.
const RESET: [u8; 9] = [0xba, PORT[0], PORT[1], 0xb0, layout::RESET_VALUE, 0xee, 0xf4, 0xeb, 0xfd];

/// Writes them where the layout says.
pub fn write(memory: &impl GuestMemoryBackend) -> Result<(), vm_memory::GuestMemoryError> {
    memory.write_slice(&RESET, GuestAddress(RESET_VECTOR))?;
    write_all(memory, layout::SEGMENTS, SEGMENTS.into_iter())?;
    let directories = layout::PAGE_TABLE + PAGE_SIZE;
    let pages = directories + PAGE_SIZE;
    write_all(memory, layout::PAGE_TABLE, std::iter::once(directories | TABLE))?;
    write_all(memory, directories, (0..MAPPED).map(|gib| (pages + gib * PAGE_SIZE) | TABLE))?;
    write_all(memory, pages, (0..MAPPED * 512).map(|page| (page * LARGE_PAGE_SIZE) | LARGE_PAGE))
}

fn write_all(memory: &impl GuestMemoryBackend, start: u64, values: impl Iterator<Item = u64>) -> Result<(), vm_memory::GuestMemoryError> {
    let bytes: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
    memory.write_slice(&bytes, GuestAddress(start))
}
