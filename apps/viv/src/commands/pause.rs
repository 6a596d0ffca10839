//! `viv pause`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::Result;

/// Halt a machine's processors; memory and devices are kept
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv pause Debian

`viv resume` lets it go on. The guest does not notice, except that its clock stands still.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    context.library.pause(&machine).await?;
    context.done(&machine, format!("Paused \"{}\"", machine.name)).await
}
