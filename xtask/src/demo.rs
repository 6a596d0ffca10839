//! `cargo xtask demo`: from nothing to a running machine. Sets up, builds, makes a machine with `viv` as a person would, starts it, waits
//! for its prompt, takes a screenshot, and shows it in the app.

mod app;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use app::Appearance;
use clap::Args;

use crate::viv::{self, Viv};
use crate::{guests, process, setup};

/// What `cargo xtask demo` can be told.
#[derive(Args)]
pub struct Options {
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
    /// Leave the machine running
    #[arg(long)]
    keep: bool,
    /// Take the pictures of the documentation anew, into docs/pictures
    #[arg(long)]
    write: bool,
}

const NAME: &str = "Demo";

/// Where the pictures of the documentation are, in the repository.
const PICTURES: &str = "docs/pictures";

/// Seconds in which an emulated guest gets to its prompt, even on a slow computer.
const PATIENCE: &str = "300";

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    setup::run(setup::Options { yes: options.yes, ..setup::Options::default() })?;
    let build = viv::build(&process::root(), false)?;

    // Where KVM works, the guest of this computer's own architecture is the quick one.
    let guest = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    guests::assemble(&[guest.to_owned()])?;
    let cache = guests::folder()?;
    let manifest = guests::Manifest::load(&cache)?;
    let entry = manifest.find(guest).context("The guest was assembled but is not in the list")?;

    let folder = build.with_file_name("demo");
    let viv = Viv::new(&build, folder.join("library"))?;
    viv.clear(NAME)?;
    println!();
    let mut create = viv.command(["create", NAME, "--arch", &entry.architecture, "--no-disk", "--network", "none"]);
    create.arg("--memory").arg(format!("{}MiB", entry.memory_mib));
    create.arg("--kernel").arg(cache.join(&entry.kernel)).arg("--initrd").arg(cache.join(&entry.initrd));
    create.arg("--append").arg(format!("{} quiet", entry.append));
    shown(&mut create)?;
    shown(&mut viv.command(["start", NAME, "--wait"]))?;

    let outcome = look(&viv, &folder, &entry.prompt).and_then(|()| open(&viv, &folder, options.write));
    if options.keep && outcome.is_ok() {
        println!("\nThe machine runs on. With VIVARIUM_HOME={} in the environment:", viv.home.display());
        println!("  {0} console {NAME}        its serial console; Ctrl-] leaves it\n  {0} stop {NAME}", viv.program.display());
    } else {
        shown(&mut viv.command(["stop", NAME, "--force"]))?;
    }
    outcome
}

/// Waits for the guest's prompt, then keeps what it has written and what it shows.
fn look(viv: &Viv, folder: &Path, prompt: &str) -> Result<()> {
    let (log, screenshot) = (folder.join("serial.log"), folder.join("screenshot.png"));
    let mut console = viv.command(["console", NAME, "--until", prompt, "--timeout", PATIENCE]);
    console.stdout(File::create(&log).with_context(|| format!("Could not create {}", log.display()))?);
    shown(&mut console).with_context(|| format!("The guest did not get to its prompt; its serial console is in {}", log.display()))?;
    shown(viv.command(["screenshot", NAME]).arg(&screenshot))?;

    let size = fs::metadata(&screenshot).with_context(|| format!("viv wrote no screenshot {}", screenshot.display()))?.len();
    println!("\nThe machine started and its guest is at its prompt.");
    println!("  serial console  {}", log.display());
    println!("  screenshot      {} ({size} bytes)", screenshot.display());
    Ok(())
}

/// Shows the machine in the app.
fn open(viv: &Viv, folder: &Path, write: bool) -> Result<()> {
    println!();
    if write {
        let pictures = process::root().join(PICTURES);
        app::photograph(viv, &pictures, Appearance::Light, "")?;
        return app::photograph(viv, &pictures, Appearance::Dark, "-dark");
    }
    if app::has_display() {
        return app::show(viv);
    }
    println!("There is no display, so the app runs on an X server without a screen, and these are pictures of it:");
    app::photograph(viv, &folder.join("pictures"), Appearance::Light, "")
}

/// Runs a command of the demo, shown as a person would type it.
fn shown(command: &mut Command) -> Result<()> {
    let line = process::display(command);
    println!("$ {}", line.rsplit_once("/debug/viv ").map_or(line.clone(), |(_, arguments)| format!("viv {arguments}")));
    process::run(command)
}
