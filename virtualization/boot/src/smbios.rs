//! SMBIOS tables (DSP0134, version 3.7): which computer this is, by a UUID.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::layout;
use crate::linux::Result;

/// Of the entry point for 64 bits (5.2.2).
const ENTRY_SIZE: usize = 0x18;
/// Version 3.7 of the specification.
const VERSION: [u8; 3] = [3, 7, 0];

/// Who made it, in words.
const VENDOR: &str = "Vivarium";
const PRODUCT: &str = "virtualization";

/// "Characteristics are not supported" (7.1.1); "is a virtual machine" (7.1.2.2, bit 4).
const NO_CHARACTERISTICS: u64 = 1 << 3;
const VIRTUAL_MACHINE: u8 = 1 << 4;
/// "Unknown" (7.2.2).
const WAKE_UP_UNKNOWN: u8 = 2;

/// Writes the tables to where the layout has them. The identifier is a UUID as RFC 9562 writes it, the most significant byte first.
///
/// # Errors
/// Where memory is too small.
pub fn write(identifier: [u8; 16], memory: &impl GuestMemoryBackend) -> Result<()> {
    let start = layout::SMBIOS + ENTRY_SIZE.next_multiple_of(16) as u64;
    let tables = [firmware(), system(identifier), structure(127, 2, &[], &[])].concat();
    memory.write_slice(&tables, GuestAddress(start))?;
    memory.write_slice(&entry(start, tables.len()), GuestAddress(layout::SMBIOS))?;
    Ok(())
}

/// The entry point: where the tables are.
fn entry(start: u64, size: usize) -> Vec<u8> {
    let mut entry = [&b"_SM3_"[..], &[0, ENTRY_SIZE as u8], &VERSION, &[1, 0], &(size as u32).to_le_bytes(), &start.to_le_bytes()].concat();
    // All bytes together are 0.
    entry[5] = entry.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    entry
}

/// A structure (6.1): its fields after the header, and its strings, which fields number from 1 on.
fn structure(kind: u8, handle: u16, fields: &[u8], strings: &[&str]) -> Vec<u8> {
    let mut structure = vec![kind, 4 + fields.len() as u8];
    structure.extend(handle.to_le_bytes());
    structure.extend(fields);
    for string in strings {
        structure.extend(string.bytes());
        structure.push(0);
    }
    // An empty string ends them; where there is none it has two zeros.
    structure.extend(if strings.is_empty() { &[0, 0][..] } else { &[0][..] });
    structure
}

/// Type 0: firmware, of which there is none.
fn firmware() -> Vec<u8> {
    let mut fields = vec![1, 2, 0, 0, 0, 0];
    fields.extend(NO_CHARACTERISTICS.to_le_bytes());
    // The releases of firmware and of an embedded controller: none.
    fields.extend([0, VIRTUAL_MACHINE, 0xff, 0xff, 0xff, 0xff]);
    structure(0, 0, &fields, &[VENDOR, env!("CARGO_PKG_VERSION")])
}

/// Type 1: the system.
fn system(identifier: [u8; 16]) -> Vec<u8> {
    let mut fields = vec![1, 2, 3, 0];
    // The first three fields of a UUID have the least significant byte first (7.2.1).
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    fields.extend(order.map(|index: usize| identifier[index]));
    fields.extend([WAKE_UP_UNKNOWN, 0, 0]);
    structure(1, 1, &fields, &[VENDOR, PRODUCT, env!("CARGO_PKG_VERSION")])
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestMemoryMmap;

    use super::*;

    #[test]
    fn the_tables_are_found_and_have_the_uuid() {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        write(std::array::from_fn(|index| index as u8), &memory).unwrap();
        let mut entry = [0; ENTRY_SIZE];
        memory.read_slice(&mut entry, GuestAddress(layout::SMBIOS)).unwrap();
        assert_eq!(&entry[..5], b"_SM3_");
        assert_eq!(entry.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        let size = u32::from_le_bytes(entry[12..16].try_into().unwrap());
        let start = u64::from_le_bytes(entry[16..].try_into().unwrap());
        assert!(start >= layout::SMBIOS + 0x18 && start + u64::from(size) <= layout::GENERATION);
        let mut tables = vec![0; size as usize];
        memory.read_slice(&mut tables, GuestAddress(start)).unwrap();
        // A guest goes from one to the next by their lengths and by the two zeros after their strings.
        let mut kinds = Vec::new();
        let mut rest = &tables[..];
        while let [kind, length, ..] = *rest {
            if kind == 1 {
                assert_eq!(length, 0x1b);
                assert_eq!(rest[8..24], [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
            }
            kinds.push(kind);
            let strings = &rest[usize::from(length)..];
            let end = strings.windows(2).position(|two| two == [0, 0]).unwrap();
            rest = &strings[end + 2..];
        }
        assert_eq!(kinds, [0, 1, 127]);
    }
}
