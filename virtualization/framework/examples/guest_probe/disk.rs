//! How many requests a second a disk carries out, in several ways of using it.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A way of using a disk.
struct Pattern {
    name: &'static str,
    /// Bytes at once.
    length: usize,
    /// Requests at once.
    depth: u64,
    /// At random places, or one after the other.
    is_random: bool,
    writes: bool,
    /// Each write is flushed.
    flushes: bool,
}

const fn reads(name: &'static str, length: usize, depth: u64, is_random: bool) -> Pattern {
    Pattern { name, length, depth, is_random, writes: false, flushes: false }
}

const fn writes(name: &'static str, length: usize, depth: u64, is_random: bool) -> Pattern {
    Pattern { name, length, depth, is_random, writes: true, flushes: false }
}

const fn flushes(name: &'static str, depth: u64) -> Pattern {
    Pattern { name, length: 4096, depth, is_random: true, writes: true, flushes: true }
}

/// The first one is over when it has gone over its part of the disk; the others after a time.
const PATTERNS: &[Pattern] = &[
    writes("first-write-64k-1", 64 << 10, 1, false),
    reads("sequential-read-64k-1", 64 << 10, 1, false),
    reads("sequential-read-64k-32", 64 << 10, 32, false),
    writes("sequential-write-64k-1", 64 << 10, 1, false),
    writes("sequential-write-64k-32", 64 << 10, 32, false),
    reads("random-read-4k-1", 4096, 1, true),
    reads("random-read-4k-32", 4096, 32, true),
    writes("random-write-4k-1", 4096, 1, true),
    writes("random-write-4k-32", 4096, 32, true),
    flushes("write-and-flush-4k-1", 1),
    flushes("write-and-flush-4k-32", 32),
];
/// How long each is tried.
const TRIED: Duration = Duration::from_millis(500);
/// Parts of the disk that are written first, one each time that this is asked for.
const PARTS: u64 = 5;
/// Bytes that buffers have to begin at multiples of.
const ALIGNMENT: usize = 4096;

/// For each line of standard input, which names a way, says how many requests a second the disk carries out.
pub fn measure(path: &str) -> anyhow::Result<()> {
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let disk = File::options().read(true).write(true).custom_flags(direct).open(path).context("Could not open the disk")?;
    let size = rustix::fs::seek(&disk, rustix::fs::SeekFrom::End(0))?;
    let names: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.name).collect();
    println!("disk patterns {} end", names.join(" "));
    let mut parts = 0;
    for line in std::io::stdin().lines() {
        let line = line?;
        let Some(number) = names.iter().position(|name| *name == line) else { bail!("There is no way {line:?} to use a disk") };
        let pattern = &PATTERNS[number];
        let blocks = size / pattern.length as u64;
        let part = blocks / PARTS;
        let rate = if number == 0 {
            parts += 1;
            pattern.carry_out(&disk, blocks, (parts - 1) % PARTS * part, Some(part))?
        } else {
            pattern.carry_out(&disk, blocks, 0, None)?
        };
        println!("disk {line} is {rate:.0}");
    }
    Ok(())
}

impl Pattern {
    /// Requests a second, from this block on; as many as that, or for a time.
    fn carry_out(&self, disk: &File, blocks: u64, start: u64, count: Option<u64>) -> anyhow::Result<f64> {
        let (next, done, over, began) = (AtomicU64::new(start), AtomicU64::new(0), AtomicBool::new(false), Instant::now());
        let work = &|seed: u64| -> anyhow::Result<()> {
            let mut room = vec![seed as u8; self.length + ALIGNMENT];
            let first = room.as_ptr().align_offset(ALIGNMENT);
            let room = &mut room[first..first + self.length];
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            while !over.load(Ordering::Relaxed) {
                let block = if self.is_random {
                    // A xorshift generator.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state % blocks
                } else {
                    next.fetch_add(1, Ordering::Relaxed) % blocks
                };
                let place = block * self.length as u64;
                if self.writes {
                    disk.write_all_at(room, place)?;
                } else {
                    disk.read_exact_at(room, place)?;
                }
                if self.flushes {
                    disk.sync_data()?;
                }
                let carried_out = done.fetch_add(1, Ordering::Relaxed) + 1;
                if count.map_or_else(|| began.elapsed() > TRIED, |count| carried_out >= count) {
                    over.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=self.depth).map(|seed| scope.spawn(move || work(seed))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("A thread panicked")))
        })?;
        Ok(done.into_inner() as f64 / began.elapsed().as_secs_f64())
    }
}
