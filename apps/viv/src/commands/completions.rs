//! `viv completions`.

use crate::complete;
use crate::error::{Failure, Result};
use crate::output::Output;
use clap_complete::Shell;
use machine::ErrorKind;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv completions bash > ~/.local/share/bash-completion/completions/viv
  viv completions zsh > ~/.zfunc/_viv
  viv completions fish > ~/.config/fish/completions/viv.fish

They complete verbs, options and the names of your machines, and need viv on the PATH.")]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args, output: Output) -> Result {
    let failed = |error| Failure::new(ErrorKind::Unsupported, format!("There are no completions for {}", args.shell)).with_source(&error);
    output.bytes(&complete::script(&args.shell.to_string()).map_err(failed)?)
}
