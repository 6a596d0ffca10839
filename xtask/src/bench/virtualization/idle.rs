//! What a guest that does nothing costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::peer::{Guest, Machine, Peer};
use super::table::{Aim, Table};

/// How long it may settle, and how long it is watched.
const SETTLES: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(10);
/// Names of the mapping of the guest's memory: ours, and QEMU's.
const GUEST_MEMORY: [&str; 2] = ["/memfd:guest-memory", "/memfd:memory-backend-memfd"];

/// Boots guests and watches them, each alone.
pub fn measure(prepared: &Path, table: &mut Table) -> Result<()> {
    let [ours, theirs] = Peer::ALL.map(|peer| watch(peer, prepared));
    let (ours, theirs) = (ours?, theirs?);
    table.add("memory of the process beyond the guest's, MiB", ours.memory, theirs.memory, Aim::AtMost(6.0));
    table.add("wake-ups of other threads than vCPUs while the guest idles, per s", ours.wakeups, theirs.wakeups, Aim::AtMost(0.0));
    Ok(())
}

/// What it costs.
struct Idle {
    /// MiB of the process that are not the guest's memory.
    memory: f64,
    /// How often threads that are no vCPUs wake up, per second.
    wakeups: f64,
}

fn watch(peer: Peer, prepared: &Path) -> Result<Idle> {
    let machine = Machine { words: "console=ttyS0 quiet", in_memfd: true, ..Machine::default() };
    let mut guest = Guest::start(&mut machine.command(peer, prepared))?;
    guest.wait_for("vivarium guest ready")?;
    // A measurement over time, for which there is no event.
    std::thread::sleep(SETTLES);
    let process = guest.process();
    let mappings = fs::read_to_string(format!("/proc/{process}/smaps")).context("Could not look at the process's memory")?;
    let memory = beyond_guest(&mappings).context("The guest's memory is not among what the process has mapped")?;
    let before = switches(process)?;
    std::thread::sleep(WATCHED);
    let wakeups = (switches(process)? - before) / WATCHED.as_secs_f64();
    Ok(Idle { memory, wakeups })
}

/// MiB of the proportional set size of all mappings but the guest's memory, of what /proc/PID/smaps says (Linux:
/// Documentation/filesystems/proc.rst); `None` where that is not there.
fn beyond_guest(mappings: &str) -> Option<f64> {
    let (mut kib, mut is_guest, mut is_found) = (0.0, false, false);
    for line in mappings.lines() {
        match line.split_once(':') {
            Some(("Pss", _)) if !is_guest => kib += field(line, "Pss:").unwrap_or_default(),
            // The line that begins a mapping has its addresses first.
            _ if line.split(' ').next().is_some_and(|word| word.contains('-')) => {
                is_guest = GUEST_MEMORY.iter().any(|name| line.contains(name));
                is_found |= is_guest;
            }
            _ => {}
        }
    }
    is_found.then_some(kib / 1024.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_does_not_count() {
        let mappings = "\
55d0-55e0 r-xp 00000000 00:2a 5 /opt/vm run
Size: 64 kB
Pss:                1536 kB
Pss_Dirty:           100 kB
VmFlags: rd ex mr mw me sd
7f00-7f10 rw-s 00000000 00:01 7 /memfd:guest-memory (deleted)
Rss:              262144 kB
Pss:              262144 kB
7f10-7f20 rw-p 00000000 00:00 0
Pss:                 512 kB
";
        assert_eq!(beyond_guest(mappings), Some(2.0));
        assert_eq!(beyond_guest("7f10-7f20 rw-p 00000000 00:00 0\nPss: 512 kB\n"), None);
    }
}
