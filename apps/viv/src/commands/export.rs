//! `viv export`.

use crate::complete::machines;
use crate::context::{Context, absolute, has_extension};
use crate::error::Result;
use crate::progress;
use library::ExportFormat;
use std::path::PathBuf;

/// Copy a machine to a .utm folder or .utm.zip file, for another computer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv export Debian                     Debian.utm here
  viv export Debian /media/stick        in that folder
  viv export Debian Debian.utm.zip      as one file

UTM on a Mac opens both. The machine must not run.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Where to: a folder to put it in, or the name of a .utm folder or .zip file to make
    #[arg(default_value = ".")]
    destination: PathBuf,
    /// Make a .utm.zip file
    #[arg(long)]
    zip: bool,
    /// Replace what is there
    #[arg(long, short)]
    force: bool,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let destination = absolute(&args.destination);
    let zip = args.zip || has_extension(&destination, "zip");
    let format = if zip { ExportFormat::Zip } else { ExportFormat::Folder };
    let library = &context.library;
    let made = progress::run(&context.output, async |job| library.export(&machine, &destination, format, args.force, job).await).await?;
    context
        .output
        .done(&serde_json::json!({ "name": machine.name, "path": made }), format!("Exported \"{}\" to {}", machine.name, made.display()))
}
