//! A machine as `viv list` and the verbs that make one print it.

use crate::error::Result;
use crate::output::{Cell, Color, Output, bytes};
use bundle::Problem;
use library::{Condition, Machine, Made};
use machine::State;
use serde::Serialize;
use std::path::Path;
use uuid::Uuid;

/// A machine in JSON. Stable: fields are added, never renamed or removed.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UUID; null where the configuration cannot be read.
    pub uuid: Option<Uuid>,
    /// A word of [`State`], or `busy`, `broken`, `unavailable`.
    pub state: &'a str,
    /// `qemu` or `native`; null, like what follows, where the configuration cannot be read.
    pub backend: Option<machine::BackendKind>,
    /// The guest's architecture.
    pub architecture: Option<&'a str>,
    /// QEMU's machine type.
    pub machine: Option<&'a str>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// vCPUs; 0 where the host decides.
    pub cpus: Option<u32>,
    /// The bundle.
    pub path: &'a Path,
    /// What names it among sockets and logs.
    pub id: &'a str,
    /// Whether it lies outside the library's folder.
    pub registered: bool,
    /// Another machine that has the same UUID.
    pub duplicate_of: Option<&'a Path>,
    /// Why it is unavailable.
    pub reason: Option<&'a str>,
    /// What was noticed when its configuration was read.
    pub problems: &'a [Problem],
}

impl<'a> Listed<'a> {
    /// A machine, with its state where that was asked for.
    pub fn new(machine: &'a Machine, state: Option<State>) -> Self {
        let summary = machine.summary();
        let (word, reason) = match &machine.condition {
            Condition::Usable(_) => (state.map_or(machine.activity.as_str(), State::as_str), None),
            Condition::Broken(_) => (state.map_or("broken", State::as_str), None),
            Condition::Unavailable { why, .. } => ("unavailable", Some(why.as_str())),
        };
        Self {
            name: &machine.name,
            uuid: machine.uuid,
            state: word,
            backend: summary.map(|summary| summary.backend),
            architecture: summary.map(|summary| summary.architecture.as_str()),
            machine: summary.map(|summary| summary.target.as_str()).filter(|target| !target.is_empty()),
            memory_mib: summary.map(|summary| summary.memory_mib),
            cpus: summary.map(|summary| summary.cpu_count),
            path: &machine.path,
            id: &machine.id,
            registered: machine.registered,
            duplicate_of: machine.duplicate_of.as_deref(),
            reason,
            problems: machine.problems(),
        }
    }

    /// The state, coloured.
    pub fn state_cell(&self) -> Cell {
        match State::ALL.iter().find(|state| state.as_str() == self.state) {
            Some(state) => (*state).into(),
            None if self.state == "busy" => Cell::new(self.state).color(Color::Yellow),
            None => Cell::new(self.state).color(Color::Red),
        }
    }
}

/// What runs a machine, in a word.
pub const fn backend(kind: machine::BackendKind) -> &'static str {
    match kind {
        machine::BackendKind::Qemu => "qemu",
        machine::BackendKind::Native => "native",
        machine::BackendKind::Fake => "fake",
    }
}

/// A number of vCPUs, 0 of which means that the host decides.
pub fn cpus(count: u32) -> String {
    if count == 0 { "auto".to_owned() } else { count.to_string() }
}

/// Memory in MiB for people.
pub fn memory(mib: u64) -> String {
    bytes(mib.saturating_mul(1 << 20))
}

/// Prints a machine that was made, and what a person should know about it.
pub fn made(output: &Output, made: &Made, verb: &str) -> Result {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(flatten)]
        machine: Listed<'a>,
        notes: &'a [String],
    }
    let machine = &made.machine;
    if !output.json {
        for note in &made.notes {
            output.note(format_args!("note: {note}"));
        }
    }
    output.done(
        &Answer { machine: Listed::new(machine, None), notes: &made.notes },
        format!("{verb} \"{}\": {}", machine.name, machine.path.display()),
    )
}
