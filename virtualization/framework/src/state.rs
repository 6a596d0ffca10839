//! The states of a machine.

use std::fmt;

/// Where a machine is in its life. Apple: `VZVirtualMachineState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It does not run. The state that a machine begins in.
    Stopped,
    /// The guest runs.
    Running,
    /// The vCPUs stand still; memory and devices are kept.
    Paused,
    /// It failed. It can be started again.
    Error,
    /// On the way to [`State::Running`]; no guest instruction has run yet.
    Starting,
    /// On the way to [`State::Paused`].
    Pausing,
    /// On the way back to [`State::Running`].
    Resuming,
    /// Being stopped without asking the guest.
    Stopping,
    /// Its state is being written to a file.
    Saving,
    /// Its state is being read from a file.
    Restoring,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Stopped,
        Self::Running,
        Self::Paused,
        Self::Error,
        Self::Starting,
        Self::Pausing,
        Self::Resuming,
        Self::Stopping,
        Self::Saving,
        Self::Restoring,
    ];

    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Error => "error",
            Self::Starting => "starting",
            Self::Pausing => "pausing",
            Self::Resuming => "resuming",
            Self::Stopping => "stopping",
            Self::Saving => "saving",
            Self::Restoring => "restoring",
        }
    }

    /// Whether an operation is under way, so that the state changes by itself.
    pub const fn is_transitional(self) -> bool {
        !matches!(self, Self::Stopped | Self::Running | Self::Paused | Self::Error)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
