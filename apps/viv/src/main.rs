//! `viv`, the command: everything that can be done with machines, from a terminal or a script.
//!
//! - [`cli`]: the command line; each command's arguments are beside what it does, in [`commands`].
//! - [`output`], [`progress`]: what is printed where. [`error`]: exit codes.
//! - [`console`], [`terminal`]: a serial port in the terminal.

mod cli;
mod commands;
mod console;
mod context;
mod describe;
mod error;
mod facts;
mod output;
mod progress;
mod size;
mod terminal;

use clap::Parser;
use cli::{Cli, OVERVIEW};
use error::{Exit, Failure};
use machine::ErrorKind;
use output::Output;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, cli.quiet);
    let Some(command) = cli.command else {
        output.say(OVERVIEW);
        return Exit::Usage.into();
    };
    let filter = EnvFilter::try_from_env("VIVARIUM_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&Failure::new(ErrorKind::Missing, "Cannot start the asynchronous runtime").with_source(&error));
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(commands::run(command, output));
    // A thread may still stand in a read of standard input; nobody waits for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.exit()
        }
    }
}
