//! Kernels, which people download: loading one, and what its header says into the boot parameters, writes inside the guest's memory and never
//! panics, and neither does unpacking it.
#![no_main]

use std::io::Cursor;

use boot::Linux;
use libfuzzer_sys::fuzz_target;
use vm_memory::{GuestAddress, GuestMemoryMmap};

fuzz_target!(|image: &[u8]| {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 8 << 20)]).expect("memory");
    let _ = Linux { initrd: None, command_line: "console=ttyS0" }.load(&mut Cursor::new(image), &memory);
    let _ = boot::payload(&mut Cursor::new(image));
});
