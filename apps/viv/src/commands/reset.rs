//! `viv reset`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::Result;

/// Press the reset button: the guest restarts at once, without shutting down
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv reset Debian

What the guest has not written to its disks is lost. `viv restart` shuts it down first.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    context.library.reset(&machine).await?;
    context.done(&machine, format!("Reset \"{}\"", machine.name)).await
}
