//! Standard libraries for other systems than this one, by rustup.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Macs with Apple silicon.
pub const MACOS: &str = "aarch64-apple-darwin";

/// Whether there is a standard library for this system.
pub fn is_there(target: &str) -> bool {
    let printed = process::text(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    printed.is_ok_and(|folder| Path::new(folder.trim_end()).is_dir())
}

/// How a person would install it.
pub fn command_line(target: &str) -> String {
    process::display(&command(target))
}

fn command(target: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["target", "add", target]);
    command
}

/// Installs it.
pub fn install(target: &str) -> Result<()> {
    println!("$ {}", command_line(target));
    process::run(&mut command(target)).context("rustup installs standard libraries for other systems; https://rustup.rs says how to get it")
}
