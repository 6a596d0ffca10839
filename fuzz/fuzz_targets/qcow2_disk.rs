//! qcow2 images that mean no good: whatever is in the file, a disk of it is refused, or answers every request, and does not grow beyond what
//! was written to it.
#![no_main]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use confinement::Confinement;
use devices::pci::PciFunction;
use devices::virtio::{Block, Disk, VirtioDevice, VirtioPci};
use hv::GuestMemory;
use hv::fake::FakeVm;
use hv::vm_memory::{Bytes, GuestAddress};
use libfuzzer_sys::fuzz_target;

const BASE: u64 = 0xc000_0000;
const MEMORY: u64 = 1 << 20;
/// Where the queue's parts and the buffers of its requests are.
const QUEUE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFERS: u64 = 0x1_0000;
/// Guest memory of a request, and how many are under way at once at most.
const ROOM: u64 = 0x4000;
const SLOTS: u16 = 4;
/// Sectors of the disk.
const SECTORS: u64 = 128;
/// Room of a file that no few requests should come to use, in bytes.
const MOST: u64 = 64 << 20;

/// A small image: two tables of mappings with data, zeros, and what is compressed, in clusters of 512 bytes.
fn image() -> Vec<u8> {
    const COUNTED_ONCE: u64 = 1 << 63;
    let mut image = vec![0; 0x1200];
    let mut put = |place: usize, bytes: &[u8]| image[place..place + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    for (place, value) in [(20, 9_u32), (36, 2), (56, 1), (96, 4), (100, 104)] {
        put(place, &value.to_be_bytes());
    }
    for (place, value) in [(24, SECTORS * 512), (40, 0x600), (48, 0x200)] {
        put(place, &value.to_be_bytes());
    }
    put(0x200, &0x400_u64.to_be_bytes());
    (0..9).for_each(|cluster| put(0x400 + cluster * 2, &1_u16.to_be_bytes()));
    for (place, value) in [(0x600, 0x800), (0x608, 0xa00), (0x800, 0xc00), (0x810, 0xe00)] {
        put(place, &(COUNTED_ONCE | value).to_be_bytes());
    }
    // Zeros without and with room, and a compressed cluster.
    put(0x808, &1_u64.to_be_bytes());
    put(0x818, &(1_u64 << 62 | 0x1000).to_be_bytes());
    image[0xc00..].iter_mut().zip(0_u32..).for_each(|(byte, place)| *byte = (place % 251) as u8);
    image
}

/// A guest's driver of the disk.
struct Driver {
    function: VirtioPci,
    vm: Arc<FakeVm>,
    memory: GuestMemory,
    offered: u16,
}

impl Driver {
    fn new(disk: Disk) -> Self {
        let block = Block::new(disk, &Confinement::off()).expect("a device");
        let offered = block.features();
        let (memory, vm) = (hv::allocate(&[(0, MEMORY)]).expect("memory"), Arc::new(FakeVm::default()));
        let function = VirtioPci::new(Box::new(block), BASE as u32, vm.clone(), memory.clone()).expect("a function");
        function.write_configuration(4, &[6]);
        let write = |offset: u64, data: &[u8]| function.write(BASE + offset, data);
        // It flushes, and knows of giving room back.
        let features = (offered & (1 << 9 | 1 << 13 | 1 << 14)) as u32;
        for (place, data) in
            [(0x14, &[3][..]), (0x08, &[0; 4]), (0x0c, &features.to_le_bytes()), (0x08, &[1, 0, 0, 0]), (0x0c, &[1, 0, 0, 0])]
        {
            write(place, data);
        }
        write(0x14, &[11]);
        write(0x18, &16_u16.to_le_bytes());
        for (place, address) in [(0x20, QUEUE), (0x28, AVAILABLE), (0x30, USED)] {
            write(place, &address.to_le_bytes());
        }
        write(0x1c, &[1, 0]);
        write(0x14, &[15]);
        Self { function, vm, memory, offered: 0 }
    }

    fn put(&self, place: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(place)).expect("a place in memory");
    }

    /// Asks for something: kind, sector, count of sectors or flags.
    fn ask(&mut self, kind: u32, sector: u64, count: u32, flags: u32, fill: u8) {
        let slot = self.offered % SLOTS;
        let (head, buffer) = (slot * 3, BUFFERS + u64::from(slot) * ROOM);
        let is_range = matches!(kind, 11 | 13);
        self.put(buffer, &[kind.to_le_bytes(), [0; 4]].concat());
        self.put(buffer + 8, &sector.to_le_bytes());
        let length = if is_range { 16 } else { count * 512 };
        if is_range {
            let range = [&sector.to_le_bytes()[..], &(count * 4).to_le_bytes(), &flags.to_le_bytes()].concat();
            self.put(buffer + 16, &range);
        } else {
            self.put(buffer + 16, &vec![fill; length as usize]);
        }
        let (next, writable) = (1_u16, if kind == 0 { 2_u16 } else { 0 });
        let descriptors = [(buffer, 16, next, head + 1), (buffer + 16, length, next | writable, head + 2), (buffer + ROOM - 1, 1, 2, 0)];
        for ((address, length, flags, following), number) in descriptors.into_iter().zip(u64::from(head)..) {
            let descriptor = [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &following.to_le_bytes()].concat();
            self.put(QUEUE + number * 16, &descriptor);
        }
        self.put(AVAILABLE + 4 + u64::from(self.offered % 16) * 2, &head.to_le_bytes());
        self.offered = self.offered.wrapping_add(1);
        self.put(AVAILABLE + 2, &self.offered.to_le_bytes());
        self.vm.ring(BASE + 0x3000);
    }

    /// Waits until everything has been answered; the fuzzer notices where that has no end.
    fn wait(&self) {
        while self.memory.read_obj::<u16>(GuestAddress(USED + 2)).expect("a place in memory") != self.offered {
            std::thread::yield_now();
        }
    }

    fn has_failed(&self) -> bool {
        let mut status = [0];
        self.function.read(BASE + 0x14, &mut status);
        status[0] & 64 != 0
    }
}

