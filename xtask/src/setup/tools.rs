//! Cargo's subcommands and other programs from crates.io that checks and tests use.

use std::path::Path;
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
    /// Where a distribution's package may have put it, other than where people's programs are.
    elsewhere: &'static [&'static str],
    /// What it is for.
    pub reason: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { package: "cargo-nextest", version: "0.9.143", any: true, elsewhere: &[], reason: "to run the tests" },
    // Its answers depend on its version.
    Tool { package: "cargo-deny", version: "0.20.2", any: false, elsewhere: &[], reason: "to check licences and advisories" },
    Tool {
        package: "virtiofsd",
        version: "1.14.0",
        any: true,
        elsewhere: &["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd"],
        reason: "to share directories with the guests of the virtualization framework",
    },
];

/// The tools that have to be installed.
pub fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !tool.is_there()).collect()
}

impl Tool {
    fn is_there(&self) -> bool {
        if self.elsewhere.iter().any(|path| Path::new(path).is_file()) {
            return true;
        }
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
