//! `viv unregister`.

use crate::complete::machines;
use crate::context::Context;
use crate::describe::Listed;
use crate::error::Result;

/// Take a machine that lies outside the library's folder from the list, and leave it as it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv import --link /media/ada/disk/Debian.utm    lists a machine where it is
  viv unregister Debian                           forgets it again")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
}

pub fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    context.library.unregister(&machine)?;
    context
        .output
        .done(&Listed::new(&machine, None), format!("\"{}\" is no longer listed; it is still at {}", machine.name, machine.path.display()))
}