fn allocated(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

fuzz_target!(|input: &[u8]| {
    let Some(([is_whole, count], input)) = input.split_first_chunk() else { return };
    let (requests, input) = input.split_at(input.len().min(usize::from(count % 32) * 5));
    let content = if *is_whole < 64 {
        input.to_vec()
    } else {
        // An image in which numbers were changed gets further.
        let mut image = image();
        for change in input.chunks_exact(10) {
            let (place, value) = change.split_at(2);
            let place = usize::from(u16::from_le_bytes([place[0], place[1]])) % (image.len() - 8);
            image[place..place + 8].copy_from_slice(value);
        }
        image
    };
    let file = tempfile::tempfile_in("/dev/shm").expect("a file");
    file.write_all_at(&content, 0).expect("room for it");
    let Ok(disk) = file.try_clone().and_then(|file| Disk::qcow2(file, *is_whole % 8 == 7)) else { return };
    let mut driver = Driver::new(disk);
    for request in requests.chunks_exact(5) {
        let [kind, low, high, count, fill] = *request else { continue };
        let sector = u64::from(u16::from_le_bytes([low, high])) % (SECTORS + 8);
        let count = u32::from(count % 16) + 1;
        let kinds = [0, 1, 0, 1, 4, 11, 13, 13];
        driver.ask(kinds[usize::from(kind % 8)], sector, count, u32::from(kind % 8 == 6), fill);
        if kind & 128 == 0 || driver.offered.is_multiple_of(SLOTS) {
            driver.wait();
        }
    }
    driver.wait();
    driver.ask(4, 0, 1, 0, 0);
    driver.wait();
    assert!(!driver.has_failed(), "the queue makes sense");
    driver.function.write(BASE + 0x14, &[0]);
    assert!(allocated(&file) <= MOST, "the file has come to use {} bytes", allocated(&file));
});
