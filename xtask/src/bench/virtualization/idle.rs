//! What a guest that does nothing costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::peer::{Guest, Peer};

/// How long it may settle, and how long it is watched.
const SETTLES: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(10);

/// What it costs.
pub struct Idle {
    /// MiB of the process that are not the guest's memory.
    pub memory: f64,
    /// How often threads that are no vCPUs wake up, per second.
    pub wakeups: f64,
}

/// Boots it and watches it.
pub fn measure(peer: Peer, prepared: &Path) -> Result<Idle> {
    let mut guest = Guest::start(&mut peer.counted_command(prepared, "console=ttyS0 quiet"))?;
    guest.wait_for("vivarium guest ready")?;
    // A measurement over time, for which there is no event.
    std::thread::sleep(SETTLES);
    let process = guest.process();
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("Could not look at the process")?;
    // Guest memory is shared memory, which is counted by itself.
    let kib: f64 = ["RssAnon:", "RssFile:"].into_iter().filter_map(|name| field(&status, name)).sum();
    let before = switches(process)?;
    std::thread::sleep(WATCHED);
    let wakeups = (switches(process)? - before) / WATCHED.as_secs_f64();
    Ok(Idle { memory: kib / 1024.0, wakeups })
}

fn field(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// How often threads that are no vCPUs have waited so far.
fn switches(process: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task")).context("Could not look at the process's threads")? {
        // One that has ended meanwhile does not wake up.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
        let is_vcpu = status.starts_with("Name:\tvcpu-") || status.starts_with("Name:\tCPU ");
        sum += field(&status, "voluntary_ctxt_switches:").filter(|_| !is_vcpu).unwrap_or_default();
    }
    Ok(sum)
}
