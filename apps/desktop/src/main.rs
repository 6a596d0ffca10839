//! `vivarium`, the desktop app.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use desktop::engine::Engine;
use desktop::home::HomeScreen;
use library::Library;
use slint::ComponentHandle as _;
use supervisor_api::Places;
use tracing_subscriber::EnvFilter;

/// Runs virtual machines on this computer, in windows.
#[derive(Debug, Parser)]
#[command(name = "vivarium", version)]
struct Cli {}

fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    let filter = EnvFilter::try_from_env("VIVARIUM_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().log_internal_errors(false).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vivarium: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let places = Places::from_environment().context("Cannot find out where machines are kept")?;
    let engine = Engine::start(Library::open(places)?)?;
    let home = HomeScreen::open(&engine).context("Cannot open a window; is there a display?")?;
    home.window().run().context("The windows' event loop has failed")
}
