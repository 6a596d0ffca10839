//! What this computer and its installed QEMU can do, found by asking them.
//!
//! [`Emulator`] is one `qemu-system-*` program, introspected over QMP and cached by the identity of its file. [`Board`] is one machine type
//! of it: its buses, its own processors and memory, found by starting the machine without letting it run. [`Host`] is the rest of the
//! computer. [`accelerator::decide`] tries KVM once before a guest depends on it.
//!
//! Nothing here compares version numbers: a feature is there when QEMU names it.

pub mod accelerator;
mod board;
mod cache;
mod conversation;
mod emulator;
mod find;
mod host;
mod introspect;
mod names;
mod trial;

pub use accelerator::{Accelerator, Decision};
pub use board::{Board, BootFile, Bus, BusKind, Probe};
pub use cache::Identity;
pub use emulator::{Cpu, Emulator, MachineType};
pub use find::{find, package};
pub use host::{AudioServer, Host, KvmDevice};
pub use names::Names;

use std::path::PathBuf;

/// Why nothing is known about an emulator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not installed.
    #[error("No emulator for {architecture} is installed: install the package {package} (Debian, Ubuntu), or put {program} on the PATH")]
    NotInstalled {
        /// Architecture that was asked for.
        architecture: &'static str,
        /// Name of the missing program.
        program: String,
        /// Debian package that has it.
        package: &'static str,
    },
    /// It could not be started at all.
    #[error("Could not start {program}: check that the file is a program for this computer")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended before it answered.
    #[error("{program} ended while it was asked what it can do ({status}); reinstall its package{}", last_lines(.stderr))]
    Ended {
        /// The program.
        program: PathBuf,
        /// Exit status or signal.
        status: String,
        /// Last lines that it wrote.
        stderr: String,
    },
    /// It did not answer in time.
    #[error("{program} did not answer within {seconds} s; try again when the computer is less busy, or reinstall its package{}", last_lines(.stderr))]
    Silent {
        /// The program.
        program: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// Last lines that it wrote.
        stderr: String,
    },
    /// It answered something that is not QMP.
    #[error("{program} answered {command} in a way that could not be understood: {reason}")]
    Answer {
        /// The program.
        program: PathBuf,
        /// Command that was asked.
        command: String,
        /// What was wrong with the answer.
        reason: String,
    },
    /// It lacks something without which no machine can be run.
    #[error("{program} ({version}) is too old or built without {missing}: install QEMU 7.2 or newer")]
    Unsuitable {
        /// The program.
        program: PathBuf,
        /// What it calls itself.
        version: String,
        /// The missing features.
        missing: String,
    },
}

fn last_lines(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}
