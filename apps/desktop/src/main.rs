//! `vivarium`, the desktop app.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use desktop::display::MouseMotion;
use desktop::engine::Engine;
use desktop::home::HomeScreen;
use desktop::windows::Windows;
use library::Library;
use slint::ComponentHandle as _;
use supervisor_api::Places;
use tracing_subscriber::EnvFilter;

/// Runs virtual machines on this computer, in windows.
#[derive(Debug, Parser)]
#[command(name = "vivarium", version)]
struct Cli {
    /// Bundles whose windows to open at once, instead of the list
    machines: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("VIVARIUM_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().log_internal_errors(false).init();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vivarium: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let places = Places::from_environment().context("Cannot find out where machines are kept")?;
    let engine = Engine::start(Library::open(places)?)?;
    // Movements of a mouse that the guest has come to nobody else.
    slint::BackendSelector::new().with_winit_custom_application_handler(MouseMotion).select().context("Cannot reach a display")?;
    let windows = Windows::new(&engine);
    if cli.machines.is_empty() {
        let home = HomeScreen::open(&engine, &windows).context("Cannot open a window; is there a display?")?;
        return home.window().run().context("The windows' event loop has failed");
    }
    for machine in &cli.machines {
        windows.open_display(machine).context("Cannot open a window; is there a display?")?;
    }
    slint::run_event_loop().context("The windows' event loop has failed")
}
