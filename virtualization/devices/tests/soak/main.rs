//! Writers that are killed lose nothing that they have flushed.
//!
//! A writer is this program once more: it plays a guest's driver on a disk and keeps a record of what it asked for and what it was answered.
//! It is killed (SIGKILL) at random times; whoever killed it then compares the disk with the record, and has QEMU look at the image.
//! `cargo xtask soak` does this a thousand times. `VIVARIUM_SOAK_SEED` repeats a run: the same writes, and the same times to the kill.

#[path = "../virtio/driver.rs"]
#[allow(dead_code, reason = "the tests of devices need more of it")]
mod driver;
mod record;
mod seen;
mod writer;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devices::virtio::{Disk, DiskMode};
use record::Record;
use seen::Seen;
use writer::{Random, Writer};

/// Bytes of a block: what is written and compared. The host's kernel writes a page entirely or not at all.
const BLOCK: usize = 4096;
/// Blocks of the disk.
const BLOCKS: u32 = 4096;
/// After so many kills the next one gets a new disk.
const ROUNDS: u32 = 25;
/// What a writer is told, in this variable.
const WRITER: &str = "VIVARIUM_SOAK_WRITER";

/// A disk that is written and read again.
#[derive(Debug, Clone, Copy)]
struct Kind {
    is_qcow2: bool,
    cluster: &'static str,
    mode: DiskMode,
}

impl Kind {
    fn of(number: u32) -> Self {
        let mode = if number.is_multiple_of(2) { DiskMode::Automatic } else { DiskMode::Threads };
        let cluster = ["4k", "64k", "16k", "512"][(number / 4 % 4) as usize];
        Self { is_qcow2: number / 2 % 2 == 1, cluster, mode }
    }

    fn create(self, path: &Path) -> bool {
        if !self.is_qcow2 {
            File::create(path).unwrap().set_len(u64::from(BLOCKS) * BLOCK as u64).unwrap();
            return true;
        }
        let options = format!("size={},cluster_size={}", u64::from(BLOCKS) * BLOCK as u64, self.cluster);
        let created = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-o", &options]).arg(path).status();
        created.is_ok_and(|status| status.success())
    }

    fn open(self, path: &Path) -> Disk {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let disk = if self.is_qcow2 { Disk::qcow2(file, false) } else { Disk::raw(file, false) };
        disk.unwrap().queues(writer::QUEUES).mode(self.mode)
    }

    /// What QEMU says of the image: leaks are allowed, as nothing that is read depends on them.
    fn check(self, path: &Path) -> Result<(), String> {
        if !self.is_qcow2 {
            return Ok(());
        }
        let checked = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(path).output().unwrap();
        let said = [checked.stderr, checked.stdout].concat();
        let lines = String::from_utf8_lossy(&said).lines().filter(|line| !line.starts_with("Leaked")).collect::<Vec<_>>().join("\n");
        if matches!(checked.status.code(), Some(0 | 3)) { Ok(()) } else { Err(lines) }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
fn a_killed_writer_loses_nothing_that_it_flushed() {
    if let Ok(told) = std::env::var(WRITER) {
        return write(&told);
    }
    let kills = number("VIVARIUM_SOAK_KILLS").unwrap_or(24) as u32;
    let seed = number("VIVARIUM_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    println!("{kills} kills; VIVARIUM_SOAK_SEED={seed} repeats them");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let (mut random, mut seen, mut durable) = (Random(seed), Seen::nothing(), 0);
    // So that few kills meet every kind too.
    let rounds = ROUNDS.min(kills.div_ceil(8)).max(1);
    for kill in 0..kills {
        let kind = Kind::of(kill / rounds);
        if kill % rounds == 0 {
            let _ = std::fs::remove_file(&path);
            seen = Seen::nothing();
            if !kind.create(&path) {
                println!("skipped: there is no qemu-img; cargo xtask setup installs it");
                return;
            }
        }
        let log = folder.path().join("record");
        let _ = std::fs::remove_file(&log);
        let told = format!("{} {} {} {kill} {:?}", path.display(), log.display(), random.next(), kind.mode);
        let mut child = start(&told);
        let lines = if random.below(8) == 0 { 0 } else { random.below(800) };
        wait(&log, lines, &mut child);
        // When exactly it happens is what is tried.
        std::thread::sleep(Duration::from_micros(random.below(5000)));
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.code().is_none(), "the writer ended by itself: {}", String::from_utf8_lossy(&ended.stderr));

        let record = Record::read(&log, kill);
        durable += record.durable();
        let found = writer::read(kind.open(&path));
        let compared = seen.compare(&record, &found).and_then(|()| kind.check(&path));
        compared.unwrap_or_else(|wrong| panic!("kill {kill} of VIVARIUM_SOAK_SEED={seed}, {kind:?}: {wrong}"));
        if (kill + 1) % 100 == 0 {
            println!("{} kills; {durable} writes were flushed before them, and are there", kill + 1);
        }
    }
    assert!(durable > u64::from(kills), "too little was written for this to mean anything: {durable} flushed writes");
    println!("{kills} kills; {durable} writes were flushed before them, and are there");
}

/// The same program, as a writer.
fn start(told: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_killed_writer_loses_nothing_that_it_flushed", "--nocapture"]).env(WRITER, told);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the writer's record has so many lines, or it has ended.
fn wait(log: &Path, lines: u64, writer: &mut Child) {
    let until = Instant::now() + Duration::from_secs(60);
    while record::lines(log) < lines && writer.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "a writer is stuck: {} of {lines} lines", record::lines(log));
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// What the writer does, until it is killed.
fn write(told: &str) {
    let words: Vec<&str> = told.split(' ').collect();
    let [path, log, seed, kill, mode] = &words[..] else { panic!("a writer was told {told:?}") };
    let (seed, kill) = (seed.parse().unwrap(), kill.parse::<u32>().unwrap());
    let is_qcow2 = std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"QFI\xfb"));
    let modes = [DiskMode::Automatic, DiskMode::Threads];
    let mode = modes.into_iter().find(|known| format!("{known:?}") == *mode).unwrap();
    let disk = Kind { is_qcow2, cluster: "", mode }.open(Path::new(path));
    Writer::new(disk, Record::create(Path::new(log), kill), seed).run();
}
