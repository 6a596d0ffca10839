//! The memory balloon.

use std::sync::Arc;

use devices::EventLoop;
use devices::virtio::balloon::{Balloon, BalloonTarget, PAGE_SIZE};
use hv::vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, MEMORY, Part, WRITE};

const AREA: u64 = 2 << 20;

fn balloon() -> (Driver, Arc<BalloonTarget>) {
    let target = Arc::new(BalloonTarget::default());
    let device = Balloon::new(target.clone(), Arc::new(EventLoop::new("test").unwrap()));
    (Driver::ready(Box::new(device), 0), target)
}

/// KiB of the guest's memory that the host has given.
fn held(driver: &Driver) -> u64 {
    let region = driver.memory.iter().next().unwrap();
    std::os::unix::fs::MetadataExt::blocks(&region.file_offset().unwrap().file().metadata().unwrap()) / 2
}

#[test]
fn pages_in_the_balloon_go_back_to_the_host() {
    let (mut driver, _) = balloon();
    driver.memory.write_slice(&vec![1; 64 * PAGE_SIZE as usize], GuestAddress(AREA)).unwrap();
    // The request itself needs a page.
    driver.memory.write_obj(1_u8, GuestAddress(BUFFERS)).unwrap();
    let before = held(&driver);
    let numbers: Vec<u8> = (0..64).flat_map(|page| ((AREA / PAGE_SIZE) as u32 + page).to_le_bytes()).collect();
    driver.request(0, &[Part::Give(numbers)]);
    assert_eq!(before - held(&driver), 64 * 4);
    assert_eq!(driver.memory.read_obj::<u64>(GuestAddress(AREA)).unwrap(), 0);
}

#[test]
fn free_memory_goes_back_too_but_only_whole_pages() {
    let (mut driver, _) = balloon();
    driver.memory.write_slice(&vec![1; 4 * PAGE_SIZE as usize], GuestAddress(AREA)).unwrap();
    driver.put_descriptor(2, 0, Descriptor(AREA + 1, 3 * PAGE_SIZE as u32, WRITE, 0));
    driver.offer(2, 0);
    driver.wait(2);
    let first = |page: u64| driver.memory.read_obj::<u8>(GuestAddress(AREA + page * PAGE_SIZE)).unwrap();
    assert_eq!([first(0), first(1), first(2), first(3)], [1, 0, 0, 1]);
}

#[test]
fn what_is_not_memory_is_left_alone() {
    let (mut driver, _) = balloon();
    let numbers: Vec<u8> = [u32::MAX, (MEMORY / PAGE_SIZE) as u32].into_iter().flat_map(u32::to_le_bytes).chain([1]).collect();
    driver.request(0, &[Part::Give(numbers)]);
    for (address, length) in [(MEMORY - PAGE_SIZE, u32::MAX), (u64::MAX - 5, 10), (MEMORY, 4096), (0, 0)] {
        driver.put_descriptor(2, 0, Descriptor(address, length, WRITE, 0));
        driver.offer(2, 0);
        driver.wait(2);
    }
    assert_eq!(driver.status() & 64, 0);
}

#[test]
fn both_sides_say_how_large_it_is() {
    let (driver, target) = balloon();
    target.set(500);
    assert_eq!(driver.read::<4>(0x2000), 500_u32.to_le_bytes());
    driver.write(0x2004, &300_u32.to_le_bytes());
    assert_eq!((target.wanted(), target.actual()), (500, 300));
}
