//! One machine in the list.

use std::sync::Arc;

use library::{Activity, Condition, Machine};
use machine::{Capabilities, State};

use crate::fold::{folded, sort_key};
use crate::home::Tag;
use crate::{Command, Failure, Subject, Text, texts};

/// How a machine is, as its dot and the word beside it say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// It is in this state.
    State(State),
    /// It does not run, but somebody holds it.
    Busy,
    /// Its configuration cannot be read.
    Broken,
    /// Its bundle is not there, or may not be read.
    Unavailable,
}

/// The colour of a dot. Never alone: the word is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// It runs.
    Running,
    /// It stands still and goes on when it is told to.
    Paused,
    /// Something is wrong.
    Error,
    /// It does nothing.
    Stopped,
}

impl Mark {
    /// The state that decides what can be done; what is not running is stopped.
    pub const fn state(self) -> State {
        match self {
            Self::State(state) => state,
            Self::Busy | Self::Broken | Self::Unavailable => State::Stopped,
        }
    }

    /// In a word or two.
    pub const fn text(self) -> Text {
        match self {
            Self::State(State::Stopped) => texts::MARK_STOPPED,
            Self::State(State::Starting) => texts::MARK_STARTING,
            Self::State(State::Running) => texts::MARK_RUNNING,
            Self::State(State::Pausing) => texts::MARK_PAUSING,
            Self::State(State::Paused) => texts::MARK_PAUSED,
            Self::State(State::Resuming) => texts::MARK_RESUMING,
            Self::State(State::Stopping) => texts::MARK_STOPPING,
            Self::State(State::Saving) => texts::MARK_SAVING,
            Self::State(State::Restoring) => texts::MARK_RESTORING,
            Self::State(State::Error) => texts::MARK_FAILED,
            Self::Busy => texts::MARK_BUSY,
            Self::Broken => texts::MARK_BROKEN,
            Self::Unavailable => texts::MARK_UNAVAILABLE,
        }
    }

    /// Its colour.
    pub const fn tone(self) -> Tone {
        match self {
            Self::State(State::Stopped) | Self::Busy => Tone::Stopped,
            Self::State(State::Pausing | State::Paused | State::Saving | State::Restoring) => Tone::Paused,
            Self::State(State::Error) | Self::Broken | Self::Unavailable => Tone::Error,
            Self::State(_) => Tone::Running,
        }
    }
}

/// Which part of the list a machine is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// It has a process: it runs, is paused, or is on its way.
    Active,
    /// It has none. What is broken keeps its place among the others.
    Others,
}

impl Group {
    /// The heading above it.
    pub const fn text(self) -> Text {
        match self {
            Self::Active => texts::GROUP_ACTIVE,
            Self::Others => texts::GROUP_OTHERS,
        }
    }
}

/// What the list is sorted by. The path makes it unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub group: Group,
    pub name: String,
    pub path: std::path::PathBuf,
}

/// One machine in the list.
#[derive(Debug, Clone)]
pub struct Entry {
    machine: Machine,
    state: Option<State>,
    capabilities: Option<Capabilities>,
    working: usize,
    pub(super) key: Arc<Key>,
    /// What a search looks at.
    pub(super) sought: String,
}

impl Entry {
    pub(super) fn new(machine: Machine) -> Self {
        let key = Key { group: Group::Others, name: sort_key(&machine.name), path: machine.path.clone() };
        let mut entry = Self { machine, state: None, capabilities: None, working: 0, key: Arc::new(key), sought: String::new() };
        entry.settle();
        entry
    }

    /// The machine.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How it is.
    pub fn mark(&self) -> Mark {
        match (&self.machine.condition, self.state, self.machine.activity) {
            (_, Some(state), _) if state.is_live() => Mark::State(state),
            // It runs, and in which state is not known yet.
            (_, None, Activity::Running) => Mark::State(State::Running),
            (Condition::Broken(_), ..) => Mark::Broken,
            (Condition::Unavailable { .. }, ..) => Mark::Unavailable,
            (_, Some(State::Error), _) => Mark::State(State::Error),
            (_, _, Activity::Busy) => Mark::Busy,
            _ => Mark::State(State::Stopped),
        }
    }

    /// Which part of the list it is in.
    pub fn group(&self) -> Group {
        if self.mark().state().is_live() { Group::Active } else { Group::Others }
    }

    /// What is wrong with it, and what to do, where it cannot be used.
    pub fn failure(&self) -> Option<Failure> {
        let error = self.machine.usable().err()?;
        let cures = match (&self.machine.condition, self.machine.registered) {
            (Condition::Unavailable { .. }, true) => vec![Command::Unregister],
            (Condition::Unavailable { .. }, false) => Vec::new(),
            (_, true) => vec![Command::ShowFiles, Command::Unregister],
            (_, false) => vec![Command::ShowFiles, Command::Delete],
        };
        Some(Failure { cures, ..Failure::from(&error) })
    }

    /// What commands are asked of.
    pub fn subject(&self) -> Subject {
        Subject { mark: self.mark(), capabilities: self.capabilities, registered: self.machine.registered, working: self.working > 0 }
    }

    /// What it can be filtered by: facts, none of them written by hand.
    pub fn tags(&self) -> Vec<Tag> {
        let mut tags = Vec::new();
        if self.mark().tone() == Tone::Error || self.machine.duplicate_of.is_some() {
            tags.push(Tag::Attention);
        }
        if let Some(summary) = self.machine.summary() {
            tags.extend(summary.icon.clone().filter(|_| !summary.icon_custom).map(Tag::System));
            tags.push(Tag::Architecture(summary.architecture));
        }
        if self.machine.registered {
            tags.push(Tag::Elsewhere);
        }
        tags
    }

    /// One or two letters that stand for it where it has no icon, and a number from 0 to 7 for their colour. Both stay as they are while
    /// it has its name.
    pub fn badge(&self) -> (String, u8) {
        let mut letters = self.machine.name.chars().filter(|c| c.is_alphanumeric());
        let first = letters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
        let second = letters.next().map(|c| c.to_lowercase().collect::<String>()).unwrap_or_default();
        let sum = self.machine.name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        (first + &second, sum % 8)
    }

    pub(super) fn change(&mut self, machine: Machine) {
        self.machine = machine;
        self.settle();
    }

    pub(super) fn set_state(&mut self, state: State) {
        self.state = Some(state);
        self.machine.activity = if state.is_live() { Activity::Running } else { Activity::Stopped };
        self.settle();
    }

    pub(super) const fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = Some(capabilities);
    }

    pub(super) const fn set_working(&mut self, more: bool) {
        self.working = if more { self.working.saturating_add(1) } else { self.working.saturating_sub(1) };
    }

    /// Brings what is derived up to date.
    fn settle(&mut self) {
        let key = Key { group: self.group(), name: sort_key(&self.machine.name), path: self.machine.path.clone() };
        if *self.key != key {
            self.key = Arc::new(key);
        }
        let summary = self.machine.summary();
        let facts =
            summary.map(|summary| format!("\n{}\n{}\n{}", summary.architecture, summary.target, summary.icon.as_deref().unwrap_or("")));
        self.sought = folded(&format!("{}{}", self.machine.name, facts.unwrap_or_default()));
    }
}
