//! `vivarium`, the desktop app.

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
    /// Machines, by name, UUID or bundle, whose windows to open at once, instead of the list
    machines: Vec<String>,
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
    view_model::speak(view_model::Language::of_environment());
    let places = Places::from_environment().context("Cannot find out where machines are kept")?;
    let library = Library::open(places)?;
    let machines = cli.machines.iter().map(|query| library.find(query).map_err(library::Error::from)).collect::<Result<Vec<_>, _>>()?;
    let engine = Engine::start(library)?;
    // Movements of a mouse that the guest has come to nobody else.
    slint::BackendSelector::new().with_winit_custom_application_handler(MouseMotion).select().context("Cannot reach a display")?;
    let windows = Windows::new(&engine);
    if machines.is_empty() {
        let home = HomeScreen::open(&engine, &windows).context("Cannot open a window; is there a display?")?;
        return home.window().run().context("The windows' event loop has failed");
    }
    for machine in &machines {
        windows.open_machine(&machine.path, |error| {
            eprintln!("vivarium: Cannot open a window: {error}");
            desktop::commands::quit();
        });
    }
    slint::run_event_loop().context("The windows' event loop has failed")
}
