//! The disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;

use devices::virtio::{Block, Disk, DiskMode, VirtioDevice};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, NEXT, Part, WRITE, confined, file};

pub const SECTORS: u64 = 64;

pub fn disk(file: &File, read_only: bool) -> Driver {
    let disk = Disk::raw(file.try_clone().unwrap(), read_only).unwrap().identifier(b"serial");
    Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), 0)
}

pub fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

/// The ways of reading and writing that are possible here.
pub const MODES: [DiskMode; 2] = [DiskMode::Automatic, DiskMode::Threads];

pub fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// The status of a request without room for data.
pub fn status(driver: &mut Driver, given: Vec<u8>) -> u8 {
    driver.request(0, &[Part::Give(given), Part::Room(1)])[0][0]
}

pub fn write(driver: &mut Driver, sector: u64, data: Vec<u8>) -> u8 {
    driver.request(0, &[Part::Give(header(1, sector)), Part::Give(data), Part::Room(1)])[0][0]
}

pub fn read(driver: &mut Driver, sector: u64, length: usize) -> (u8, Vec<u8>) {
    let mut answers = driver.request(0, &[Part::Give(header(0, sector)), Part::Room(length), Part::Room(1)]);
    let (status, data) = (answers.pop().unwrap(), answers.pop().unwrap());
    (status[0], data)
}

#[test]
fn what_is_written_is_read_and_is_in_the_file() {
    let image = file(SECTORS * 512);
    let mut driver = disk(&image, false);
    assert_eq!(u64::from_le_bytes(driver.read(0x2000)), SECTORS);
    let data: Vec<u8> = (0..1024_u32).map(|index| index as u8).collect();
    assert_eq!(write(&mut driver, 3, data.clone()), 0);
    assert_eq!(read(&mut driver, 3, 1024), (0, data.clone()));
    assert_eq!(status(&mut driver, header(4, 0)), 0);
    let mut stored = vec![0; 1024];
    image.read_exact_at(&mut stored, 3 * 512).unwrap();
    assert_eq!(stored, data);
    assert_eq!(driver.wait(0), 1);
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let mut driver = disk(&file(SECTORS * 512), false);
    let given = [header(1, 0), vec![7; 512]].concat();
    let parts = given.chunks(100).map(|part| Part::Give(part.to_vec())).chain([Part::Room(1)]).collect::<Vec<_>>();
    assert_eq!(driver.request(0, &parts)[0], [0]);
    let answers = driver.request(0, &[Part::Give(header(0, 0)), Part::Room(500), Part::Room(13)]);
    assert_eq!((&answers[0][..], &answers[1][..]), (&[7; 500][..], &[[7; 12].as_slice(), &[0]].concat()[..]));
}

#[test]
fn what_is_not_there_is_an_error() {
    let mut driver = disk(&file(SECTORS * 512), false);
    for sector in [SECTORS, SECTORS - 1, u64::MAX, u64::MAX / 512] {
        assert_eq!(write(&mut driver, sector, vec![1; 1024]), 1, "{sector}");
        assert_eq!(read(&mut driver, sector, 1024).0, 1, "{sector}");
        assert_eq!(status(&mut driver, [header(11, 0), range(sector, 2, 0)].concat()), 1, "{sector}");
    }
    assert_eq!(write(&mut driver, 0, vec![1; 511]), 1);
    assert_eq!(status(&mut driver, vec![0; 7]), 1);
    assert_eq!(status(&mut driver, header(99, 0)), 2);
}

#[test]
fn a_disk_that_may_only_be_read_is_not_written() {
    let image = file(SECTORS * 512);
    let mut driver = disk(&image, true);
    assert_eq!(driver.read::<4>(0x04)[0] & 1 << 5, 1 << 5);
    assert_eq!(write(&mut driver, 0, vec![1; 512]), 1);
    assert_eq!(status(&mut driver, [header(13, 0), range(0, 1, 0)].concat()), 1);
    assert_eq!(read(&mut driver, 0, 512), (0, vec![0; 512]));
}

#[test]
fn zeros_are_written_and_room_is_given_back() {
    let image = file(SECTORS * 512);
    let mut driver = disk(&image, false);
    for (kind, flags) in [(13, 0), (13, 1), (11, 0)] {
        assert_eq!(write(&mut driver, 0, vec![9; 8192]), 0);
        assert_eq!(status(&mut driver, [header(kind, 0), range(0, 8, flags)].concat()), 0);
        let (answer, data) = read(&mut driver, 0, 8192);
        assert_eq!(answer, 0);
        assert!(kind == 11 || data[..4096].iter().all(|byte| *byte == 0), "{kind} {flags}");
        assert!(data[4096..].iter().all(|byte| *byte == 9));
    }
    assert_eq!(status(&mut driver, [header(11, 0), range(0, 8, 1)].concat()), 2);
}

#[test]
fn it_says_its_serial_number() {
    let mut driver = disk(&file(512), false);
    let answers = driver.request(0, &[Part::Give(header(8, 0)), Part::Room(20), Part::Room(1)]);
    assert_eq!((&answers[0][..7], &answers[1][..]), (&b"serial\0"[..], &[0][..]));
}

