//! `viv list`.

use crate::context::Context;
use crate::describe::{Listed, backend, cpus, memory};
use crate::error::Result;
use crate::output::Cell;
use library::{Activity, Machine};
use machine::State;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;

/// A supervisor that needs longer than this to say its machine's state is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// List the machines
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  viv list
  viv list --running
  viv list --json | jq -r '.[] | select(.state == \"running\") | .name'

The state is one of stopped, starting, running, pausing, paused, resuming, stopping, saving, restoring, error; or busy (being changed or \
copied), broken (`viv inspect` says why), unavailable (its disk is not there)."
)]
pub struct Args {
    /// Only those that run
    #[arg(long, short)]
    running: bool,
    /// Also UUIDs and paths
    #[arg(long, short)]
    long: bool,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let mut machines = context.library.machines();
    if args.running {
        machines.retain(|machine| machine.activity == Activity::Running);
    }
    let states = states(context, &machines).await;
    let listed: Vec<Listed<'_>> = machines.iter().map(|machine| Listed::new(machine, states.get(&machine.path).copied())).collect();
    let output = &context.output;
    if output.json {
        return output.json(&listed);
    }
    if listed.is_empty() {
        if args.running {
            output.note("No machine runs.");
        } else {
            output.note("No machines yet. `viv create Debian --iso FILE` makes one, `viv import FILE` takes one in.");
        }
        return Ok(());
    }
    let mut header = vec!["NAME", "STATE", "ARCHITECTURE", "CPUS", "MEMORY", "BACKEND"];
    if args.long {
        header.extend(["UUID", "PATH"]);
    }
    output.table(
        &header,
        listed.iter().map(|machine| {
            let text = |value: Option<String>| Cell::new(value.unwrap_or_else(|| "-".to_owned()));
            let mut row = vec![
                Cell::new(machine.name),
                machine.state_cell(),
                text(machine.architecture.map(str::to_owned)),
                text(machine.cpus.map(cpus)),
                text(machine.memory_mib.map(memory)),
                text(machine.backend.map(|kind| backend(kind).to_owned())),
            ];
            if args.long {
                row.push(text(machine.uuid.map(|uuid| uuid.to_string())));
                row.push(Cell::new(machine.path.display()));
            }
            row
        }),
    )?;
    let broken = listed.iter().filter(|machine| machine.state == "broken").count();
    if broken > 0 {
        output.note("`viv inspect NAME` says what is wrong with a broken machine.");
    }
    Ok(())
}

/// The states of those that run, asked of their supervisors at the same time.
async fn states(context: &Context, machines: &[Machine]) -> HashMap<PathBuf, State> {
    let mut questions = JoinSet::new();
    for machine in machines.iter().filter(|machine| machine.activity == Activity::Running) {
        let (library, machine) = (context.library.clone(), machine.clone());
        questions.spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, library.status(&machine)).await;
            (machine.path, answer.ok().and_then(Result::ok).map_or(State::Running, |status| status.state))
        });
    }
    let mut states = HashMap::new();
    while let Some(answered) = questions.join_next().await {
        states.extend(answered.ok());
    }
    states
}
