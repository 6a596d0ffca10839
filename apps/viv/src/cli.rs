//! The command line: what `viv` understands. Help, man pages and completions are all made from these definitions.

use crate::commands::Command;
use crate::error::EXIT_CODES;
use clap::Parser;
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;

/// What `viv` alone prints.
pub const OVERVIEW: &str = "\
viv runs virtual machines: any operating system, for any processor, from UTM's .utm bundles.

First steps:
  viv create Debian --iso debian-13-netinst.iso   make a machine with an installer in its drive
  viv import Windows.utm                          or take one that UTM made
  viv start Debian                                start it
  viv console Debian                              its serial console; Ctrl-] leaves it
  viv stop Debian                                 ask it to shut down

More:
  viv list                                        your machines
  viv doctor                                      is everything here that is needed?
  viv help                                        every command
  viv help start                                  one command, with examples";

const ABOUT: &str = "Runs virtual machines from UTM's .utm bundles";

const LONG_ABOUT: &str = "\
Runs virtual machines: any operating system, for any processor, from UTM's .utm bundles.

Machines are named by name, by UUID, by the beginning of either where only one begins like that, or by the path of their bundle. \
A machine runs on when the terminal is closed; `viv stop` or its own shutdown ends it.";

const ENVIRONMENT: &str = "\
Environment:
  VIVARIUM_HOME        where machines are kept (otherwise $XDG_DATA_HOME/vivarium, ~/.local/share/vivarium)
  VIVARIUM_SUPERVISOR  the vivarium-supervisor program, where it is not beside viv
  VIVARIUM_LOG         what viv itself logs on standard error: error, warn, info, debug, trace
  NO_COLOR             no colours";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

#[derive(Debug, Parser)]
#[command(
    name = "viv",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = format!("{EXIT_CODES}\n\n{ENVIRONMENT}"),
    styles = STYLES,
    max_term_width = 120
)]
#[allow(missing_docs, reason = "a doc comment would replace `about`")]
pub struct Cli {
    /// Print JSON: answers on standard output, `{"error": …}` on standard error
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Print no progress and no confirmations
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}
