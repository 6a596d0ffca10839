//! `viv stop`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::{Failure, Kind, Result};
use crate::progress;
use library::{Activity, Machine, StopPlan};
use machine::{ErrorKind, StopMethod};
use serde_json::json;
use std::time::Duration;

/// How long a guest may take to shut down, where nobody says otherwise.
pub(super) const PATIENCE: u64 = 60;

/// Ask a machine to shut down, and wait until it has; or end it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv stop Debian                          presses the power button and waits up to 60 s
  viv stop Debian --timeout 300            is more patient
  viv stop Debian --timeout 30 --force     ends it where it has not shut down after 30 s
  viv stop Debian --force                  pulls the plug at once; the disk images are closed properly
  viv stop Debian --kill                   kills the process, where nothing else works

A guest can ignore the power button; then this fails with exit code 1 and the machine runs on.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    #[command(flatten)]
    how: How,
}

/// How to stop.
#[derive(Debug, clap::Args)]
pub struct How {
    /// How long to wait for the guest, in seconds [default: 60]
    #[arg(long, short, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// End it without the guest's consent: at once, or after --timeout
    #[arg(long, short, conflicts_with = "kill")]
    force: bool,
    /// Kill the process that runs it: at once, or after --timeout
    #[arg(long)]
    kill: bool,
}

impl How {
    /// The steps to take.
    pub fn plan(&self) -> StopPlan {
        let wait = |seconds: u64| Duration::from_secs(seconds);
        match (self.timeout, self.force, self.kill) {
            (None, true, _) => StopPlan::force(),
            (Some(seconds), true, _) => StopPlan::request_then_force(wait(seconds)),
            (None, false, true) => StopPlan::kill(),
            (Some(seconds), false, true) => StopPlan { request: Some(wait(seconds)), ..StopPlan::kill() },
            (seconds, false, false) => StopPlan::request(wait(seconds.unwrap_or(PATIENCE))),
        }
    }
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    refuse_stopped(&machine, "stop")?;
    let spinner = progress::spinner(&context.output);
    let stopped = context.library.stop(&machine, args.how.plan(), |what| spinner.set_message(what.to_owned())).await;
    spinner.finish_and_clear();
    let stopped = stopped.map_err(|error| explain(error.into(), &machine))?;
    let how = match stopped.by {
        Some(StopMethod::Request) | None => "shut down",
        Some(StopMethod::Force) => "was stopped",
        Some(StopMethod::Kill) => "was killed",
    };
    context.output.done(
        &json!({ "name": machine.name, "uuid": machine.uuid, "state": "stopped", "by": stopped.by, "ending": stopped.ending }),
        format!("\"{}\" {how}", machine.name),
    )
}

/// Fails for a machine that does not run.
pub(super) fn refuse_stopped(machine: &Machine, verb: &str) -> Result {
    if machine.activity == Activity::Stopped {
        return Err(Failure::new(ErrorKind::WrongState, format!("Cannot {verb} \"{}\": it is not running", machine.name))
            .with_hint(format!("`viv start {}` starts it", shell_words::quote(&machine.name))));
    }
    Ok(())
}

pub(super) fn explain(failure: Failure, machine: &Machine) -> Failure {
    match failure.kind {
        Kind::Machine(ErrorKind::Timeout) => failure.with_hint(format!(
            "The guest may be ignoring the power button. `viv stop {} --force` ends it; what it has not written to its disks is lost",
            shell_words::quote(&machine.name)
        )),
        _ => failure,
    }
}
