//! What tests and benchmarks run inside a guest: it talks to the host over vsock, and measures disks. `cargo xtask` builds it without shared
//! libraries.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use socket2::{Domain, SockAddr, Socket, Type};

/// The host (`VMADDR_CID_HOST`), and any address of this machine (`VMADDR_CID_ANY`).
const HOST: u32 = 2;
const ANY: u32 = u32::MAX;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, disk] = &arguments[..]
        && verb == "disk"
    {
        return measure(disk);
    }
    let [verb, port] = &arguments[..] else { bail!("guest_probe connect|listen PORT, or disk PATH") };
    let port: u32 = port.parse().context("The port is not a number")?;
    let mut socket = Socket::new(Domain::VSOCK, Type::STREAM, None).context("There is no vsock here")?;
    match verb.as_str() {
        "connect" => {
            socket.connect(&SockAddr::vsock(HOST, port)).context("Could not connect to the host")?;
            socket.write_all(b"hello from the guest")?;
            let mut received = Vec::new();
            socket.read_to_end(&mut received)?;
            println!("received {}", received.len());
        }
        "listen" => {
            socket.bind(&SockAddr::vsock(ANY, port)).context("Could not take the port")?;
            socket.listen(1)?;
            println!("listening at {port}");
            let (mut connection, _) = socket.accept()?;
            let mut buffer = [0; 4096];
            loop {
                let count = connection.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                connection.write_all(&buffer[..count])?;
            }
        }
        other => bail!("There is no {other}"),
    }
    Ok(())
}

/// A way of using a disk: what it is called, bytes at once, requests at once, whether at random places, whether it writes, whether each
/// write is flushed.
type Pattern = (&'static str, usize, usize, bool, bool, bool);

const PATTERNS: &[Pattern] = &[
    ("first-write-64k-1", 64 << 10, 1, false, true, false),
    ("sequential-read-64k-1", 64 << 10, 1, false, false, false),
    ("sequential-read-64k-32", 64 << 10, 32, false, false, false),
    ("sequential-write-64k-1", 64 << 10, 1, false, true, false),
    ("sequential-write-64k-32", 64 << 10, 32, false, true, false),
    ("random-read-4k-1", 4096, 1, true, false, false),
    ("random-read-4k-32", 4096, 32, true, false, false),
    ("random-write-4k-1", 4096, 1, true, true, false),
    ("random-write-4k-32", 4096, 32, true, true, false),
    ("write-and-flush-4k-1", 4096, 1, true, true, true),
    ("write-and-flush-4k-32", 4096, 32, true, true, true),
];
/// How long each is tried.
const TRIED: Duration = Duration::from_millis(2000);
/// Bytes that buffers have to begin at multiples of.
const ALIGNMENT: usize = 4096;

/// Says how many requests a second a disk carries out; the first pattern goes over the whole disk once.
fn measure(path: &str) -> anyhow::Result<()> {
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let disk = File::options().read(true).write(true).custom_flags(direct).open(path).context("Could not open the disk")?;
    let size = rustix::fs::seek(&disk, rustix::fs::SeekFrom::End(0))?;
    for (number, (name, length, depth, random, writes, flushes)) in PATTERNS.iter().copied().enumerate() {
        let blocks = size / length as u64;
        let (next, done, over, began) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false), Instant::now());
        let work = &|seed: u64| -> anyhow::Result<()> {
            let mut room = vec![seed as u8; length + ALIGNMENT];
            let start = room.as_ptr().align_offset(ALIGNMENT);
            let room = &mut room[start..start + length];
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            while !over.load(Ordering::Relaxed) {
                let block = if random {
                    // A xorshift generator.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state % blocks
                } else {
                    next.fetch_add(1, Ordering::Relaxed) % blocks
                };
                let place = block * length as u64;
                if writes {
                    disk.write_all_at(room, place)?;
                } else {
                    disk.read_exact_at(room, place)?;
                }
                if flushes {
                    disk.sync_data()?;
                }
                let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                if if number == 0 { count == blocks } else { began.elapsed() > TRIED } {
                    over.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=depth as u64).map(|seed| scope.spawn(move || work(seed))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("A thread panicked")))
        })?;
        println!("disk {name} {:.0}", done.into_inner() as f64 / began.elapsed().as_secs_f64());
    }
    Ok(())
}
