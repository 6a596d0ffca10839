//! The memory balloon.

use std::sync::Arc;

use devices::virtio::balloon::{Balloon, BalloonTarget, PAGE_SIZE};
use hv::vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, MEMORY, Part, WRITE, events};

const AREA: u64 = 2 << 20;

fn balloon() -> (Driver, Arc<BalloonTarget>) {
    let target = Arc::new(BalloonTarget::default());
    let device = Balloon::new(target.clone(), events());
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
fn a_chain_names_so_many_pages_and_no_more() {
    let (mut driver, _) = balloon();
    let pages = [AREA, AREA + PAGE_SIZE].map(|place| {
        driver.memory.write_obj(1_u8, GuestAddress(place)).unwrap();
        ((place / PAGE_SIZE) as u32).to_le_bytes()
    });
    let numbers = [vec![0xff; 4 * 4095], pages.concat()].concat();
    driver.request(0, &[Part::Give(numbers)]);
    assert_eq!([AREA, AREA + PAGE_SIZE].map(|place| driver.memory.read_obj::<u8>(GuestAddress(place)).unwrap()), [0, 1]);
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
    for (address, length) in [(MEMORY - PAGE_SIZE, u32::MAX), (u64::MAX - 5, 10), (u64::MAX - 5, 3), (MEMORY, 4096), (0, 0)] {
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

#[test]
fn statistics_are_what_the_guest_says_when_it_is_asked() {
    let target = Arc::new(BalloonTarget::default());
    let device = Balloon::new(target.clone(), events());
    assert!(!target.ask_for_statistics(|_| ()), "there is no driver yet");
    let mut driver = Driver::ready(Box::new(device), 1 << 1 | 1 << 5);
    let entry = |number: u16, value: u64| [&number.to_le_bytes()[..], &value.to_le_bytes()].concat();
    let say = |driver: &mut Driver, bytes: &[u8]| {
        driver.memory.write_slice(bytes, GuestAddress(BUFFERS)).unwrap();
        driver.put_descriptor(2, 0, Descriptor(BUFFERS, u32::try_from(bytes.len()).unwrap(), 0, 0));
        driver.offer(2, 0);
    };
    let (sender, told) = std::sync::mpsc::channel();
    // What was said before anyone asked is no answer.
    say(&mut driver, &entry(4, 1));
    for free in [1000_u64, 2000] {
        let sender = sender.clone();
        assert!(target.ask_for_statistics(move |statistics| sender.send(statistics).unwrap()));
        driver.wait(2);
        assert!(told.try_recv().is_err());
        // An unknown number, and half an entry at the end.
        say(&mut driver, &[entry(4, free), entry(99, 7), entry(5, 9000), vec![0, 0, 1]].concat());
        let statistics = told.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert_eq!((statistics.free, statistics.total, statistics.swapped_in), (Some(free), Some(9000), None));
    }
    // The queue for free memory is the one after.
    driver.memory.write_slice(&[1; 4096], GuestAddress(AREA)).unwrap();
    driver.put_descriptor(3, 0, Descriptor(AREA, PAGE_SIZE as u32, WRITE, 0));
    driver.offer(3, 0);
    driver.wait(3);
    assert_eq!(driver.memory.read_obj::<u8>(GuestAddress(AREA)).unwrap(), 0);
    // Who waits when the driver goes is told that nothing will come.
    assert!(target.ask_for_statistics(move |statistics| sender.send(statistics).unwrap()));
    driver.write(0x14, &[0]);
    assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}
