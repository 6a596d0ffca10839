//! The state machine, as data.
//!
//! ```text
//!             start                     pause
//!   Stopped ─────────► Starting ─► Running ─────► Pausing ─► Paused
//!      ▲  ▲               │         ▲  │                      │  │ save
//!      │  │   restore     ▼         │  └──────── stop ──┐     │  └─────► Saving ─► Paused
//!      │  └── Restoring ─► Paused   └── Resuming ◄──────┼─────┘ resume
//!      └───────────────────────────── Stopping ◄────────┘
//! ```
//!
//! [`RULES`] says which operation may begin in which state, which state holds while it runs and which one follows. What happens without
//! being asked for (the guest powers off, the backend dies) is an [`Observation`]. [`Lifecycle`] applies both; it is pure, so a property
//! test can walk it.

use crate::State;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What can be asked of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Bring it up.
    Start,
    /// Ask the guest to power off. The state changes only when the guest does it.
    RequestStop,
    /// End it without asking the guest.
    Stop,
    /// Halt the vCPUs.
    Pause,
    /// Let the vCPUs go on.
    Resume,
    /// Press the reset button.
    Reset,
    /// Write its state to a file.
    Save,
    /// Bring it up from a saved state, paused.
    Restore,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 8] =
        [Self::Start, Self::RequestStop, Self::Stop, Self::Pause, Self::Resume, Self::Reset, Self::Save, Self::Restore];

    /// The verb for a message: "cannot {verb} a machine that is paused".
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::RequestStop => "shut down",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reset => "reset",
            Self::Save => "save",
            Self::Restore => "restore",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The operation.
    pub operation: Operation,
    /// Where it may begin.
    pub from: &'static [State],
    /// The state while it runs; `None` where the state does not change meanwhile.
    pub during: Option<State>,
    /// The state when it has succeeded; `None` where it stays as it was.
    pub after: Option<State>,
    /// The state when it has failed; `None` for the state it began in.
    pub failed: Option<State>,
}

/// The table: one rule per operation.
pub const RULES: [Rule; 8] = [
    Rule {
        operation: Operation::Start,
        from: &[State::Stopped, State::Error],
        during: Some(State::Starting),
        after: Some(State::Running),
        failed: Some(State::Error),
    },
    Rule { operation: Operation::RequestStop, from: &[State::Running], during: None, after: None, failed: None },
    Rule {
        operation: Operation::Stop,
        // A machine that hangs while it is being started, paused or resumed must be stoppable all the same.
        from: &[State::Starting, State::Running, State::Pausing, State::Paused, State::Resuming, State::Restoring],
        during: Some(State::Stopping),
        after: Some(State::Stopped),
        failed: Some(State::Error),
    },
    Rule { operation: Operation::Pause, from: &[State::Running], during: Some(State::Pausing), after: Some(State::Paused), failed: None },
    Rule { operation: Operation::Resume, from: &[State::Paused], during: Some(State::Resuming), after: Some(State::Running), failed: None },
    Rule { operation: Operation::Reset, from: &[State::Running, State::Paused], during: None, after: None, failed: None },
    Rule { operation: Operation::Save, from: &[State::Paused], during: Some(State::Saving), after: Some(State::Paused), failed: None },
    Rule {
        operation: Operation::Restore,
        from: &[State::Stopped, State::Error],
        during: Some(State::Restoring),
        after: Some(State::Paused),
        failed: Some(State::Error),
    },
];

/// The rule of an operation.
pub fn rule(operation: Operation) -> &'static Rule {
    // Total: a test checks that each operation has exactly one rule.
    RULES.iter().find(|rule| rule.operation == operation).unwrap_or(&RULES[0])
}

/// An operation was asked for in a state that does not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongState {
    /// What was asked for.
    pub operation: Operation,
    /// The state the machine is in.
    pub state: State,
    /// Where it would have been allowed.
    pub allowed: &'static [State],
}

impl fmt::Display for WrongState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cannot {} a machine that is {}; it must be ", self.operation.verb(), self.state)?;
        for (index, state) in self.allowed.iter().enumerate() {
            let separator = match index {
                0 => "",
                _ if index + 1 == self.allowed.len() => " or ",
                _ => ", ",
            };
            write!(f, "{separator}{state}")?;
        }
        Ok(())
    }
}

impl std::error::Error for WrongState {}

/// Something that happened without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// The backend is gone, in an orderly way.
    Ended,
    /// The backend is gone or unusable, and should not be.
    Failed,
    /// The vCPUs stand still, for instance after an I/O error.
    Halted,
    /// The vCPUs run.
    Ran,
}

/// The state of one machine, and the operation under way.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    state: State,
    under_way: Option<(Operation, State)>,
}

