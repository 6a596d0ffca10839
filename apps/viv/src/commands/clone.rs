//! `viv clone`.

use crate::complete::machines;
use crate::context::Context;
use crate::describe;
use crate::error::Result;
use crate::progress;

/// Copy a machine, with a new UUID and new MAC addresses
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv clone Debian                    makes \"Debian 2\"
  viv clone Debian \"Debian testing\"

Where the file system can share blocks between files (btrfs, XFS), a clone takes no time and no space. The machine must not run.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The copy's name; otherwise the machine's with a number
    new_name: Option<String>,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let library = &context.library;
    let made = progress::run(&context.output, async |job| library.clone_machine(&machine, args.new_name.as_deref(), job).await).await?;
    describe::made(&context.output, &made, "Cloned to")
}
