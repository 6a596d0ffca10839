//! A guest under our command line, against the same guest under QEMU as it is: how soon it has booted, and how fast it computes.
//!
//! The guest measures nothing. What is timed is what its serial console says, as it is said here.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::bare::{Bare, Ended};
use super::{Spread, compare};
use crate::guests::Entry;
use crate::process;
use crate::serial::Serial;

/// What the guest computes: numbers in an interpreter, which is all branches and calls, and a checksum, which is all arithmetic.
const WORK: &[(&str, &str)] = &[
    ("An awk program in the guest", "awk 'BEGIN { while (i < 1000000) sum += i++ % 7; print sum }'"),
    ("A checksum in the guest", "head -c 33554432 /dev/zero | sha256sum"),
];

/// What one run of the guest took: until it was ready, then each of [`WORK`].
type Times = Vec<Duration>;

/// Measures both in turn, so that what else the computer does meets both.
pub fn measure(bare: &Bare, entry: &Entry, folder: &Path, rounds: u32) -> Result<()> {
    let (mut ours, mut stock) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(once(entry, &folder.join("ours.log"), || under_our_line(bare, &folder.join("bare")))?);
        stock.push(once(entry, &folder.join("stock.log"), || under_stock(bare, entry, folder))?);
    }
    let titles = std::iter::once("Boot, from QEMU's start to the guest's prompt").chain(WORK.iter().map(|(title, _)| *title));
    for (index, title) in titles.enumerate() {
        let spread = |runs: &[Times]| Spread::of(runs.iter().filter_map(|times| times.get(index).copied()).collect());
        compare(title, ("our command line", &spread(&ours)), ("stock QEMU, same memory and cores", &spread(&stock)));
    }
    println!("  stock: {}\n", process::display(&stock_command(bare, entry)?));
    Ok(())
}

/// A guest that runs until this goes, and its serial console.
struct Guest {
    _process: Ended,
    output: Box<dyn std::io::Read + Send>,
    input: Box<dyn Write>,
}

/// Boots the guest and has it work.
fn once(entry: &Entry, log: &Path, start: impl FnOnce() -> Result<Guest>) -> Result<Times> {
    let log = File::create(log).with_context(|| format!("Could not create {}", log.display()))?;
    let began = Instant::now();
    let Guest { _process, output, mut input } = start()?;
    let mut serial = Serial::listen(vec![output], log);
    serial.wait_for(&entry.prompt)?;
    let mut times = vec![began.elapsed()];
    for (_, work) in WORK {
        // The terminal shows what is typed, so the words that are waited for must not be in it.
        input.write_all(format!("echo be''gin; {work}; echo e''nd\n").as_bytes()).context("Could not type on the serial console")?;
        serial.wait_for("begin\r\n")?;
        let began = Instant::now();
        serial.wait_for("end\r\n")?;
        times.push(began.elapsed());
        serial.wait_for(&entry.prompt)?;
    }
    Ok(times)
}

fn under_our_line(bare: &Bare, work: &Path) -> Result<Guest> {
    let ready = bare.start(work)?;
    let stream: UnixStream = ready.serial()?;
    let output = Box::new(stream.try_clone()?);
    Ok(Guest { _process: ready.run()?, output, input: Box::new(stream) })
}

fn under_stock(bare: &Bare, entry: &Entry, folder: &Path) -> Result<Guest> {
    let errors = folder.join("stock.stderr");
    let errors = File::create(&errors).with_context(|| format!("Could not create {}", errors.display()))?;
    let mut command = stock_command(bare, entry)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut child = command.spawn().with_context(|| format!("Could not start {}", process::display(&command)))?;
    let output = child.stdout.take().context("No standard output")?;
    let input = child.stdin.take().context("No standard input")?;
    Ok(Guest { _process: Ended(child), output: Box::new(output), input: Box::new(input) })
}

/// QEMU as somebody would start it who knows only what the guest needs. It has no window, and its serial port is where it was started.
fn stock_command(bare: &Bare, entry: &Entry) -> Result<Command> {
    let value = |option: &str| bare.values(option).next().with_context(|| format!("The command line has no {option}"));
    let cores = value("-smp")?.split(',').find_map(|part| part.strip_prefix("cpus=")).context("The command line has no number of cores")?;
    let mut command = Command::new(&bare.program);
    if entry.architecture != "x86_64" {
        // Others have no machine and no processor that starts this guest by default.
        command.args(["-machine", entry.machines.first().context("The guest has no machine")?]);
        command.args(entry.cpu.iter().flat_map(|cpu| ["-cpu", cpu]));
    }
    if value("-accel")? != "tcg" {
        command.args(["-accel", value("-accel")?]);
    }
    command.args(["-m", value("-m")?, "-smp", cores]);
    for option in ["-kernel", "-initrd", "-append"] {
        command.args([option, value(option)?]);
    }
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    Ok(command)
}
