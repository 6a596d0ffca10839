//! How soon a guest runs: booted, and gone on with from a saved state.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::peer::{Guest, Machine, Peer};
use super::table::{Aim, Other, Table, median};

/// What the guest's first process says, over and over.
const MARKER: &str = "the-first-process-runs";
/// How often a guest is saved and gone on with at most.
const SAVED: u32 = 3;

fn words() -> String {
    format!("console=ttyS0 quiet panic=-1 rdinit=/bin/busybox -- yes {MARKER}")
}

/// Adds how long it takes from exec to the first process's first words, of Firecracker too where there is one.
pub fn measure(prepared: &Path, firecracker: Option<&Path>, rounds: u32, table: &mut Table) -> Result<()> {
    let words = words();
    let machine = Machine { words: &words, ..Machine::default() };
    let (mut times, mut others) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..rounds {
        for (peer, times) in Peer::ALL.into_iter().zip(&mut times) {
            let began = Instant::now();
            let mut guest = Guest::start(&mut machine.command(peer, prepared))?;
            guest.wait_for(MARKER)?;
            times.push(milliseconds(began.elapsed()));
        }
        if let Some(program) = firecracker {
            let mut command = machine.firecracker(program, prepared, &std::env::temp_dir())?;
            let began = Instant::now();
            Guest::start(&mut command)?.wait_for(MARKER)?;
            others.push(milliseconds(began.elapsed()));
        }
        eprintln!("round {round}: {times:.0?} {others:.0?}");
    }
    let [ours, theirs] = times.map(median);
    let other = if others.is_empty() { Other::NotInstalled } else { Other::Is(median(others)) };
    table.add_beside("from exec to the guest's first process, ms", ours, theirs, other, Aim::RatioAtMost(0.8));
    Ok(())
}

/// Adds how long it takes from exec to the first words of a guest that was saved, beside how long that same guest took to its first words.
pub fn measure_saved(prepared: &Path, rounds: u32, table: &mut Table) -> Result<()> {
    let words = words();
    let machine = Machine { words: &words, ..Machine::default() };
    let state = std::env::temp_dir().join(format!("vivarium-bench-{}.state", std::process::id()));
    let (mut booted, mut restored) = (Vec::new(), Vec::new());
    for round in 0..rounds.min(SAVED) {
        let began = Instant::now();
        let mut guest = Guest::start(machine.command(Peer::Ours, prepared).arg("--save").arg(&state))?;
        guest.wait_for(MARKER)?;
        booted.push(milliseconds(began.elapsed()));
        let status = guest.end()?;
        if !status.success() {
            bail!("The guest could not be saved ({status})");
        }
        let began = Instant::now();
        let mut guest = Guest::start(machine.command(Peer::Ours, prepared).arg("--restore").arg(&state))?;
        guest.wait_for_any()?;
        restored.push(milliseconds(began.elapsed()));
        drop(guest);
        fs::remove_file(&state)?;
        eprintln!("round {round}: booted {booted:.0?}, restored {restored:.0?}");
    }
    let what = "from exec of a restore to the guest's first words, beside a boot of ours, ms";
    table.add(what, median(restored), median(booted), Aim::RatioAtMost(0.1));
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
