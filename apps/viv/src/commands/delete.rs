//! `viv delete`.

use crate::complete::machines;
use crate::context::Context;
use crate::describe::Listed;
use crate::error::Result;
use library::Deletion;

/// Delete a machine and its disks: into the trash, or for good
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  viv delete \"Debian 2\"
  viv delete \"Debian 2\" --permanently

From the trash, the desktop's file manager brings it back. Images outside the bundle stay. `viv unregister` only takes a machine from \
the list. The machine must not run."
)]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Not into the trash: nothing can bring it back
    #[arg(long)]
    permanently: bool,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let deletion = if args.permanently { Deletion::Permanent } else { Deletion::Trash };
    context.library.delete(&machine, deletion).await?;
    let sentence =
        if args.permanently { format!("Deleted \"{}\"", machine.name) } else { format!("Moved \"{}\" to the trash", machine.name) };
    context.output.done(&Listed::new(&machine, None), sentence)
}
