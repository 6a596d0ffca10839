//! `viv resume`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::Result;

/// Let a paused machine go on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv resume Debian")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    context.library.resume(&machine).await?;
    context.done(&machine, format!("Resumed \"{}\"", machine.name)).await
}
