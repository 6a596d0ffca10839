//! What a disk does, measured by a program in the guest.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::peer::{Guest, Peer};
use crate::process;

/// Bytes of the disk.
const SIZE: u64 = 192 << 20;

/// Boots a guest with a new disk of this format; returns what its program measured, in requests a second.
pub fn measure(peer: Peer, prepared: &Path, format: &'static str) -> Result<Vec<(String, f64)>> {
    let path = std::env::temp_dir().join(format!("vivarium-bench-{}.{format}", std::process::id()));
    if format == "raw" {
        File::create(&path).and_then(|file| file.set_len(SIZE)).context("Could not make the disk")?;
    } else {
        process::quiet(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(&path).arg(SIZE.to_string()))?;
    }
    let disk = (path, format);
    let words = "console=ttyS0 quiet vivarium.run=\"guest_probe disk /dev/vda\"";
    let mut guest = Guest::start(&mut peer.command(prepared, words, Some(&disk)))?;
    guest.wait_for("vivarium guest ready")?;
    let said = guest.wait_for("vivarium run exit ")?;
    drop(guest);
    fs::remove_file(&disk.0).context("Could not remove the disk")?;
    let lines = said.lines().filter_map(|line| line.trim().strip_prefix("disk "));
    let measured = lines.filter_map(|line| line.split_once(' ')).filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    let measured: Vec<_> = measured.collect();
    if measured.is_empty() {
        bail!("{peer:?} measured nothing of a disk in {format}; its guest said: {said}");
    }
    eprintln!("{peer:?} {format}: {} measurements", measured.len());
    Ok(measured)
}
