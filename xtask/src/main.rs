//! Tasks of this repository: setup, check, test, demo, guests, codegen, bench.

mod guests;
mod process;
mod sources;

use clap::{Parser, Subcommand};

/// Tasks of this repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Assemble the test guests from Debian's kernels and busybox
    Guests(guests::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Guests(options) => guests::run(&options),
    }
}