impl Lifecycle {
    /// A machine in the given state, with nothing under way.
    pub const fn new(state: State) -> Self {
        Self { state, under_way: None }
    }

    /// The state now.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The operation under way, where the state is a transitional one.
    pub fn under_way(&self) -> Option<Operation> {
        self.under_way.map(|(operation, _)| operation)
    }

    /// Whether an operation may begin now.
    ///
    /// # Errors
    /// [`WrongState`] says where it could have.
    pub fn can(&self, operation: Operation) -> Result<&'static Rule, WrongState> {
        let rule = rule(operation);
        if rule.from.contains(&self.state) { Ok(rule) } else { Err(WrongState { operation, state: self.state, allowed: rule.from }) }
    }

    /// Begins an operation. [`Operation::Stop`] displaces whatever is under way.
    ///
    /// # Errors
    /// [`WrongState`] where the table does not allow it.
    pub fn begin(&mut self, operation: Operation) -> Result<State, WrongState> {
        let rule = self.can(operation)?;
        if let Some(during) = rule.during {
            self.under_way = Some((operation, self.state));
            self.state = during;
        }
        Ok(self.state)
    }

    /// Ends an operation that [`Self::begin`] began. Ignored where another one has displaced it meanwhile.
    pub fn finish(&mut self, operation: Operation, succeeded: bool) -> State {
        if let Some((current, began_in)) = self.under_way
            && current == operation
        {
            let rule = rule(operation);
            self.state = if succeeded { rule.after } else { rule.failed }.unwrap_or(began_in);
            self.under_way = None;
        }
        self.state
    }

    /// Takes note of what happened by itself.
    pub fn observe(&mut self, observation: Observation) -> State {
        match observation {
            Observation::Ended => {
                self.under_way = None;
                self.state = State::Stopped;
            }
            Observation::Failed => {
                self.under_way = None;
                self.state = State::Error;
            }
            Observation::Halted if self.state == State::Running => self.state = State::Paused,
            Observation::Ran if self.state == State::Paused => self.state = State::Running,
            Observation::Halted | Observation::Ran => {}
        }
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_operation_has_exactly_one_rule() {
        for operation in Operation::ALL {
            assert_eq!(RULES.iter().filter(|rule| rule.operation == operation).count(), 1, "{operation:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_states_that_would_do() {
        let error = Lifecycle::new(State::Paused).can(Operation::Pause).unwrap_err();
        assert_eq!(error.to_string(), "Cannot pause a machine that is paused; it must be running");
        let error = Lifecycle::new(State::Running).can(Operation::Start).unwrap_err();
        assert_eq!(error.to_string(), "Cannot start a machine that is running; it must be stopped or error");
    }

    #[test]
    fn a_stop_displaces_a_start_that_hangs() {
        let mut lifecycle = Lifecycle::new(State::Stopped);
        lifecycle.begin(Operation::Start).unwrap();
        lifecycle.begin(Operation::Stop).unwrap();
        assert_eq!(lifecycle.finish(Operation::Start, true), State::Stopping);
        assert_eq!(lifecycle.finish(Operation::Stop, true), State::Stopped);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(Operation),
        Finish(Operation, bool),
        Observe(Observation),
    }

    fn step() -> impl Strategy<Value = Step> {
        let operation = proptest::sample::select(Operation::ALL.to_vec());
        let observation = proptest::sample::select(vec![Observation::Ended, Observation::Failed, Observation::Halted, Observation::Ran]);
        prop_oneof![
            operation.clone().prop_map(Step::Begin),
            (operation, any::<bool>()).prop_map(|(operation, ok)| Step::Finish(operation, ok)),
            observation.prop_map(Step::Observe),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: a transitional state always has its operation, a lasting one never has, nothing but a
        /// start or a restore leaves a dead state, and an ended machine is stopped.
        #[test]
        fn walks_stay_inside_the_table(steps in proptest::collection::vec(step(), 0..64)) {
            let mut lifecycle = Lifecycle::new(State::Stopped);
            for step in steps {
                let before = lifecycle.state();
                match step {
                    Step::Begin(operation) => {
                        let allowed = rule(operation).from.contains(&before);
                        prop_assert_eq!(lifecycle.begin(operation).is_ok(), allowed);
                        if !allowed { prop_assert_eq!(lifecycle.state(), before); }
                    }
                    Step::Finish(operation, ok) => { lifecycle.finish(operation, ok); }
                    Step::Observe(observation) => { lifecycle.observe(observation); }
                }
                let after = lifecycle.state();
                prop_assert_eq!(after.is_transitional(), lifecycle.under_way().is_some());
                if !before.is_live() && after.is_live() {
                    prop_assert!(matches!(after, State::Starting | State::Restoring));
                }
            }
        }
    }
}
