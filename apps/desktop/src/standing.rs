//! How a machine is, as its windows know it from what they are told.

use std::path::Path;

use machine::{Ending, Event, State};
use supervisor_api::wire::Status;
use view_model::window::{Connection, Overlay, words};
use view_model::{Failure, Message, Subject};

use crate::display::menus::subject;

/// How a machine is.
#[derive(Debug)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// What its supervisor says, or what is left of its last run.
    pub status: Option<Box<Status>>,
    /// How its last run ended.
    pub ending: Option<Ending>,
    /// Why it cannot be known.
    pub failed: Option<Failure>,
    /// Whether it is no longer there.
    pub gone: bool,
    /// How the window is connected.
    pub connection: Connection,
    /// How many things are being done to it here.
    pub working: usize,
}

impl Standing {
    /// Of a machine that nothing has been told of.
    pub fn new(path: &Path) -> Self {
        Self {
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            state: State::Stopped,
            status: None,
            ending: None,
            failed: None,
            gone: false,
            connection: Connection::Opening,
            working: 0,
        }
    }

    /// This is where things stand.
    pub fn stands(&mut self, status: Box<Status>) {
        self.name.clone_from(&status.name);
        self.state = status.state;
        self.ending = status.last_run.as_ref().map(|run| run.ending.clone());
        (self.failed, self.gone) = (None, false);
        self.status = Some(status);
    }

    /// This happened to the machine.
    pub fn happened(&mut self, event: Event) {
        match event {
            Event::StateChanged { to, .. } => {
                if to.is_live() && !self.state.is_live() {
                    self.ending = None;
                }
                self.state = to;
            }
            Event::Ended { ending } => {
                self.state = if ending.reason.is_failure() { State::Error } else { State::Stopped };
                self.ending = Some(ending);
            }
            _ => {}
        }
    }

    /// Something is being done to it; `starts` where that starts it.
    pub fn begins(&mut self, starts: bool) {
        self.working += 1;
        if starts {
            // Until it tells so itself.
            self.state = State::Starting;
        }
    }

    /// It was done; `not_started` where it should have been started and was not.
    pub fn ends(&mut self, not_started: bool) {
        self.working = self.working.saturating_sub(1);
        if not_started && self.state == State::Starting {
            self.state = State::Stopped;
        }
    }

    /// What commands are asked of.
    pub fn subject(&self) -> Subject {
        subject(self.state, self.status.as_ref().map(|status| status.capabilities), self.working > 0)
    }

    /// What is said where the machine itself is not to be seen.
    pub fn trouble(&self) -> Option<Overlay> {
        if self.gone {
            return Some(Overlay { title: words::GONE.into(), help: Some(words::GONE_HELP.into()), log: Vec::new(), commands: Vec::new() });
        }
        let failure = self.failed.as_ref()?;
        let help = failure.hint.clone().or_else(|| failure.why.clone()).map(Message::said);
        Some(Overlay { title: Message::said(failure.what.clone()), help, log: Vec::new(), commands: failure.cures.clone() })
    }

    /// Whether what is said is something that passes by itself.
    pub fn is_on_its_way(&self) -> bool {
        let opening = self.state == State::Running && self.connection == Connection::Opening;
        !self.gone && self.failed.is_none() && (self.state.is_transitional() || opening)
    }
}