/// A byte for each sector and each number.
fn pattern(sector: u64, number: u64) -> u8 {
    (sector * 7 + number * 31 + 1) as u8
}

/// A file whose reads and writes go past the host's cache, where its file system does that.
fn uncached(folder: &std::path::Path, bytes: u64) -> Option<File> {
    let opened = File::options().read(true).write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(folder.join("disk"));
    let Ok(image) = opened else {
        eprintln!("not possible here: the file system does not go past its cache");
        return None;
    };
    image.set_len(bytes).unwrap();
    Some(image)
}

/// A file in the host's cache, which the queue's thread writes by itself, and one that is left to the kernel or other threads.
#[test]
fn queues_are_served_at_the_same_time() {
    const QUEUES: u16 = 4;
    const SLOTS: u16 = 16;
    const BLOCK: usize = 4096;
    /// 1 << 29: the guest says when the doorbell is to ring.
    const FEATURES: u64 = 1 << 9 | 1 << 12 | 1 << 29;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let images: Vec<File> = [file(1 << 20)].into_iter().chain(uncached(folder.path(), 1 << 20)).collect();
    for (mode, image) in MODES.into_iter().flat_map(|mode| images.iter().map(move |image| (mode, image))) {
        let disk = Disk::raw(image.try_clone().unwrap(), false).unwrap().queues(QUEUES).mode(mode);
        let mut driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), FEATURES);
        assert_eq!(u16::from_le_bytes(driver.read(0x2000 + 34)), QUEUES);
        for (round, kind) in (0..20).flat_map(|round| [(round, 1), (round, 0)]) {
            // Each request has a block of its own; all of them are under way at once. What was written is read back.
            for (queue, slot) in (0..QUEUES).flat_map(|queue| (0..SLOTS).map(move |slot| (queue, slot))) {
                let block = u64::from(queue * SLOTS + slot);
                let place = BUFFERS + block * 2 * BLOCK as u64;
                driver.memory.write_slice(&header(kind, block * 8), GuestAddress(place)).unwrap();
                let filled = if kind == 1 { pattern(block, round) } else { 0 };
                driver.memory.write_slice(&[filled; BLOCK], GuestAddress(place + BLOCK as u64)).unwrap();
                driver.memory.write_slice(&[9], GuestAddress(place + 16)).unwrap();
                let flags = if kind == 1 { NEXT } else { NEXT | WRITE };
                driver.put_descriptor(queue, slot * 3, Descriptor(place, 16, NEXT, slot * 3 + 1));
                driver.put_descriptor(queue, slot * 3 + 1, Descriptor(place + BLOCK as u64, BLOCK as u32, flags, slot * 3 + 2));
                driver.put_descriptor(queue, slot * 3 + 2, Descriptor(place + 16, 1, WRITE, 0));
                driver.offer(queue, slot * 3);
            }
            for queue in 0..QUEUES {
                driver.wait(queue);
            }
            for block in 0..u64::from(QUEUES * SLOTS) {
                let place = BUFFERS + block * 2 * BLOCK as u64;
                let status: u8 = driver.memory.read_obj(GuestAddress(place + 16)).unwrap();
                let mut data = vec![0; BLOCK];
                driver.memory.read_slice(&mut data, GuestAddress(place + BLOCK as u64)).unwrap();
                assert_eq!((status, data), (0, vec![pattern(block, round); BLOCK]), "{mode:?} {round} {kind} {block}");
            }
        }
    }
}

#[test]
fn nothing_is_under_way_while_it_is_paused_and_after_a_reset() {
    for mode in MODES {
        let image = file(1 << 20);
        let disk = Disk::raw(image.try_clone().unwrap(), false).unwrap().mode(mode);
        let mut driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), 0);
        driver.function.pause();
        driver.memory.write_slice(&header(1, 5), GuestAddress(BUFFERS)).unwrap();
        driver.memory.write_slice(&[3; 512], GuestAddress(BUFFERS + 512)).unwrap();
        driver.put_descriptor(0, 0, Descriptor(BUFFERS, 16, NEXT, 1));
        driver.put_descriptor(0, 1, Descriptor(BUFFERS + 512, 512, NEXT, 2));
        driver.put_descriptor(0, 2, Descriptor(BUFFERS + 1024, 1, WRITE, 0));
        driver.offer(0, 0);
        // Its thread has heard the doorbell when the second pause has its lock; it takes nothing.
        driver.function.pause();
        assert_eq!(driver.used(0), 0);
        driver.function.resume();
        driver.wait(0);
        let mut stored = [0];
        image.read_exact_at(&mut stored, 5 * 512).unwrap();
        assert_eq!(stored, [3]);
        // What is offered right before a reset is either done or not, and after it nothing is written to memory.
        driver.offer(0, 0);
        driver.write(0x14, &[0]);
        driver.memory.write_slice(&[77], GuestAddress(BUFFERS + 1024)).unwrap();
        driver.set_up(0, &[256]);
        assert_eq!(read(&mut driver, 5, 512).0, 0);
    }
}

