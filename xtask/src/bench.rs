//! `cargo xtask bench`: what Vivarium costs, as ratios against a peer in the same run. Nothing fails for being slow; people read and judge.

mod bare;
mod display;
mod domain;
mod guest;
mod libvirt;
mod list;
mod start;
mod supervisor;
mod virtualization;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bare::Bare;
use clap::{Args, ValueEnum};

use crate::guests::Entry;
use crate::viv::{self, Viv};
use crate::{guests, process, setup};

/// What `cargo xtask bench` can be told.
#[derive(Args)]
pub struct Options {
    /// What to measure (everything when nothing is named)
    #[arg(value_enum)]
    only: Vec<Subject>,
    /// How often what is repeated is repeated
    #[arg(long, default_value_t = 21)]
    rounds: u32,
    /// How often the guest is booted to compare it with QEMU as it is
    #[arg(long, default_value_t = 5)]
    boots: u32,
    /// Turns that each viewer has of a display
    #[arg(long, default_value_t = 3)]
    turns: u32,
    /// Bundles that are listed
    #[arg(long, default_value_t = 10_000)]
    bundles: u32,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
    /// Put the tables of the virtualization framework and of the display into docs/
    #[arg(long)]
    write: bool,
    /// Firecracker, which is measured beside it where there is one (default: the one in PATH)
    #[arg(long)]
    firecracker: Option<PathBuf>,
    /// Measure the virtualization framework right here, with what was prepared in this folder
    #[arg(long, hide = true)]
    prepared: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// From the command to a running machine, against QEMU alone with the same command line and against virsh
    Start,
    /// How soon a guest boots and how fast it computes, against QEMU as it is
    Guest,
    /// Listing many machines, against reading their files
    List,
    /// The supervisor's memory and wakeups beside an idle guest
    Supervisor,
    /// The virtualization framework against QEMU's microvm, on KVM or in an emulated Linux that has it
    Virtualization,
    /// The desktop app against remote-viewer showing the same guest
    Display,
}

/// The machine that the measurements start: what `viv create` makes of a kernel.
const NAME: &str = "Bench";
/// One with the hardware that QEMU gives a machine when it is told nothing.
const PLAIN: &str = "Plain";

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    if let Some(prepared) = &options.prepared {
        return virtualization::here(prepared, options.firecracker.as_deref(), options.boots);
    }
    setup::run(setup::Options { yes: options.yes, ..setup::Options::default() })?;
    if options.only.is_empty() || options.only.contains(&Subject::Virtualization) {
        virtualization::measure(options.boots, options.firecracker.clone(), options.write)?;
    }
    if options.only.is_empty() || options.only.contains(&Subject::Display) {
        display::measure(options.turns, options.bundles, options.write)?;
    }
    if !options.only.is_empty() && options.only.iter().all(|subject| matches!(subject, Subject::Virtualization | Subject::Display)) {
        return Ok(());
    }
    let build = viv::build(&process::root(), true)?;
    let folder = build.with_file_name("bench");
    let viv = Viv::new(&build, folder.join("library"))?;
    viv.clear(NAME)?;
    let entry = assemble()?;
    create(&viv, NAME, &entry)?;

    let chosen = |subject| options.only.is_empty() || options.only.contains(&subject);
    println!();
    if chosen(Subject::Start) || chosen(Subject::Guest) {
        let bare = command_line(&viv, NAME)?;
        if chosen(Subject::Start) {
            start::measure(&viv, &bare, &folder, options.rounds)?;
        }
        if chosen(Subject::Guest) {
            create_plain(&viv, &entry)?;
            guest::measure(&bare, &command_line(&viv, PLAIN)?, &entry, &folder, options.boots)?;
        }
    }
    if chosen(Subject::Supervisor) {
        supervisor::measure(&viv)?;
    }
    if chosen(Subject::List) {
        list::measure(&viv, &folder, options.bundles, options.rounds)?;
    }
    viv.clear(NAME)
}

/// The test guest of this computer's own architecture. Its paths are absolute.
fn assemble() -> Result<Entry> {
    let guest = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    guests::assemble(&[guest.to_owned()])?;
    let cache = guests::folder()?;
    let manifest = guests::Manifest::load(&cache)?;
    let entry = manifest.guests.into_iter().find(|entry| entry.name == guest);
    let mut entry = entry.context("The guest was assembled but is not in the list")?;
    (entry.kernel, entry.initrd) = (cache.join(entry.kernel), cache.join(entry.initrd));
    Ok(entry)
}

/// A machine that starts the test guest.
fn create(viv: &Viv, name: &str, entry: &Entry) -> Result<()> {
    let mut create = viv.command(["create", name, "--arch", &entry.architecture, "--memory", "512MiB", "--no-disk", "--network", "none"]);
    create.arg("--kernel").arg(&entry.kernel).arg("--initrd").arg(&entry.initrd);
    process::quiet(create.arg("--append").arg(format!("{} quiet", entry.append)))
}

/// A machine with stock QEMU's hardware that starts the test guest.
fn create_plain(viv: &Viv, entry: &Entry) -> Result<()> {
    create(viv, PLAIN, entry)?;
    let mut keys =
        vec!["Input.UsbBusSupport=Disabled", "QEMU.RNGDevice=false", "QEMU.BalloonDevice=false", "Sharing.ClipboardSharing=false"];
    if entry.architecture == "x86_64" {
        keys.extend(["System.Target=pc", "QEMU.PS2Controller=true", "Display[0].Hardware=VGA"]);
        process::quiet(&mut viv.command(["drive", "add", PLAIN, "--cd", "--interface", "ide"]))?;
        process::quiet(&mut viv.command(["drive", "add", PLAIN, "--floppy"]))?;
    } else {
        process::quiet(&mut viv.command(["config", "unset", PLAIN, "Display[0]"]))?;
    }
    let pairs = keys.iter().filter_map(|key| key.split_once('=')).flat_map(|(key, value)| [key, value]);
    process::quiet(viv.command(["config", "set", PLAIN]).args(pairs))?;
    process::quiet(&mut viv.command(["config", "unset", PLAIN, "Sound[0]"]))
}

/// The command line of a machine. The first start finds out what the installed QEMU can do; later ones know.
fn command_line(viv: &Viv, name: &str) -> Result<Bare> {
    process::quiet(&mut viv.command(["start", name, "--wait"]))?;
    let line = viv.json(["command", name])?;
    process::quiet(&mut viv.command(["stop", name, "--kill"]))?;
    Bare::new(&line)
}

/// How long something takes.
fn time<T>(act: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let began = Instant::now();
    let outcome = act()?;
    Ok((began.elapsed(), outcome))
}

/// The middle one, and the lowest and highest, in milliseconds.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort();
        let at = |index: usize| samples.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1000.0);
        Self { median: at(samples.len() / 2), low: at(0), high: at(samples.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:>9.1} ms  ({:.1} to {:.1})", self.median, self.low, self.high)
    }
}

/// Prints two measurements and how they compare.
fn compare(title: &str, ours: (&str, &Spread), peer: (&str, &Spread)) {
    println!("{title}");
    against(ours, peer);
    println!();
}

/// The measurements of one thing, against one of its peers.
fn against(ours: (&str, &Spread), peer: (&str, &Spread)) {
    println!("  {:<42} {}", ours.0, ours.1);
    println!("  {:<42} {}", peer.0, peer.1);
    println!("  {:<42} {:>9.2}", "ratio of the medians", ours.1.median / peer.1.median);
}
