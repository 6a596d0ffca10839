//! `viv`, the command: everything that can be done with machines, from a terminal or a script.
//!
//! - [`cli`]: the command line; each command's arguments are beside what it does, in [`commands`].
//! - [`output`], [`progress`]: what is printed where. [`error`]: exit codes.
//! - [`complete`]: what a shell completes.
//! - [`console`], [`terminal`]: a serial port in the terminal.

mod cli;
mod commands;
mod complete;
mod console;
mod context;
mod describe;
mod display;
mod error;
mod facts;
mod output;
mod progress;
mod size;
mod terminal;

use clap::Parser;
use cli::{Cli, OVERVIEW};
use error::{Exit, Failure, Kind};
use machine::ErrorKind;
use output::Output;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    complete::answer_shell();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer_usage(&error),
    };
    let output = Output::new(cli.json, cli.quiet);
    let Some(command) = cli.command else {
        output.say(OVERVIEW);
        return Exit::Usage.into();
    };
    let filter = EnvFilter::try_from_env("VIVARIUM_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().log_internal_errors(false).init();
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

/// Help and the version, or what is wrong with the command line: in JSON where the command line asks for that as far as it makes sense.
fn answer_usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if error.use_stderr() && wants_json {
        let rendered = error.render().to_string();
        let mut said = rendered.trim_start_matches("error: ").split("\n\n");
        let failure = Failure::new(Kind::Usage, said.next().unwrap_or_default().trim());
        let failure = match said.find_map(|part| part.trim().strip_prefix("tip: ")) {
            Some(tip) => failure.with_hint(tip.trim()),
            None => failure,
        };
        Output::new(true, false).failure(&failure);
        return failure.exit();
    }
    // A reader that has gone away is no failure.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS }
}
