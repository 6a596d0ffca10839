//! What a supervisor costs beside its machine: private memory, and how often it wakes up while the guest idles at its prompt.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::NAME;
use crate::process;
use crate::viv::Viv;

/// How long the wakeups are counted.
const WATCHED: Duration = Duration::from_secs(20);

/// Starts the machine, waits for its prompt, and looks at both processes.
pub fn measure(viv: &Viv) -> Result<()> {
    process::quiet(&mut viv.command(["start", NAME, "--wait"]))?;
    process::quiet(&mut viv.command(["console", NAME, "--until", "guest# ", "--timeout", "300"]))?;
    let status = viv.json(["status", NAME])?;
    let pid = |key: &str| status.get(key).and_then(Value::as_u64).with_context(|| format!("viv status has no {key}"));
    let (supervisor, backend) = (pid("supervisor_pid")?, pid("backend_pid")?);

    let before = (wakeups(supervisor)?, wakeups(backend)?);
    std::thread::sleep(WATCHED);
    let after = (wakeups(supervisor)?, wakeups(backend)?);
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / WATCHED.as_secs_f64();

    println!("Beside an idle guest         supervisor          QEMU");
    println!("  private memory    {:>12} KiB {:>9} KiB", private_memory(supervisor)?, private_memory(backend)?);
    println!("  wakeups           {:>12.1} /s  {:>9.1} /s\n", rate(before.0, after.0), rate(before.1, after.1));
    process::quiet(&mut viv.command(["stop", NAME, "--kill"]))
}

/// KiB that no other process shares.
fn private_memory(pid: u64) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("Could not read {path}"))?;
    Ok(text.lines().filter(|line| line.starts_with("Private_")).filter_map(number).sum())
}

/// How often the process's threads have gone to sleep, and so woken up, since they began.
fn wakeups(pid: u64) -> Result<u64> {
    let path = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&path).with_context(|| format!("Could not read {path}"))?.flatten() {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        sum += text.lines().filter(|line| line.starts_with("voluntary_ctxt_switches")).filter_map(number).sum::<u64>();
    }
    Ok(sum)
}

fn number(line: &str) -> Option<u64> {
    line.split_whitespace().nth(1)?.parse().ok()
}
