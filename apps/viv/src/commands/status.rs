//! `viv status`.

use crate::complete::machines;
use crate::context::Context;
use crate::describe::backend;
use crate::error::Result;
use crate::output::{Cell, Color, Output, moment};
use machine::{Sandbox, WarningKind};
use supervisor_api::wire::Status;

/// Print everything there is to know about a machine now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv status Debian
  viv status Debian --json | jq -r .state

A machine whose supervisor was killed is given a new one. For a stopped machine, how its last run ended is shown.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let status = context.library.status(&machine).await?;
    context.output.answer(&status, |output| print(output, &status))
}

fn print(output: &Output, status: &Status) -> Result {
    let pid = |pid: Option<u32>| pid.map(|pid| Cell::new(format!("process {pid}")));
    let mut how = Vec::new();
    if status.options.disposable {
        how.push("disposable: what the guest writes is thrown away");
    }
    if status.adopted {
        how.push("its first supervisor died, and this one took over");
    }
    let mut facts = vec![
        ("Name", Some(Cell::new(&status.name))),
        ("State", Some(status.state.into())),
        ("UUID", Some(Cell::new(status.uuid))),
        ("Bundle", Some(Cell::new(status.bundle.display()))),
        ("Started", status.started_at.filter(|_| status.state.is_live()).map(|at| Cell::new(moment(at)))),
        ("Run", (!how.is_empty()).then(|| Cell::new(how.join("; ")))),
        ("Backend", Some(Cell::new(backend(status.backend)))),
        ("Accelerator", status.accelerator.as_ref().map(|accelerator| Cell::new(format!("{}: {}", accelerator.name, accelerator.why)))),
        ("Sandbox", status.sandbox.as_ref().map(sandbox_cell)),
        ("Supervisor", pid(status.supervisor_pid)),
        ("Backend process", pid(status.backend_pid)),
    ];
    for console in &status.consoles {
        facts.push(("Console", Some(Cell::new(format!("{}: {}", console.index, console.label)))));
    }
    for terminal in &status.pseudo_terminals {
        facts.push(("Terminal", Some(Cell::new(format!("{}: {}", terminal.label, terminal.path.display())))));
    }
    for display in &status.displays {
        facts.push(("Display", Some(Cell::new(format!("{}: {}", display.index, display.device)))));
    }
    for drive in &status.drives {
        let medium = drive.medium.as_ref().map_or_else(|| "empty".to_owned(), |path| path.display().to_string());
        let read_only = if drive.read_only { ", read-only" } else { "" };
        facts.push(("Drive", Some(Cell::new(format!("{} ({}{read_only}): {medium}", drive.id, drive.interface)))));
    }
    // Why it is emulated is said beside the accelerator.
    for warning in status.warnings.iter().filter(|warning| warning.kind != WarningKind::Accelerator) {
        facts.push(("Warning", Some(Cell::new(warning).color(Color::Yellow))));
    }
    if let Some(last) = &status.last_run {
        let color = if last.ending.reason.is_failure() { Color::Red } else { Color::Reset };
        let ended = last.ended_at.map(|ended_at| format!("ended {}: ", moment(ended_at))).unwrap_or_default();
        facts.push(("Last run", Some(Cell::new(format!("{ended}{}", last.ending.message)).color(color))));
        facts.extend(last.ending.log.iter().map(|line| ("", Some(Cell::new(line)))));
    }
    output.facts(facts)
}

fn sandbox_cell(sandbox: &Sandbox) -> Cell {
    let mut parts = Vec::new();
    if let Some(abi) = sandbox.landlock_abi {
        parts.push(format!("Landlock {abi}"));
    }
    if sandbox.seccomp {
        parts.push("seccomp".to_owned());
    }
    parts.extend(sandbox.missing.iter().map(|missing| format!("missing: {missing}")));
    let text = if parts.is_empty() { "none".to_owned() } else { parts.join("; ") };
    if sandbox.complete { Cell::new(text) } else { Cell::new(text).color(Color::Yellow) }
}
