//! Disks in qcow2 images.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use devices::virtio::{Block, Disk};
use proptest::prelude::*;

use crate::block::{MODES, header, range, read, status, write};
use crate::driver::{Driver, confined, file};

/// An image in a folder of its own.
struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    /// An image made with these words; `None`, said aloud, where nobody can make one.
    fn new(words: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        let created =
            Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).args(words).arg(&path).arg("8M").current_dir(&folder).output();
        let Ok(created) = created else {
            eprintln!("skipped: there is no qemu-img; cargo xtask setup installs it");
            return None;
        };
        assert!(created.status.success(), "{created:?}");
        Some(Self { _folder: folder, path })
    }

    fn qemu(&self, program: &str, words: &[&str]) -> Output {
        Command::new(program).args(words).arg(&self.path).output().unwrap()
    }

    fn check(&self) {
        let checked = self.qemu("qemu-img", &["check", "-q"]);
        assert!(checked.status.success(), "{checked:?}");
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    fn refused(&self, read_only: bool) -> String {
        Disk::qcow2(self.file(), read_only).unwrap_err().to_string()
    }
}

#[test]
fn an_image_holds_what_was_written() {
    let variants: [&[&str]; 3] = [&[], &["-o", "cluster_size=4k"], &["-o", "preallocation=metadata"]];
    for (mode, words) in MODES.iter().flat_map(|mode| variants.iter().map(move |words| (mode, words))) {
        let Some(image) = Image::new(words) else { return };
        // Within a cluster, over several, and over what has been there before.
        let places = [(100, 4096), (7, 512), (0, 64 << 10), (1000, 300 << 10), (1001, 512), (16_000, 512)];
        let mut expected = vec![0_u8; 8 << 20];
        for round in 0..2_u8 {
            let disk = Disk::qcow2(image.file(), false).unwrap().queues(2).mode(*mode);
            let mut driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), 1 << 9);
            for (number, (sector, length)) in (1_u8..).zip(places) {
                let start = sector as usize * 512;
                let before = read(&mut driver, sector, length);
                assert_eq!(before, (0, expected[start..start + length].to_vec()), "{words:?} {number}");
                let byte = number + round * 100;
                assert_eq!(write(&mut driver, sector, vec![byte; length]), 0);
                expected[start..start + length].fill(byte);
            }
            assert_eq!(status(&mut driver, header(4, 0)), 0);
            // Zeros, with and without giving room back, and a range that does not matter.
            for (kind, flags, sector, count) in [(13, 1, 1100, 200), (13, 0, 1400, 100), (11, 0, 4096, 2048), (13, 1, 3, 1)] {
                assert_eq!(status(&mut driver, [header(kind, 0), range(sector, count, flags)].concat()), 0);
                let start = sector as usize * 512;
                expected[start..start + count as usize * 512].fill(0);
            }
            for sector in [0, 1000, 1200, 1400, 4096, 16_000] {
                let start = sector as usize * 512;
                assert_eq!(read(&mut driver, sector, 64 << 10), (0, expected[start..start + (64 << 10)].to_vec()), "{words:?} {sector}");
            }
            assert_eq!(status(&mut driver, header(4, 0)), 0);
        }
        image.check();
        let raw = image.path.with_extension("raw");
        let converted = image.qemu("qemu-img", &["convert", "-O", "raw", "--target-is-zero", "-n", raw.to_str().unwrap()]);
        assert!(!converted.status.success(), "there is no target yet");
        let made = Command::new("qemu-img").args(["convert", "-O", "raw"]).args([&image.path, &raw]).status().unwrap();
        assert!(made.success() && std::fs::read(&raw).unwrap() == expected, "QEMU reads something else");
    }
}

