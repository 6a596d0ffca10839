//! The state machine, as data.
//!
//! ```text
//!              start                      pause
//!   Stopped ──────────► Starting ─► Running ─────► Pausing ─► Paused ◄──► Saving
//!    ▲ ▲ ▲                │          ▲ │  ▲                    │ │ ▲
//!    │ │ └── failed ──────┘          │ │  └──── Resuming ◄─────┘ │ │
//!    │ │                             │ │                         │ │
//!    │ └──── the guest stops ────────┘ └──► Stopping ◄───────────┘ │
//!    │                                         │                   │
//!    └─────────────────────────────────────────┘                   │
//!   Stopped ──────────► Restoring ─────────────────────────────────┘
//! ```
//!
//! [`RULES`] says for each operation where it may begin, which state holds meanwhile and which follow. What happens without being asked
//! for (the guest powers off, the machine fails) is an [`Observation`]. [`Lifecycle`] applies both. It is pure: nothing else in the crate
//! decides about states, and a property test walks it.

use crate::State;

/// What can be asked of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Bring it up.
    Start,
    /// Ask the guest to power off. The state changes only when the guest does.
    RequestStop,
    /// End it without asking the guest.
    Stop,
    /// Halt the vCPUs.
    Pause,
    /// Let the vCPUs go on.
    Resume,
    /// Write its state to a file.
    Save,
    /// Bring it up from a saved state, paused.
    Restore,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 7] = [Self::Start, Self::RequestStop, Self::Stop, Self::Pause, Self::Resume, Self::Save, Self::Restore];

    /// The verb for a message: "a machine that is paused cannot be {participle}".
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::RequestStop => "asked to stop",
            Self::Stop => "stopped",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Save => "saved",
            Self::Restore => "restored",
        }
    }

    /// Its row of the table.
    pub const fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }

    /// Whether it may begin in this state: Apple's `canStart`, `canStop` and so on.
    pub fn is_allowed_in(self, state: State) -> bool {
        self.rule().from.contains(&state)
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The operation.
    pub operation: Operation,
    /// Where it may begin.
    pub from: &'static [State],
    /// The state meanwhile; `None` where it does not change.
    pub during: Option<State>,
    /// The state when it has succeeded; `None` where it does not change.
    pub after: Option<State>,
    /// The state when it has failed; `None` where it does not change.
    pub failed: Option<State>,
}

/// The table, in the order of [`Operation`].
pub const RULES: [Rule; 7] = {
    use State::*;
    const fn rule(
        operation: Operation,
        from: &'static [State],
        during: Option<State>,
        after: Option<State>,
        failed: Option<State>,
    ) -> Rule {
        Rule { operation, from, during, after, failed }
    }
    [
        rule(Operation::Start, &[Stopped, Error], Some(Starting), Some(Running), Some(Stopped)),
        rule(Operation::RequestStop, &[Running], None, None, None),
        rule(Operation::Stop, &[Running, Paused], Some(Stopping), Some(Stopped), Some(Error)),
        rule(Operation::Pause, &[Running], Some(Pausing), Some(Paused), Some(Error)),
        rule(Operation::Resume, &[Paused], Some(Resuming), Some(Running), Some(Error)),
        rule(Operation::Save, &[Paused], Some(Saving), Some(Paused), Some(Paused)),
        rule(Operation::Restore, &[Stopped], Some(Restoring), Some(Paused), Some(Stopped)),
    ]
};

/// What happens to a machine without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Observation {
    /// The guest powered off.
    GuestStopped,
    /// The machine cannot go on.
    Failed,
}

impl Observation {
    /// Every observation.
    pub const ALL: [Self; 2] = [Self::GuestStopped, Self::Failed];
}

/// Where a machine is, and what may happen to it next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    state: State,
    under_way: Option<Operation>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { state: State::Stopped, under_way: None }
    }
}

impl Lifecycle {
    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The operation that is under way.
    pub fn under_way(&self) -> Option<Operation> {
        self.under_way
    }

    /// Begins an operation; `false`, and nothing has changed, where the state does not allow it.
    pub fn begin(&mut self, operation: Operation) -> bool {
        if self.under_way.is_some() || !operation.is_allowed_in(self.state) {
            return false;
        }
        if let Some(during) = operation.rule().during {
            self.state = during;
            self.under_way = Some(operation);
        }
        true
    }

