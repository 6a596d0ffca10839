//! `viv move`.

use crate::complete::machines;
use crate::context::{Context, absolute};
use crate::describe::Listed;
use crate::error::Result;
use crate::progress;
use std::path::PathBuf;

/// Move a machine's bundle to another folder, and keep it in the list
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "mv",
    after_help = "\
Examples:
  viv move Debian /media/ada/disk/machines

The machine must not run. Between file systems the copy is complete before the original goes."
)]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The folder to put the bundle into
    folder: PathBuf,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let (library, folder) = (&context.library, absolute(&args.folder));
    let moved = progress::run(&context.output, async |job| library.move_to(&machine, &folder, job).await).await?;
    context.output.done(&Listed::new(&moved, None), format!("Moved \"{}\" to {}", moved.name, moved.path.display()))
}
