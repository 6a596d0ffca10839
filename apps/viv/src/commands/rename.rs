//! `viv rename`.

use crate::complete::machines;
use crate::context::Context;
use crate::describe::Listed;
use crate::error::Result;

/// Give a machine another name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv rename \"Debian 2\" \"Debian testing\"

The bundle is renamed with it, unless it lies outside the library's folder. The machine must not run.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Its new name
    new_name: String,
}

pub fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let renamed = context.library.rename(&machine, &args.new_name)?;
    context.output.done(&Listed::new(&renamed, None), format!("\"{}\" is now \"{}\"", machine.name, renamed.name))
}