#[test]
fn compressed_clusters_are_read_and_overwritten() {
    let Some(image) = Image::new(&[]) else { return };
    let written = image.qemu("qemu-io", &["-f", "qcow2", "-c", "write -c -P 5 0 1M"]);
    assert!(written.status.success(), "{written:?}");
    let mut driver = Driver::ready(Box::new(Block::new(Disk::qcow2(image.file(), false).unwrap(), &confined()).unwrap()), 1 << 9);
    assert_eq!(read(&mut driver, 100, 64 << 10), (0, vec![5; 64 << 10]));
    assert_eq!(write(&mut driver, 130, vec![6; 1024]), 0);
    assert_eq!(read(&mut driver, 128, 3072), (0, [[5; 1024], [6; 1024], [5; 1024]].concat()));
    assert_eq!(status(&mut driver, header(4, 0)), 0);
    drop(driver);
    image.check();
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    let Some(image) = Image::new(&[]) else { return };
    let snapshot = image.qemu("qemu-img", &["snapshot", "-c", "before"]);
    assert!(snapshot.status.success(), "{snapshot:?}");
    assert!(image.refused(false).contains("snapshots"));
    assert!(Disk::qcow2(image.file(), true).is_ok(), "reading harms nothing");

    let backing = Image::new(&["-b", image.path.to_str().unwrap(), "-F", "qcow2"]).unwrap();
    let refused = backing.refused(true);
    assert!(["backing file", "qemu-img rebase", "qemu-img convert"].iter().all(|part| refused.contains(part)), "{refused}");
    let old = Image::new(&["-o", "compat=0.10"]).unwrap();
    assert!(old.refused(false).contains("version 2"));
    assert!(Disk::qcow2(old.file(), true).is_ok());
    let apart = Image::new(&["-o", "data_file=data"]).unwrap();
    assert!(apart.refused(true).contains("another file"));

    // Bytes of the header: where the method of encryption, the features and the size of clusters are.
    let plain = Image::new(&[]).unwrap();
    for (place, byte, reason) in
        [(35, 2, "encrypted"), (79, 1, "closed"), (79, 2, "corrupt"), (78, 1, "not known"), (23, 60, "clusters"), (7, 9, "version 9")]
    {
        let mut before = [0];
        plain.file().read_exact_at(&mut before, place).unwrap();
        plain.file().write_all_at(&[byte], place).unwrap();
        assert!(plain.refused(true).contains(reason), "{} is not {reason}", plain.refused(true));
        plain.file().write_all_at(&before, place).unwrap();
    }
    assert!(Disk::qcow2(plain.file(), false).is_ok());
    for length in [0, 3, 50, 80, 512] {
        assert!(Disk::qcow2(file(length), false).is_err(), "{length}");
        let cut = Image::new(&[]).unwrap();
        cut.file().set_len(length).unwrap();
        assert!(Disk::qcow2(cut.file(), false).is_err(), "{length}");
    }
}

/// Numbers that make trouble: nothing, everything, what is just beyond, places of other tables.
fn trouble() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        any::<u64>(),
        (0_u64..64).prop_map(|bit| 1 << bit),
        (0_u64..12).prop_map(|cluster| 1 << 63 | cluster << 12)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever its tables say, an image is refused or used, with errors where they make no sense; nothing panics or hangs.
    #[test]
    fn a_damaged_image_is_refused_or_used(damage in prop::collection::vec((0_u64..(7 << 12) / 8, trouble()), 1..6)) {
        let Some(image) = Image::new(&["-o", "cluster_size=4k"]) else { return Ok(()) };
        let written = image.qemu("qemu-io", &["-f", "qcow2", "-c", "write -P 5 0 64k", "-c", "write -c -P 6 64k 4k"]);
        prop_assert!(written.status.success(), "{written:?}");
        for (entry, value) in damage {
            // Mostly where tables have entries: at the beginning of clusters.
            let place = if entry % 3 == 0 { entry } else { entry / 512 * 512 + entry % 12 } * 8;
            image.file().write_all_at(&value.to_be_bytes(), place).unwrap();
        }
        let Ok(disk) = Disk::qcow2(image.file(), false) else { return Ok(()) };
        let mut driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), 1 << 9);
        for sector in [0, 64, 128, 4096, 16_376] {
            read(&mut driver, sector, 4096);
            write(&mut driver, sector, vec![7; 4096]);
            status(&mut driver, header(4, 0));
            status(&mut driver, [header(13, 0), range(sector, 8, 1)].concat());
        }
        prop_assert_eq!(driver.status(), 15);
    }
}
