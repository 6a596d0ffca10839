//! Tasks of this repository: setup, check, test, soak, demo, guests, nested, codegen, fuzz, bench.

mod bench;
mod check;
mod codegen;
mod demo;
mod fuzz;
mod guests;
mod monitor;
mod nested;
mod process;
mod serial;
mod setup;
mod skipped;
mod soak;
mod sources;
mod test;
mod tidy;
mod viv;
mod x_server;

use std::process::ExitCode;

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
    /// Install what building, running and testing need
    Setup(setup::Options),
    /// Build, make a machine, start it and show it in the app
    Demo(demo::Options),
    /// What a change must pass: format, layers, clippy, documentation, licences
    Check,
    /// Only the rules about layers and files, which are part of check
    Tidy,
    /// Run the tests
    Test(test::Options),
    /// Kill writers of disks for a while and look whether anything is lost that was flushed
    Soak(soak::Options),
    /// Run the fuzz targets for a while
    Fuzz(fuzz::Options),
    /// Measure Vivarium against bare peers
    Bench(bench::Options),
    /// Generate bindings from what the installed QEMU says about itself
    Codegen {
        /// What to generate: qmp
        target: String,
        /// Only say whether anything would change
        #[arg(long)]
        check: bool,
    },
    /// Run a program where there is KVM: in a Linux that QEMU emulates
    Nested(nested::Options),
    /// Assemble the test guests from Debian's kernels and busybox
    Guests(guests::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup(options) => setup::run(options),
        Task::Demo(options) => demo::run(&options),
        Task::Check => check::run(),
        Task::Tidy => tidy::run(),
        Task::Test(options) => test::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Codegen { target, check } => codegen::run(&target, check),
        Task::Nested(options) => nested::run(&options),
        Task::Guests(options) => guests::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
