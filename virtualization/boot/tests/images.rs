//! Kernel images, good and bad.

use std::fs::File;
use std::io::{Cursor, Write};

use boot::{Error, KernelImage, Linux, layout, payload};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MIB: usize = 1 << 20;

fn memory(mib: usize) -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), mib * MIB)]).unwrap()
}

/// A bzImage with this payload: one sector of setup, a protected-mode part with the payload at its start.
fn bz_image(packed: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    let mut put = |place: usize, bytes: &[u8]| image[place..place + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x234, &[1]);
    put(0x236, &1_u16.to_le_bytes());
    put(0x238, &2047_u32.to_le_bytes());
    put(0x24c, &u32::try_from(packed.len() + 4).unwrap().to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x10_0000_u32.to_le_bytes());
    image.extend(packed);
    image.extend([0; 4]);
    image
}

fn elf(entry: u64, segment: u64) -> Vec<u8> {
    let mut elf = vec![0_u8; 120];
    elf[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    elf[24..32].copy_from_slice(&entry.to_le_bytes());
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[52..58].copy_from_slice(&[64, 0, 56, 0, 1, 0]);
    elf[64] = 1;
    for (place, value) in [(8, 120_u64), (24, segment), (32, 4), (40, 4096)] {
        elf[64 + place..72 + place].copy_from_slice(&value.to_le_bytes());
    }
    elf.extend(b"code");
    elf
}

#[test]
fn a_bz_image_goes_where_it_says() {
    let memory = memory(64);
    let image = KernelImage::load(&mut Cursor::new(bz_image(b"payload")), &memory).unwrap();
    assert_eq!((image.entry, image.needs, image.initrd_end), (0x100_0200, 0x100_0000..0x110_0000, 0x8000_0000));
    let mut loaded = [0; 7];
    memory.read_slice(&mut loaded, GuestAddress(0x100_0000)).unwrap();
    assert_eq!(&loaded, b"payload");
}

#[test]
fn an_elf_file_goes_where_it_says() {
    let memory = memory(64);
    let image = KernelImage::load(&mut Cursor::new(elf(0x100_0000, 0x100_0000)), &memory).unwrap();
    assert_eq!((image.entry, image.needs.end), (0x100_0000, 0x100_1000));
    assert_eq!(memory.read_obj::<[u8; 4]>(GuestAddress(0x100_0000)).unwrap(), *b"code");
}

#[test]
fn what_is_no_kernel_is_refused() {
    let refused = |image: Vec<u8>| KernelImage::load(&mut Cursor::new(image), &memory(32)).unwrap_err();
    assert!(matches!(refused(Vec::new()), Error::NotAKernel));
    assert!(matches!(refused(b"#!/bin/sh\n".to_vec()), Error::NotAKernel));
    let mut old = bz_image(b"");
    old[0x236] = 0;
    assert!(matches!(refused(old), Error::OtherArchitecture));
    let mut arm = elf(0x100_0000, 0x100_0000);
    arm[18] = 183;
    assert!(matches!(refused(arm), Error::OtherArchitecture));
    assert!(matches!(refused(elf(0x100_0000, 0x4000_0000)), Error::Load(_)));
    assert!(matches!(refused(elf(0x500, 0x500)), Error::Load(_)));
    let mut large = bz_image(b"");
    large[0x260..0x264].copy_from_slice(&0x4000_0000_u32.to_le_bytes());
    assert!(matches!(refused(large), Error::TooLittleMemory { needed: 0x4100_0000 }));
}

#[test]
fn the_kernel_inside_is_found_however_it_is_packed() {
    let kernel = elf(0x100_0000, 0x100_0000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&kernel).unwrap();
    assert_eq!(payload(&mut Cursor::new(bz_image(&gzip.finish().unwrap()))).unwrap(), Some(kernel.clone()));
    let zstandard = ruzstd::encoding::compress_to_vec(&*kernel, ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(payload(&mut Cursor::new(bz_image(&zstandard))).unwrap(), Some(kernel.clone()));
    assert_eq!(payload(&mut Cursor::new(bz_image(b"something else"))).unwrap(), None);
    assert_eq!(payload(&mut Cursor::new(kernel)).unwrap(), None);
    let damaged = bz_image(b"\x1f\x8b\x08\0 not really");
    assert!(matches!(payload(&mut Cursor::new(damaged)), Err(Error::Decompress(_))));
}

fn file(bytes: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes as u64).unwrap();
    file
}

#[test]
fn what_goes_into_memory_does_not_overlap() {
    let memory = memory(64);
    let mut initrd = file(5000);
    initrd.write_all(b"initrd").unwrap();
    let linux = Linux { initrd: Some(&mut initrd), command_line: "console=ttyS0" };
    let begin = linux.load(&mut Cursor::new(bz_image(b"")), &memory).unwrap();
    assert_eq!(begin.instruction, 0x100_0200);
    // Offsets of the header's fields in the boot parameters (zero-page.rst).
    let field = |place: u64| memory.read_obj::<u32>(GuestAddress(begin.parameters + place)).unwrap();
    let (initrd, line) = (u64::from(field(0x218)), u64::from(field(0x228)));
    assert_eq!((initrd, field(0x21c)), (64 * MIB as u64 - 8192, 5000));
    assert_eq!(memory.read_obj::<[u8; 6]>(GuestAddress(initrd)).unwrap(), *b"initrd");
    assert_eq!(memory.read_obj::<[u8; 14]>(GuestAddress(line)).unwrap(), *b"console=ttyS0\0");
    assert_eq!(u64::from(field(0x70)), layout::ACPI);
}

#[test]
fn what_does_not_fit_is_refused() {
    let load = |initrd: usize, line: &str| {
        let mut initrd = file(initrd);
        Linux { initrd: Some(&mut initrd), command_line: line }.load(&mut Cursor::new(bz_image(b"")), &memory(32)).unwrap_err()
    };
    assert!(matches!(load(16 * MIB, ""), Error::InitrdTooLarge { .. }));
    assert!(matches!(load(10, &"x".repeat(2048)), Error::CommandLineTooLong { length: 2048, maximum: 2047 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_panics(mut image in proptest::collection::vec(any::<u8>(), 0..3000), kind in 0..3) {
        let start: &[u8] = match kind {
            0 => &elf(0x100_0000, 0x100_0000)[..64],
            1 => &bz_image(b"")[..0x210],
            _ => b"",
        };
        let length = start.len().min(image.len());
        image[..length].copy_from_slice(&start[..length]);
        let _ = KernelImage::load(&mut Cursor::new(&image), &memory(32));
        let _ = payload(&mut Cursor::new(&image));
    }
}
