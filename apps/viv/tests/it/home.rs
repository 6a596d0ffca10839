//! A home folder of its own for each test, and `viv` in it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A person's folders, thrown away at the end.
pub struct Home {
    folder: TempDir,
}

/// What a run of `viv` left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        // Short, because sockets' paths must be.
        let folder = tempfile::Builder::new().prefix("viv").tempdir_in("/tmp").unwrap();
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that holds the machines.
    pub fn machines(&self) -> PathBuf {
        self.path().join("machines")
    }

    /// `viv`, ready to run, without anything of the tester's environment but the path.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viv"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("VIVARIUM_HOME", self.machines())
            .env("XDG_DATA_HOME", self.path().join("data"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("VIVARIUM_SUPERVISOR", "/nowhere/vivarium-supervisor")
            .env("TZ", "UTC")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `viv` to its end.
    pub fn viv(&self, arguments: &[&str]) -> Ran {
        self.command().args(arguments).output().unwrap().into()
    }

    /// Runs `viv`, which must succeed; what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.viv(arguments);
        assert_eq!(ran.code, 0, "viv {arguments:?}: {ran:?}");
        ran.stdout
    }

    /// Runs `viv` with `--json`, which must succeed; what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
