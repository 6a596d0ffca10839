//! What a disk does, measured by a program in the guest. Both sides' guests run, and are asked in turn, so that what else the host does
//! meets both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::peer::{Guest, Machine, Peer};
use super::table::{Aim, Table, median};
use crate::process;

/// Bytes of the disk.
const SIZE: u64 = 192 << 20;
/// How often each side is asked; the program in the guest has as many parts of the disk to be written first.
const ROUNDS: usize = 5;

/// A new disk, removed at the end.
struct Disk(PathBuf, &'static str);

impl Disk {
    fn new(peer: Peer, format: &'static str) -> Result<Self> {
        let disk = Self(std::env::temp_dir().join(format!("vivarium-bench-{}-{peer:?}.{format}", std::process::id())), format);
        if format == "raw" {
            File::create(&disk.0).and_then(|file| file.set_len(SIZE)).context("Could not make the disk")?;
        } else {
            process::quiet(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(&disk.0).arg(SIZE.to_string()))?;
        }
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Adds what guests with a disk in this format measure, in requests a second.
pub fn measure(prepared: &Path, format: &'static str, table: &mut Table) -> Result<()> {
    let mut guests = Vec::new();
    let mut patterns = String::new();
    for peer in Peer::ALL {
        let disk = Disk::new(peer, format)?;
        let words = "console=ttyS0 quiet vivarium.run=\"guest_probe disk /dev/vda\"";
        let machine = Machine { words, disk: Some((disk.0.clone(), disk.1)), ..Machine::default() };
        let mut guest = Guest::start(&mut machine.command(peer, prepared))?;
        guest.wait_for("disk patterns ")?;
        patterns = guest.wait_for(" end")?;
        // The guest ends before its disk.
        guests.push((guest, disk));
    }
    for pattern in patterns.split_whitespace() {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((guest, _), rates) in guests.iter_mut().zip(&mut rates) {
                rates.push(guest.ask("disk", pattern)?);
            }
        }
        eprintln!("{format} {pattern}: {rates:.0?}");
        let [ours, theirs] = rates.map(median);
        table.add(&format!("{format}: {}, per s", pattern.replace('-', " ")), ours, theirs, Aim::RatioAtLeast(1.0));
    }
    Ok(())
}
