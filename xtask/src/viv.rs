//! The product's own command, with a library of its own, for the tasks that use it as a person would.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// `viv` and a private library.
pub struct Viv {
    /// The program.
    pub program: PathBuf,
    /// `VIVARIUM_HOME`: absolute.
    pub home: PathBuf,
}

/// Builds the product's programs and returns the folder of the build.
pub fn build(root: &Path, release: bool) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--bins"]);
    if release {
        // Without the tasks themselves, which take long to optimise.
        cargo.args(["--release", "--package", "viv", "--package", "supervisor", "--package", "sandbox"]);
    } else {
        cargo.arg("--workspace");
    }
    process::run(cargo.current_dir(root))?;
    Ok(target().join(if release { "release" } else { "debug" }))
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    let root = process::root();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

impl Viv {
    /// The program in the folder of a build.
    pub fn new(build: &Path, home: PathBuf) -> Result<Self> {
        let program = build.join("viv");
        if !program.is_file() {
            bail!("The build made no {}", program.display());
        }
        Ok(Self { program, home })
    }

    /// A command line of `viv`.
    pub fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("VIVARIUM_HOME", &self.home).stdin(Stdio::null());
        command
    }

    /// Runs a command line whose answer is JSON.
    pub fn json<const N: usize>(&self, arguments: [&str; N]) -> Result<Value> {
        let said = process::output(self.command(arguments).arg("--json"))?;
        serde_json::from_slice(&said).context("viv did not answer in JSON")
    }

    /// An empty library: forgets an earlier run's, whose machine may still run.
    pub fn clear(&self, machine: &str) -> Result<()> {
        if self.home.is_dir() {
            // It fails where nothing runs, which is just as well.
            let _ = process::quiet(&mut self.command(["stop", machine, "--force"]));
            std::fs::remove_dir_all(&self.home).with_context(|| format!("Could not remove {}", self.home.display()))?;
        }
        std::fs::create_dir_all(&self.home).with_context(|| format!("Could not create {}", self.home.display()))
    }
}
