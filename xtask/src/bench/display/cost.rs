//! What processes cost: processor time of their threads, and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The processor time of all threads of some processes so far, without those that run a guest's instructions.
pub fn processor(processes: &[u32]) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for process in processes {
        let folder = format!("/proc/{process}/task");
        for thread in fs::read_dir(&folder).with_context(|| format!("Could not read {folder}"))?.flatten() {
            // A thread may end meanwhile.
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            let spent = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            if !is_vcpu(&name) {
                sum += nanoseconds(&spent);
            }
        }
    }
    Ok(sum)
}

/// As QEMU calls them: `CPU 0/TCG`, `CPU 1/KVM`.
fn is_vcpu(name: &str) -> bool {
    name.strip_prefix("CPU ").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// The first number of `schedstat` is the time on a processor, in nanoseconds.
fn nanoseconds(schedstat: &str) -> Duration {
    Duration::from_nanos(schedstat.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// Resident memory of a process in MiB.
pub fn resident(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("Could not read {path}"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("The process has ended")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).context("No number")?;
    Ok(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_vcpus_are_told_by_their_names() {
        assert!(is_vcpu("CPU 0/TCG\n") && is_vcpu("CPU 11/KVM"));
        assert!(!is_vcpu("qemu-system-x86") && !is_vcpu("CPU throttle"));
        assert_eq!(nanoseconds("1500 20 3\n"), Duration::from_nanos(1500));
    }

    #[test]
    fn this_process_costs_something() {
        let own = std::process::id();
        assert!(processor(&[own]).unwrap() > Duration::ZERO && resident(own).unwrap() > 0.5);
    }
}
