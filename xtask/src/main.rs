//! Tasks of this repository: setup, check, test, demo, guests, codegen, bench.

mod codegen;
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
    /// Generate bindings from what the installed QEMU says about itself
    Codegen {
        /// What to generate: qmp
        target: String,
        /// Only say whether anything would change
        #[arg(long)]
        check: bool,
    },
    /// Assemble the test guests from Debian's kernels and busybox
    Guests(guests::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Codegen { target, check } => codegen::run(&target, check),
        Task::Guests(options) => guests::run(&options),
    }
}
