//! The disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use devices::virtio::{Block, Disk};

use crate::driver::{Driver, Part, file};

const SECTORS: u64 = 64;

pub fn disk(file: &File, read_only: bool) -> Driver {
    let disk = Disk::raw(file.try_clone().unwrap(), read_only).unwrap().identifier(b"serial");
    Driver::ready(Box::new(Block::new(disk).unwrap()), 0)
}

pub fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// The status of a request without room for data.
fn status(driver: &mut Driver, given: Vec<u8>) -> u8 {
    driver.request(0, &[Part::Give(given), Part::Room(1)])[0][0]
}

fn write(driver: &mut Driver, sector: u64, data: Vec<u8>) -> u8 {
    driver.request(0, &[Part::Give(header(1, sector)), Part::Give(data), Part::Room(1)])[0][0]
}

fn read(driver: &mut Driver, sector: u64, length: usize) -> (u8, Vec<u8>) {
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

#[test]
fn a_qcow2_image_holds_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let qemu_img = |arguments: &[&str]| Command::new("qemu-img").args(arguments).arg(&path).output();
    let Ok(created) = qemu_img(&["create", "-q", "-f", "qcow2", "-o", "size=1M"]) else {
        eprintln!("skipped: there is no qemu-img; cargo xtask setup installs it");
        return;
    };
    assert!(created.status.success(), "{created:?}");
    let open = || File::options().read(true).write(true).open(&path).unwrap();
    for round in 0..2 {
        let disk = Disk::qcow2(open(), false).unwrap();
        let mut driver = Driver::ready(Box::new(Block::new(disk).unwrap()), 0);
        if round == 0 {
            assert_eq!(write(&mut driver, 100, vec![5; 4096]), 0);
            assert_eq!(status(&mut driver, header(4, 0)), 0);
        }
        assert_eq!(read(&mut driver, 100, 4096), (0, vec![5; 4096]));
    }
    let checked = qemu_img(&["check", "-q"]).unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(Disk::qcow2(file(512), false).is_err());
}
