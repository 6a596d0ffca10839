//! A guest under our command line, against the same guest under QEMU as it is: how soon it has booted, and how fast it computes.
//!
//! A guest loads a driver for each device that it finds, so equals are compared: a default machine with QEMU that has the same devices and
//! everything else left to it, and a machine with the hardware of QEMU that is told nothing with just that. What a default machine has beyond
//! a bare QEMU (USB, a better screen, the agents' ports) is shown too, as the choice that it is.
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
use super::{Spread, against};
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

/// Measures them in turn, so that what else the computer does meets all. `plain` is a machine with stock QEMU's hardware.
pub fn measure(default: &Bare, plain: &Bare, entry: &Entry, folder: &Path, rounds: u32) -> Result<()> {
    let alike = alike_command(default, entry)?;
    let stock = stock_command(plain, entry)?;
    let mut times: [Vec<Times>; 4] = Default::default();
    for _ in 0..rounds {
        let [default_times, alike_times, plain_times, stock_times] = &mut times;
        default_times.push(once(entry, &folder.join("default.log"), || under_our_line(default, &folder.join("bare")))?);
        alike_times.push(once(entry, &folder.join("alike.log"), || under(&alike, &folder.join("alike")))?);
        plain_times.push(once(entry, &folder.join("plain.log"), || under_our_line(plain, &folder.join("bare")))?);
        stock_times.push(once(entry, &folder.join("stock.log"), || under(&stock, &folder.join("stock")))?);
    }
    let titles = std::iter::once("Boot, from QEMU's start to the guest's prompt").chain(WORK.iter().map(|(title, _)| *title));
    for (index, title) in titles.enumerate() {
        let spread = |runs: &Vec<Times>| Spread::of(runs.iter().filter_map(|times| times.get(index).copied()).collect());
        let [default, alike, plain, stock] = times.each_ref().map(spread);
        println!("{title}");
        against(("our line, stock QEMU's hardware", &plain), ("stock QEMU, same memory and cores", &stock));
        against(("our line, a default machine", &default), ("QEMU with the same devices", &alike));
        against(("our line, a default machine", &default), ("stock QEMU, whose hardware is less", &stock));
        println!();
    }
    println!("  same devices: {}", line(&alike));
    println!("  stock: {}\n", line(&stock));
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

/// A program and its arguments.
type Line = Vec<String>;

/// For a shell.
fn line(words: &[String]) -> String {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    process::display(command.args(words))
}

/// Starts QEMU with its serial port on its standard streams. `name` is for the file with what it complains about.
fn under(words: &[String], name: &Path) -> Result<Guest> {
    let (program, arguments) = words.split_first().context("There is no command")?;
    let errors = name.with_extension("stderr");
    let errors = File::create(&errors).with_context(|| format!("Could not create {}", errors.display()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("Could not start {}", line(words)))?;
    let output = child.stdout.take().context("No standard output")?;
    let input = child.stdin.take().context("No standard input")?;
    Ok(Guest { _process: Ended(child), output: Box::new(output), input: Box::new(input) })
}

/// QEMU as somebody would start it who knows only what the guest needs. It has no window and no network, and its serial port is where it was
/// started.
fn stock_command(bare: &Bare, entry: &Entry) -> Result<Line> {
    let mut line = vec![bare.program.clone()];
    if entry.architecture != "x86_64" {
        // Others have no machine and no processor that starts this guest by default.
        line.extend(["-machine".to_owned(), entry.machines.first().context("The guest has no machine")?.clone()]);
        line.extend(entry.cpu.iter().flat_map(|cpu| ["-cpu".to_owned(), cpu.clone()]));
    }
    line.extend(["-nic", "none"].map(str::to_owned));
    line.extend(needs(bare)?);
    Ok(line)
}

/// QEMU with the board and the devices of our command line, and no other option of it.
fn alike_command(bare: &Bare, entry: &Entry) -> Result<Line> {
    let machine = bare.values("-machine").next().context("The command line has no machine")?;
    let mut line = vec![bare.program.clone(), "-nodefaults".to_owned(), "-machine".to_owned(), machine.to_owned()];
    if entry.architecture != "x86_64" {
        line.extend(entry.cpu.iter().flat_map(|cpu| ["-cpu".to_owned(), cpu.clone()]));
    }
    if bare.has("-usb") {
        line.push("-usb".to_owned());
    }
    line.extend(bare.values("-audiodev").flat_map(|audio| ["-audiodev".to_owned(), audio.to_owned()]));
    // A port needs a peer, and is nothing that the guest spends time on.
    let devices = bare.values("-device").filter(|device| !device.contains("chardev="));
    line.extend(devices.flat_map(|device| ["-device".to_owned(), device.to_owned()]));
    line.extend(needs(bare)?);
    Ok(line)
}

/// What every line needs.
fn needs(bare: &Bare) -> Result<Line> {
    let value = |option: &str| bare.values(option).next().with_context(|| format!("The command line has no {option}"));
    let cores = value("-smp")?.split(',').find_map(|part| part.strip_prefix("cpus=")).context("The command line has no number of cores")?;
    let mut line: Line = ["-m", value("-m")?, "-smp", cores].map(str::to_owned).into();
    if value("-accel")? != "tcg" {
        line.extend(["-accel", value("-accel")?].map(str::to_owned));
    }
    for option in ["-kernel", "-initrd", "-append"] {
        line.extend([option, value(option)?].map(str::to_owned));
    }
    line.extend(["-display", "none", "-monitor", "none", "-serial", "stdio"].map(str::to_owned));
    Ok(line)
}