    /// Ends the operation that is under way, if one is.
    pub fn finish(&mut self, succeeded: bool) {
        let Some(operation) = self.under_way.take() else { return };
        let rule = operation.rule();
        self.state = if succeeded { rule.after } else { rule.failed }.unwrap_or(self.state);
    }

    /// Applies what happened by itself. An operation that was under way ends with it. `false`, and nothing has changed, where no guest
    /// runs that it could have happened to.
    pub fn observe(&mut self, observation: Observation) -> bool {
        if matches!(self.state, State::Stopped | State::Error) {
            return false;
        }
        self.under_way = None;
        self.state = match observation {
            Observation::GuestStopped => State::Stopped,
            Observation::Failed => State::Error,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Apple documents: the states in which each property is true.
    #[test]
    fn what_is_allowed_is_as_documented() {
        let allowed = |operation: Operation| State::ALL.into_iter().filter(|state| operation.is_allowed_in(*state)).collect::<Vec<_>>();
        assert_eq!(allowed(Operation::Start), [State::Stopped, State::Error]);
        assert_eq!(allowed(Operation::RequestStop), [State::Running]);
        assert_eq!(allowed(Operation::Stop), [State::Running, State::Paused]);
        assert_eq!(allowed(Operation::Pause), [State::Running]);
        assert_eq!(allowed(Operation::Resume), [State::Paused]);
        assert_eq!(allowed(Operation::Save), [State::Paused]);
        assert_eq!(allowed(Operation::Restore), [State::Stopped]);
    }

    #[test]
    fn the_rows_are_in_the_order_of_the_operations() {
        for operation in Operation::ALL {
            assert_eq!(operation.rule().operation, operation);
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Begin(Operation),
        Finish(bool),
        Observe(Observation),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::sample::select(Operation::ALL.to_vec()).prop_map(Step::Begin),
            any::<bool>().prop_map(Step::Finish),
            proptest::sample::select(Observation::ALL.to_vec()).prop_map(Step::Observe),
        ]
    }

    proptest! {
        #[test]
        fn every_walk_keeps_to_the_table(steps in proptest::collection::vec(step(), 0..60)) {
            let mut life = Lifecycle::default();
            for step in steps {
                let before = life;
                match step {
                    Step::Begin(operation) => {
                        let allowed = operation.is_allowed_in(before.state()) && before.under_way().is_none();
                        prop_assert_eq!(life.begin(operation), allowed);
                        let expected = if allowed { operation.rule().during.unwrap_or(before.state()) } else { before.state() };
                        prop_assert_eq!(life.state(), expected);
                    }
                    Step::Finish(succeeded) => {
                        life.finish(succeeded);
                        match before.under_way() {
                            None => prop_assert_eq!(life, before),
                            Some(operation) => {
                                let rule = operation.rule();
                                prop_assert_eq!(Some(life.state()), if succeeded { rule.after } else { rule.failed });
                            }
                        }
                    }
                    Step::Observe(observation) => {
                        let happened = life.observe(observation);
                        prop_assert_eq!(happened, !matches!(before.state(), State::Stopped | State::Error));
                        prop_assert!(!happened || matches!(life.state(), State::Stopped | State::Error));
                    }
                }
                // Something is under way exactly in the states that end by themselves, and nothing else can begin then.
                prop_assert_eq!(life.state().is_transitional(), life.under_way().is_some());
                if life.state().is_transitional() {
                    prop_assert!(Operation::ALL.iter().all(|operation| !operation.is_allowed_in(life.state())));
                }
            }
        }

        #[test]
        fn a_machine_at_rest_can_always_be_brought_to_run_and_to_stop(steps in proptest::collection::vec(step(), 0..30)) {
            let mut life = Lifecycle::default();
            for step in steps {
                match step {
                    Step::Begin(operation) => _ = life.begin(operation),
                    Step::Finish(succeeded) => life.finish(succeeded),
                    Step::Observe(observation) => _ = life.observe(observation),
                }
            }
            life.finish(true);
            if matches!(life.state(), State::Running | State::Paused) {
                prop_assert!(life.begin(Operation::Stop));
                life.finish(true);
            }
            prop_assert!(life.begin(Operation::Start));
            life.finish(true);
            prop_assert_eq!(life.state(), State::Running);
        }
    }
}
