//! The virtualization framework against QEMU's microvm: the same kernel, initial RAM disk and disks, one after the other in the same run.
//!
//! Where there is no KVM, everything runs in the Linux that QEMU emulates. Times are long there, and mean something only beside each other.

mod boot;
mod disks;
mod idle;
mod kernel;
mod network;
mod peer;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::table::Table;
use crate::guests::initrd;
use crate::nested::{self, Nested};
use crate::process;

/// Where the table goes, in the repository.
const PAGE: &str = "docs/virtualization-benchmarks.md";
/// How long all of it may take in the emulated Linux.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Prepares, measures where there is KVM, shows the table, and puts it into the documentation if that is wanted.
pub fn measure(rounds: u32, firecracker: Option<PathBuf>, write: bool) -> Result<()> {
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
    let mut arguments: Vec<OsString> = [program.into_os_string()].into_iter().chain(words).chain([folder.into_os_string()]).collect();
    if let Some(program) = firecracker.or_else(|| which::which("firecracker").ok()) {
        let program = program.canonicalize().with_context(|| format!("There is no Firecracker: {}", program.display()))?;
        arguments.extend(["--firecracker".into(), program.into_os_string()]);
    }
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

/// Measures with what was prepared, on this system's KVM, and prints the table. What fails is tried once more; what then fails is missing.
pub fn here(prepared: &Path, firecracker: Option<&Path>, rounds: u32) -> Result<()> {
    allow_huge_pages();
    let mut table = Table::default();
    let mut failed = Vec::new();
    let mut attempt = |what: &str, measure: &dyn Fn(&mut Table) -> Result<()>| {
        let mut rows = Table::default();
        let result = measure(&mut rows).or_else(|error| {
            eprintln!("{what}: {error:#}; once more");
            rows = Table::default();
            measure(&mut rows)
        });
        table.append(rows);
        if let Err(error) = result {
            failed.push(format!("{what}: {error:#}"));
        }
    };
    attempt("boots", &|table| boot::measure(prepared, firecracker, rounds, table));
    attempt("restores", &|table| boot::measure_saved(prepared, rounds, table));
    attempt("an idle guest", &|table| idle::measure(prepared, table));
    for format in ["raw", "qcow2"] {
        attempt(format, &|table| disks::measure(prepared, format, table));
    }
    attempt("networks", &|table| network::measure(prepared, table));
    println!("{table}");
    if !failed.is_empty() {
        bail!("Not everything could be measured: {}", failed.join("; "));
    }
    Ok(())
}

/// Lets shared memory have huge pages, as other memory may have them by default. Where this may not be changed it stays as it is.
fn allow_huge_pages() {
    let _ = fs::write("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise");
}
