//! `vivarium-supervisor`: runs one machine, or answers what only a backend can tell.
//!
//! It is started by `viv` and the desktop app, not by people: what it says on standard output is JSON.

use bundle::Architecture;
use clap::{Parser, Subcommand};
use machine::StartOptions;
use std::path::PathBuf;
use std::process::ExitCode;
use supervisor::{answers, run};

#[derive(Parser)]
#[command(name = "vivarium-supervisor", version, about = "Runs one machine; started by viv and the desktop app")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start the machine in a bundle and supervise it until it ends
    Run {
        /// The bundle
        bundle: PathBuf,
        /// Leave its disks untouched
        #[arg(long)]
        disposable: bool,
        /// Stay before the guest's first instruction
        #[arg(long)]
        paused: bool,
    },
    /// Take over a machine whose supervisor died
    Adopt {
        /// The bundle
        bundle: PathBuf,
    },
    /// Print the command line that would run a bundle, as JSON
    Command {
        /// The bundle
        bundle: PathBuf,
    },
    /// Print what a machine type offers to a new machine, as JSON
    Offer {
        /// The guest's architecture
        #[arg(long)]
        architecture: Architecture,
        /// The machine type
        #[arg(long)]
        machine: String,
        /// The processor model, where it is not the usual one
        #[arg(long)]
        cpu: Option<String>,
        /// The memory that it is to have, in MiB
        #[arg(long)]
        memory: u64,
    },
    /// Print the machine types and processors of an architecture, as JSON
    Catalog {
        /// The architecture
        #[arg(long)]
        architecture: Architecture,
    },
    /// Print how the installation is, as JSON
    Doctor,
    /// Print the OpenAPI description of what a supervisor serves
    ApiSpec,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // It would say on standard error that standard error cannot be written to, and panic: no reason to let go of a guest.
        .log_internal_errors(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("VIVARIUM_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    // One thread: a supervisor waits most of its life, and each thread costs memory in each machine.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "Cannot begin");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match arguments.task {
            Task::Run { bundle, disposable, paused } => run::start(&bundle, StartOptions { disposable, paused }).await,
            Task::Adopt { bundle } => run::adopt(&bundle).await,
            Task::Command { bundle } => answers::command(&bundle).await,
            Task::Offer { architecture, machine, cpu, memory } => answers::offer(architecture, &machine, cpu.as_deref(), memory).await,
            Task::Catalog { architecture } => answers::catalog(architecture).await,
            Task::Doctor => answers::doctor().await,
            Task::ApiSpec => {
                print!("{}", supervisor::api::openapi());
                ExitCode::SUCCESS
            }
        }
    });
    // Nothing that is left may hold up the end.
    runtime.shutdown_background();
    code
}
