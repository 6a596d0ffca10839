//! `viv start`.

use crate::commands::console;
use crate::complete::machines;
use crate::console::Escape;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::progress;
use indicatif::ProgressBar;
use library::{Activity, Machine};
use machine::{ErrorKind, StartOptions, WarningKind};
use supervisor_api::launch;
use supervisor_api::wire::StartMessage;

/// Start a machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv start Debian                  returns when its supervisor has accepted
  viv start Debian --wait           returns when it runs
  viv start Debian --console        and attaches the terminal to its serial console
  viv start Debian --disposable     what the guest writes is thrown away at the end

The machine runs on when the terminal is closed.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Return only when the machine runs, and fail where it does not get so far
    #[arg(long, short)]
    wait: bool,
    /// Leave the disks untouched: everything the guest writes is thrown away at the end
    #[arg(long)]
    disposable: bool,
    /// Stay paused before the guest's first instruction
    #[arg(long)]
    paused: bool,
    /// Attach the terminal to the first serial console (implies --wait)
    #[arg(long, short)]
    console: bool,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let options = StartOptions { disposable: args.disposable, paused: args.paused };
    let spinner = progress::spinner(&context.output);
    spinner.set_message(format!("Starting \"{}\"", machine.name));
    let wait = args.wait || args.console;
    let result = if wait {
        context.library.start(&machine, options, |what| spinner.set_message(what.to_owned())).await.map_err(Failure::from)
    } else {
        accept(context, &machine, options, &spinner).await
    };
    spinner.finish_and_clear();
    result.map_err(|failure| explain(failure, &machine))?;
    if wait && !context.output.json && !context.output.quiet {
        warn(context, &machine).await;
    }
    if args.console {
        return console::attach(
            context,
            &machine,
            None,
            &crate::console::Options { escape: Escape::default(), until: None, timeout: None },
        )
        .await;
    }
    let sentence = match (wait, args.paused) {
        (false, _) => format!("Starting \"{}\"", machine.name),
        (true, false) => format!("\"{}\" is running", machine.name),
        (true, true) => format!("\"{}\" is paused before its first instruction; `viv resume` lets it go", machine.name),
    };
    context.done(&machine, sentence).await
}

/// Starts the supervisor and returns when it holds the machine and answers.
async fn accept(context: &Context, machine: &Machine, options: StartOptions, spinner: &ProgressBar) -> Result {
    machine.usable()?;
    if machine.activity == Activity::Running {
        return Err(Failure::new(ErrorKind::WrongState, format!("Cannot start \"{}\": it is running already", machine.name)));
    }
    let mut starting = launch::start(&machine.path, options, &context.logs_of(machine).join("supervisor.log"))?;
    loop {
        match starting.next().await? {
            StartMessage::Progress { message } => spinner.set_message(message),
            StartMessage::Accepted | StartMessage::Running => return Ok(()),
            StartMessage::Failed(failure) => return Err(failure.into()),
        }
    }
}

/// Says why a machine that asks for a hypervisor runs without one, which makes it slow, and what of it this run has to do without.
async fn warn(context: &Context, machine: &Machine) {
    // That it runs is known; what cannot be asked now is in `viv status` later.
    let Ok(status) = context.library.status(machine).await else { return };
    if let Some(accelerator) = status.accelerator
        && status.warnings.iter().any(|warning| warning.kind == WarningKind::Accelerator)
    {
        context.output.warning(accelerator.why);
    }
    for warning in status.warnings.iter().filter(|warning| warning.kind.is_missing()) {
        context.output.warning(warning);
    }
}

fn explain(failure: Failure, machine: &Machine) -> Failure {
    let name = shell_words::quote(&machine.name);
    let hint = match failure.kind {
        _ if failure.hint.is_some() => return failure,
        crate::error::Kind::Machine(ErrorKind::WrongState) => {
            format!("`viv status {name}` says what it is doing; `viv resume {name}` continues a paused one")
        }
        // Each key is named by the refusal itself; `viv inspect` knows nothing of what the installed QEMU can do.
        crate::error::Kind::Machine(ErrorKind::Configuration) => format!("`viv config set {name} KEY VALUE` changes what is named"),
        crate::error::Kind::Machine(ErrorKind::Missing) => "`viv doctor` says what to install".to_owned(),
        _ => format!("`viv logs {name}` shows what was said on the way"),
    };
    failure.with_hint(hint)
}
