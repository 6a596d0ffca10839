//! `viv man`, for packagers.

use crate::cli::Cli;
use crate::error::{Failure, Result};
use crate::output::Output;
use clap::CommandFactory;
use std::path::PathBuf;

/// Write the man pages into a folder: viv(1), and one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv man ~/.local/share/man/man1")]
pub struct Args {
    /// The folder, which is made if need be
    folder: PathBuf,
}

pub fn run(args: &Args, output: Output) -> Result {
    let failed = |error: &std::io::Error| Failure::io(format!("Cannot write man pages to {}", args.folder.display()), error);
    std::fs::create_dir_all(&args.folder).map_err(|error| failed(&error))?;
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(|error| failed(&error))?;
    output.done(&serde_json::json!({ "folder": args.folder }), format!("Wrote man pages to {}", args.folder.display()))
}
