//! libvirt as a peer: a machine equal to ours, started with `virsh start`.
//!
//! Root's libvirt is the system's, a person's is the session's. Its daemon runs before anything is measured: one that is there already, or
//! for root one that this starts and ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bare::{Bare, Ended};
use super::domain;
use crate::process;

/// The machine's name there.
const NAME: &str = "vivarium-bench";
/// How long its daemons may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A libvirt that answers.
pub struct Libvirt {
    uri: &'static str,
    version: String,
    /// What our machine has and the peer has not.
    lacking: Vec<String>,
    _daemons: Vec<Ended>,
}

impl Libvirt {
    /// The installed libvirt; nothing, and a word about it, where there is none.
    pub fn find(folder: &Path) -> Result<Option<Self>> {
        if which::which("virsh").is_err() {
            println!("Not compared with virsh start: libvirt is not installed; cargo xtask setup --bench installs it.\n");
            return Ok(None);
        }
        let uri = if is_root()? { "qemu:///system" } else { "qemu:///session" };
        let mut libvirt = Self { uri, version: String::new(), lacking: Vec::new(), _daemons: Vec::new() };
        if !libvirt.answers() {
            if !is_root()? {
                process::quiet(&mut libvirt.virsh(["uri"])).context("libvirt's daemon does not answer")?;
            }
            libvirt._daemons = daemons(folder)?;
            let until = Instant::now() + PATIENCE;
            while !libvirt.answers() {
                if Instant::now() > until {
                    bail!("libvirt's daemon does not answer after {} s", PATIENCE.as_secs());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        libvirt.version = process::text(&mut libvirt.virsh(["--version"]))?.trim().to_owned();
        Ok(Some(libvirt))
    }

    /// Makes the equal machine, and starts it once: the first start finds out what the installed QEMU can do.
    pub fn define(mut self, bare: &Bare, folder: &Path) -> Result<Self> {
        self.forget();
        let domain = domain::of(NAME, bare, is_root()?)?;
        let file = folder.join("domain.xml");
        std::fs::write(&file, domain.xml).with_context(|| format!("Could not write {}", file.display()))?;
        self.lacking = domain.lacking;
        process::quiet(self.virsh(["define"]).arg(&file))?;
        self.start()?;
        self.stop()?;
        Ok(self)
    }

    /// Starts the machine; returns when it runs.
    pub fn start(&self) -> Result<()> {
        process::quiet(&mut self.virsh(["start", NAME]))
    }

    /// Ends it at once.
    pub fn stop(&self) -> Result<()> {
        process::quiet(&mut self.virsh(["destroy", NAME]))
    }

    /// Says what was compared.
    pub fn explain(&self) {
        println!(
            "  Equal machines: QEMU, machine type, accelerator, CPU, memory, kernel and devices are the same, without disk and network."
        );
        println!("  Both programs know QEMU from an earlier start, and libvirt {} ({}) has its daemon running.", self.version, self.uri);
        if !self.lacking.is_empty() {
            println!("  libvirt's machine lacks {}.", self.lacking.join(", "));
        }
        println!();
    }

    fn answers(&self) -> bool {
        process::quiet(&mut self.virsh(["uri"])).is_ok()
    }

    /// Forgets the machine, an earlier run's too.
    fn forget(&self) {
        // Each fails where there is nothing to forget.
        let _ = self.stop();
        let _ = process::quiet(&mut self.virsh(["undefine", NAME]));
    }

    fn virsh<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new("virsh");
        command.args(["--quiet", "--connect", self.uri]).args(arguments);
        command
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Root's daemons, which the system would start where it has an init that does.
fn daemons(folder: &Path) -> Result<Vec<Ended>> {
    ["virtlogd", "libvirtd"]
        .into_iter()
        .map(|program| {
            let log = folder.join(format!("{program}.log"));
            let log = std::fs::File::create(&log).with_context(|| format!("Could not create {}", log.display()))?;
            let child = Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
            child.map(Ended).with_context(|| format!("Could not start {program}; cargo xtask setup --bench installs it"))
        })
        .collect()
}

fn is_root() -> Result<bool> {
    Ok(process::text(Command::new("id").arg("-u"))?.trim() == "0")
}
