//! The states a machine can be in.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Where a machine is in its life.
///
/// The ten states of Apple's `VZVirtualMachine.State`; UTM's nine are the same without [`State::Error`]. Which operation is allowed in
/// which state is in [`crate::lifecycle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not running; nothing is held but the configuration.
    Stopped,
    /// Being started; no guest instruction has run yet.
    Starting,
    /// The guest runs.
    Running,
    /// On the way to [`State::Paused`].
    Pausing,
    /// The vCPUs stand still; memory and devices are kept.
    Paused,
    /// On the way back to [`State::Running`].
    Resuming,
    /// Being stopped without asking the guest.
    Stopping,
    /// The machine's state is being written to a file.
    Saving,
    /// The machine's state is being read from a file.
    Restoring,
    /// The backend failed. It can be started again.
    Error,
}

impl State {
    /// Every state, in declaration order.
    pub const ALL: [Self; 10] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Resuming,
        Self::Stopping,
        Self::Saving,
        Self::Restoring,
        Self::Error,
    ];

    /// The word used on the wire and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Stopping => "stopping",
            Self::Saving => "saving",
            Self::Restoring => "restoring",
            Self::Error => "error",
        }
    }

    /// Whether a backend process exists in this state.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Stopped | Self::Error)
    }

    /// Whether the state ends by itself, because an operation is under way.
    pub const fn is_transitional(self) -> bool {
        matches!(self, Self::Starting | Self::Pausing | Self::Resuming | Self::Stopping | Self::Saving | Self::Restoring)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
