//! The virtualization framework against QEMU's microvm: the same kernel, initial RAM disk and disks, one after the other in the same run.
//!
//! Where there is no KVM, everything runs in the Linux that QEMU emulates. Times are long there, and mean something only beside each other.

mod disks;
mod idle;
mod kernel;
mod peer;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::peer::Peer;
use self::table::{Better, Table};
use super::Spread;
use crate::guests::initrd;
use crate::nested::{self, Nested};
use crate::process;

/// Where the table goes, in the repository.
const PAGE: &str = "docs/virtualization-benchmarks.md";
/// How long all of it may take in the emulated Linux.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often disks are measured at most.
const DISK_ROUNDS: u32 = 2;
/// What the guest's first process says when it only says that it runs.
const MARKER: &str = "the-first-process-runs";

/// Prepares, measures where there is KVM, shows the table, and puts it into the documentation if that is wanted.
pub fn measure(rounds: u32, write: bool) -> Result<()> {
    let vmrun = nested::build(&["build", "--release", "--example", "vmrun"], &[], "vmrun")?;
    let probe = nested::probe()?;
    let entry = super::assemble()?;
    let folder = vmrun.with_file_name("bench-virtualization");
    fs::create_dir_all(&folder).with_context(|| format!("Could not make {}", folder.display()))?;
    kernel::unpack(&entry.kernel, &folder.join("kernel"))?;
    put_into(&entry.initrd, &probe, &folder)?;
    fs::copy(&vmrun, folder.join("vmrun")).context("Could not copy vmrun")?;

    let program = std::env::current_exe().context("This program does not know where it is")?;
    let words = ["bench", "virtualization", "--boots", &rounds.to_string(), "--prepared"].map(OsString::from);
    let arguments: Vec<OsString> = [program.into_os_string()].into_iter().chain(words).chain([folder.into_os_string()]).collect();
    let (said, place) = if nested::has_kvm() {
        (process::text(Command::new(&arguments[0]).args(&arguments[1..]))?, "on this computer's KVM")
    } else {
        (
            Nested { cpus: 2, memory: 3584, patience: PATIENCE }.run(&arguments, &[])?,
            "on the KVM of a Linux that QEMU emulates, with 2 vCPUs",
        )
    };
    if write {
        let page = process::root().join(PAGE);
        fs::write(&page, table::page(&said, place, rounds)).with_context(|| format!("Could not write {}", page.display()))?;
        println!("\nIt is in {PAGE} now.");
    }
    Ok(())
}

/// The test guest's initial RAM disk, with the program that measures disks in it.
fn put_into(initrd: &Path, probe: &Path, folder: &Path) -> Result<()> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("bin"))?;
    fs::copy(probe, tree.join("bin/guest_probe")).context("Could not copy the guest's program")?;
    initrd::pack(&tree, &folder.join("probe.gz"))?;
    // The kernel unpacks one archive after the other.
    let mut both = [fs::read(initrd)?, fs::read(folder.join("probe.gz"))?].concat();
    // QEMU puts it at the end of memory, from a page's beginning, and microvm's firmware puts ACPI tables behind that page's first bytes: they
    // fit only where the last page has next to nothing of it. The kernel skips zeros.
    both.resize(both.len().next_multiple_of(4096) + 16, 0);
    fs::write(folder.join("initrd.gz"), both).context("Could not write the guest's initial RAM disk")
}

/// Measures with what was prepared, on this system's KVM, and prints the table.
pub fn here(prepared: &Path, rounds: u32) -> Result<()> {
    allow_huge_pages();
    let peers = [Peer::Ours, Peer::Microvm];
    let mut table = Table::default();

    let mut boots = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (peer, times) in peers.iter().zip(&mut boots) {
            let time = boot(*peer, prepared)?;
            eprintln!("round {round}: {peer:?} in {} ms", time.as_millis());
            times.push(time);
        }
    }
    let [ours, theirs] = boots.map(|times| Spread::of(times).low);
    table.add("from exec to the guest's first process, ms", ours, theirs, Better::Less);

    let [ours, theirs] = peers.map(|peer| idle::measure(peer, prepared));
    let (ours, theirs) = (ours?, theirs?);
    table.add("memory of the process beyond the guest's, MiB", ours.memory, theirs.memory, Better::Less);
    table.add("wake-ups of other threads than vCPUs while the guest idles, per s", ours.wakeups, theirs.wakeups, Better::Less);

    for format in ["raw", "qcow2"] {
        let mut best: [Vec<(String, f64)>; 2] = Default::default();
        for _ in 0..rounds.min(DISK_ROUNDS) {
            for (peer, best) in peers.iter().zip(&mut best) {
                let measured = disks::measure(*peer, prepared, format)?;
                if best.is_empty() {
                    *best = measured;
                } else {
                    best.iter_mut().zip(measured).for_each(|((_, best), (_, now))| *best = best.max(now));
                }
            }
        }
        let [ours, theirs] = best;
        for ((name, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
            table.add(&format!("{format}: {}, per s", name.replace('-', " ")), ours, theirs, Better::More);
        }
    }
    println!("{table}");
    Ok(())
}

/// Lets shared memory have huge pages, as other memory may have them by default. Where this may not be changed it stays as it is.
fn allow_huge_pages() {
    let _ = fs::write("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise");
}

/// From exec until the guest's first process has said something.
fn boot(peer: Peer, prepared: &Path) -> Result<Duration> {
    let mut command = peer.command(prepared, &format!("console=ttyS0 quiet panic=-1 rdinit=/bin/busybox -- echo {MARKER}"), None);
    let began = Instant::now();
    let mut guest = peer::Guest::start(&mut command)?;
    guest.wait_for(MARKER)?;
    Ok(began.elapsed())
}