#[test]
fn a_disk_that_became_smaller_has_errors_and_goes_on() {
    for mode in MODES {
        let image = file(SECTORS * 512);
        let mut driver = Driver::ready(
            Box::new(Block::new(Disk::raw(image.try_clone().unwrap(), false).unwrap().mode(mode), &confined()).unwrap()),
            1 << 9,
        );
        assert_eq!(write(&mut driver, 0, vec![1; 1024]), 0);
        image.set_len(512).unwrap();
        assert_eq!(read(&mut driver, 0, 512), (0, vec![1; 512]));
        assert_eq!(read(&mut driver, 0, 1024).0, 1);
        assert_eq!(read(&mut driver, SECTORS - 1, 512).0, 1);
        assert_eq!(status(&mut driver, header(4, 0)), 1, "a flush says that data is lost");
        image.set_len(SECTORS * 512).unwrap();
        assert_eq!(status(&mut driver, header(4, 0)), 0);
        assert_eq!(read(&mut driver, 1, 512), (0, vec![0; 512]));
    }
}

#[test]
fn a_disk_without_bytes_answers_with_errors() {
    let mut driver = disk(&file(0), false);
    assert_eq!(u64::from_le_bytes(driver.read(0x2000)), 0);
    assert_eq!(read(&mut driver, 0, 512).0, 1);
    assert_eq!(write(&mut driver, 0, vec![1; 512]), 1);
    assert_eq!(status(&mut driver, header(4, 0)), 0);
}

#[test]
fn it_says_what_suits_it() {
    let device = |read_only| Block::new(Disk::raw(file(SECTORS * 512), read_only).unwrap(), &confined()).unwrap();
    let word = |bytes: &[u8], place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
    let (features, configuration) = (device(false).features(), device(false).configuration());
    for bit in [1, 2, 6, 9, 10, 12, 13, 14] {
        assert_ne!(features & 1 << bit, 0, "{bit}");
    }
    // Most parts of a request, bytes of a sector; blocks of 4096 bytes; ranges of whole blocks.
    assert_eq!([12, 20, 44].map(|place| word(&configuration, place)), [126, 512, 8]);
    assert_eq!((configuration[24], configuration[26]), (3, 8));
    assert_eq!((device(true).features() & (1 << 5 | 1 << 13 | 1 << 14), word(&device(true).configuration(), 36)), (1 << 5, 0));
}

#[test]
fn a_driver_that_does_not_flush_need_not() {
    for mode in MODES {
        let image = file(SECTORS * 512);
        let mut driver =
            Driver::ready(Box::new(Block::new(Disk::raw(image.try_clone().unwrap(), false).unwrap().mode(mode), &confined()).unwrap()), 0);
        assert_eq!(write(&mut driver, 3, vec![1; 512]), 0);
        // What every write then is followed by says what was lost.
        image.set_len(0).unwrap();
        assert_eq!(write(&mut driver, 3, vec![1; 512]), 1);
    }
}

#[test]
fn requests_that_the_hosts_cache_would_have_to_cut_are_carried_out_past_it_too() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(image) = uncached(folder.path(), 1 << 20) else { return };
    let path = folder.path().join("disk");
    for mode in MODES {
        let mut driver = Driver::ready(
            Box::new(Block::new(Disk::raw(image.try_clone().unwrap(), false).unwrap().mode(mode), &confined()).unwrap()),
            1 << 9,
        );
        let data: Vec<u8> = (0..3 * 512_u32).map(|index| (index % 251) as u8).collect();
        assert_eq!(write(&mut driver, 7, data.clone()), 0);
        assert_eq!(status(&mut driver, header(4, 0)), 0);
        assert_eq!(read(&mut driver, 7, 3 * 512), (0, data.clone()));
        assert_eq!(std::fs::read(&path).unwrap()[7 * 512..10 * 512], data);
        // Whole pages of memory and of the file.
        driver.memory.write_slice(&header(0, 0), GuestAddress(BUFFERS)).unwrap();
        driver.put_descriptor(0, 0, Descriptor(BUFFERS, 16, NEXT, 1));
        driver.put_descriptor(0, 1, Descriptor(BUFFERS + 4096, 8192, NEXT | WRITE, 2));
        driver.put_descriptor(0, 2, Descriptor(BUFFERS + 16, 1, WRITE, 0));
        driver.offer(0, 0);
        assert_eq!(driver.wait(0), 8193);
        let mut seen = vec![0; data.len()];
        driver.memory.read_slice(&mut seen, GuestAddress(BUFFERS + 4096 + 7 * 512)).unwrap();
        assert_eq!(seen, data);
    }
}

#[test]
fn a_vcpu_resets_a_disk_and_sets_it_up_again() {
    for mode in MODES {
        let image = file(SECTORS * 512);
        let disk = Disk::raw(image.try_clone().unwrap(), false).unwrap().mode(mode);
        let mut driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), 0);
        assert_eq!(write(&mut driver, 1, vec![7; 512]), 0);
        let mut driver = driver.on_vcpu(|driver| {
            driver.write(0x14, &[0]);
            driver.set_up(0, &[256]);
        });
        assert_eq!(read(&mut driver, 1, 512), (0, vec![7; 512]));
    }
}
