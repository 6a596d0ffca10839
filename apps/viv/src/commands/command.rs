//! `viv command`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::Result;
use supervisor_api::launch;

/// Print the command line that runs a machine, quoted for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv command Debian
  viv command Debian --json | jq -r '.arguments[]'

For a running machine, the one that it was started with; otherwise the one that it would be. Sockets and descriptors in it exist only \
while its supervisor runs it.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let line = match context.library.client(&machine).await? {
        Some(client) => client.command_line().await?,
        None => {
            machine.usable()?;
            launch::command_line(&machine.path).await?
        }
    };
    context.output.answer(&line, |output| {
        for warning in &line.warnings {
            output.warning(warning);
        }
        output.line(line.shell.trim_end())
    })
}
