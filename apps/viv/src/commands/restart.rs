//! `viv restart`.

use crate::commands::stop::{How, explain, refuse_stopped};
use crate::complete::machines;
use crate::context::Context;
use crate::error::Result;
use crate::progress;

/// Shut a machine down and start it again, with the same options
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv restart Debian
  viv restart Debian --timeout 30 --force

Changes to its configuration take effect. `viv reset` presses the reset button instead.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    #[command(flatten)]
    how: How,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    refuse_stopped(&machine, "restart")?;
    let spinner = progress::spinner(&context.output);
    let restarted = context.library.restart(&machine, args.how.plan(), None, |what| spinner.set_message(what.to_owned())).await;
    spinner.finish_and_clear();
    restarted.map_err(|error| explain(error.into(), &machine))?;
    context.done(&machine, format!("\"{}\" is running again", machine.name)).await
}
