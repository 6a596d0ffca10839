//! `cargo xtask demo`: from nothing to a running machine. Sets up, builds, makes a machine with `viv` as a person would, starts it, waits
//! for its prompt and takes a screenshot.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

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
}

const NAME: &str = "Demo";

/// Seconds in which an emulated guest gets to its prompt, even on a slow computer.
const PATIENCE: &str = "300";

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    setup::run(setup::Options { yes: options.yes, ..setup::Options::default() })?;
    let root = process::root();
    process::run(Command::new("cargo").args(["build", "--locked", "--workspace", "--bins"]).current_dir(&root))?;

    // Where KVM works, the guest of this computer's own architecture is the quick one.
    let guest = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    guests::assemble(&[guest.to_owned()])?;
    let cache = guests::folder()?;
    let manifest = guests::Manifest::load(&cache)?;
    let entry = manifest.find(guest).context("The guest was assembled but is not in the list")?;

    let demo = Demo::new(&root)?;
    demo.clear()?;
    println!();
    let mut create = demo.viv(["create", NAME, "--arch", &entry.architecture, "--no-disk", "--network", "none"]);
    create.arg("--memory").arg(format!("{}MiB", entry.memory_mib));
    create.arg("--kernel").arg(cache.join(&entry.kernel)).arg("--initrd").arg(cache.join(&entry.initrd));
    create.arg("--append").arg(format!("{} quiet", entry.append));
    shown(&mut create)?;
    shown(&mut demo.viv(["start", NAME, "--wait"]))?;

    let outcome = demo.look(&entry.prompt);
    if options.keep && outcome.is_ok() {
        println!("\nThe machine runs on. With VIVARIUM_HOME={} in the environment:", demo.home.display());
        println!("  {0} console {NAME}        its serial console; Ctrl-] leaves it\n  {0} stop {NAME}", demo.program.display());
    } else {
        shown(&mut demo.viv(["stop", NAME, "--force"]))?;
    }
    outcome
}

struct Demo {
    program: PathBuf,
    folder: PathBuf,
    home: PathBuf,
}

impl Demo {
    fn new(root: &Path) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let program = target.join("debug/viv");
        if !program.is_file() {
            bail!("The build made no {}", program.display());
        }
        let folder = target.join("demo");
        Ok(Self { program, home: folder.join("library"), folder })
    }

    /// Forgets an earlier demo, which may still run.
    fn clear(&self) -> Result<()> {
        if self.home.is_dir() {
            // It fails where nothing runs, which is just as well.
            let _ = process::quiet(&mut self.viv(["stop", NAME, "--force"]));
            fs::remove_dir_all(&self.home).with_context(|| format!("Could not remove {}", self.home.display()))?;
        }
        fs::create_dir_all(&self.home).with_context(|| format!("Could not create {}", self.home.display()))
    }

    fn viv<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("VIVARIUM_HOME", &self.home).stdin(Stdio::null());
        command
    }

    /// Waits for the guest's prompt, then keeps what it has written and what it shows.
    fn look(&self, prompt: &str) -> Result<()> {
        let (log, screenshot) = (self.folder.join("serial.log"), self.folder.join("screenshot.png"));
        let mut console = self.viv(["console", NAME, "--until", prompt, "--timeout", PATIENCE]);
        console.stdout(File::create(&log).with_context(|| format!("Could not create {}", log.display()))?);
        shown(&mut console).with_context(|| format!("The guest did not get to its prompt; its serial console is in {}", log.display()))?;
        shown(self.viv(["screenshot", NAME]).arg(&screenshot))?;

        let size = fs::metadata(&screenshot).with_context(|| format!("viv wrote no screenshot {}", screenshot.display()))?.len();
        println!("\nThe machine started and its guest is at its prompt.");
        println!("  serial console  {}", log.display());
        println!("  screenshot      {} ({size} bytes)", screenshot.display());
        if ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some()) {
            println!("To see it: xdg-open {}", screenshot.display());
        }
        Ok(())
    }
}

/// Runs a command of the demo, shown as a person would type it.
fn shown(command: &mut Command) -> Result<()> {
    let line = process::display(command);
    println!("$ {}", line.rsplit_once("/debug/viv ").map_or(line.clone(), |(_, arguments)| format!("viv {arguments}")));
    process::run(command)
}
