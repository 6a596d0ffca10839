//! `cargo xtask soak`: kills what writes to disks, at random times, and looks whether anything is lost that was flushed. `cargo xtask test` has
//! a shorter run of it.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::process;

/// What `cargo xtask soak` can be told.
#[derive(Args)]
pub struct Options {
    /// How many writers are killed
    #[arg(long, default_value_t = 1000)]
    kills: u32,
    /// Repeats a run: the seed that it said
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--package", "devices", "--test", "soak", "--", "--nocapture", "killed_writer"]);
    cargo.env("VIVARIUM_SOAK_KILLS", options.kills.to_string()).current_dir(process::root());
    if let Some(seed) = options.seed {
        cargo.env("VIVARIUM_SOAK_SEED", seed.to_string());
    }
    process::run(&mut cargo)
}
