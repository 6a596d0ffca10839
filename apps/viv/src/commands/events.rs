//! `viv events`.

use crate::complete::machines;
use crate::context::Context;
use crate::describe::Listed;
use crate::error::{Failure, Result};
use crate::output::now;
use library::{LibraryEvent, Machine};
use machine::{ErrorKind, Event, IoDirection};
use serde_json::json;
use supervisor_api::wire::StreamItem;

/// Print what happens to a machine, or to all, as it happens
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv events                 machines that appear, change, start and stop
  viv events Debian          everything that happens to one that runs, until it ends
  viv events --json          a line of JSON each: the machines first, then events
  viv events Debian --json   the status first, then events

Ctrl-C ends it.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: Option<String>,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    match &args.machine {
        Some(machine) => of_one(context, &context.find(machine)?).await,
        None => of_all(context).await,
    }
}

async fn of_one(context: &Context, machine: &Machine) -> Result {
    let Some(client) = context.library.client(machine).await? else {
        return Err(Failure::new(ErrorKind::WrongState, format!("Nothing happens to \"{}\": it is not running", machine.name))
            .with_hint("`viv events` without a machine tells when it starts"));
    };
    let output = &context.output;
    let mut events = client.events().await?;
    while let Some(item) = events.next().await? {
        if output.json {
            output.json_line(&item)?;
            continue;
        }
        match item {
            StreamItem::Status(status) => output.line(format!("{}  {} is {}", now(), status.name, status.state))?,
            StreamItem::Event(event) => output.line(format!("{}  {}", now(), sentence(&event)))?,
        }
    }
    Ok(())
}

async fn of_all(context: &Context) -> Result {
    let output = &context.output;
    let mut watch = context.library.watch()?;
    if output.json {
        let machines = context.library.machines();
        let listed: Vec<_> = machines.iter().map(|machine| Listed::new(machine, None)).collect();
        output.json_line(&json!({ "event": "machines", "machines": listed }))?;
    } else {
        output.note("Watching. Ctrl-C ends it.");
    }
    while let Some(event) = watch.next().await {
        if output.json {
            output.json_line(&match &event {
                LibraryEvent::MachineAdded(machine) => json!({ "event": "machine_added", "machine": Listed::new(machine, None) }),
                LibraryEvent::MachineChanged(machine) => json!({ "event": "machine_changed", "machine": Listed::new(machine, None) }),
                LibraryEvent::MachineRemoved { path, name } => json!({ "event": "machine_removed", "name": name, "path": path }),
                LibraryEvent::StateChanged { path, state } => json!({ "event": "state_changed", "path": path, "state": state }),
            })?;
            continue;
        }
        let name = |path: &std::path::Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let said = match &event {
            LibraryEvent::MachineAdded(machine) => format!("{} was added: {}", machine.name, machine.path.display()),
            LibraryEvent::MachineChanged(machine) => format!("{} was changed", machine.name),
            LibraryEvent::MachineRemoved { path, name } => format!("{name} was removed: {}", path.display()),
            LibraryEvent::StateChanged { path, state } => format!("{} is {state}", name(path)),
        };
        output.line(format!("{}  {said}", now()))?;
    }
    Err(Failure::new(ErrorKind::File, "The library can no longer be watched"))
}

/// An event for people.
fn sentence(event: &Event) -> String {
    match event {
        Event::StateChanged { from, to } => format!("{to} (was {from})"),
        Event::GuestReset { by_guest: true } => "the guest restarted".to_owned(),
        Event::GuestReset { by_guest: false } => "the reset button was pressed".to_owned(),
        Event::GuestPanicked { message } => match message {
            Some(message) => format!("the guest panicked: {message}"),
            None => "the guest panicked".to_owned(),
        },
        Event::IoError { drive, direction, reason, paused } => {
            let what = match direction {
                IoDirection::Read => "reading from",
                IoDirection::Write => "writing to",
            };
            let paused = if *paused { "; the machine was paused" } else { "" };
            format!("{what} drive {drive} failed: {reason}{paused}")
        }
        Event::MediumChanged { drive, inserted: true } => format!("a medium was inserted into drive {drive}"),
        Event::MediumChanged { drive, inserted: false } => format!("the medium of drive {drive} was removed"),
        Event::Warning { message } => format!("warning: {message}"),
        Event::Missed { count } => format!("{count} events were missed"),
        Event::Ended { ending } => format!("ended: {ending}"),
    }
}
