//! Cargo's subcommands that checks and tests use.

use std::process::Command;

use anyhow::Result;

use crate::process;

/// A program from crates.io.
pub struct Tool {
    /// Its package.
    pub package: &'static str,
    /// The version that is installed.
    pub version: &'static str,
    /// Whether any version that is there will do.
    any: bool,
    /// What it is for.
    pub reason: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { package: "cargo-nextest", version: "0.9.143", any: true, reason: "to run the tests" },
    // Its answers depend on its version.
    Tool { package: "cargo-deny", version: "0.20.2", any: false, reason: "to check licences and advisories" },
];

/// The tools that have to be installed.
pub fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !tool.is_there()).collect()
}

impl Tool {
    fn is_there(&self) -> bool {
        process::text(Command::new(self.package).arg("--version"))
            .is_ok_and(|said| self.any || said.split_whitespace().any(|word| word == self.version))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("cargo");
        command.args(["install", "--locked", self.package, "--version", self.version]);
        command
    }

    /// How a person would install it.
    pub fn command_line(&self) -> String {
        process::display(&self.command())
    }

    /// Builds and installs it.
    pub fn install(&self) -> Result<()> {
        println!("$ {}", self.command_line());
        process::run(&mut self.command())
    }
}
