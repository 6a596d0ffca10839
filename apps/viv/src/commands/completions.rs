//! `viv completions`.

use crate::cli::Cli;
use crate::error::Result;
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv completions bash > ~/.local/share/bash-completion/completions/viv
  viv completions zsh > ~/.zfunc/_viv
  viv completions fish > ~/.config/fish/completions/viv.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args, output: Output) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "viv", &mut script);
    output.bytes(&script)
}
