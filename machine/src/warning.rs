//! What a person should know about a run that is under way all the same.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something about a run that is not as somebody may think.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// It, in words.
    pub message: String,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// The processor is emulated although the configuration asks for a hypervisor.
    Accelerator,
    /// Additional arguments came with the bundle, and nobody here has confirmed them.
    Arguments,
    /// The bundle's configuration is no longer what the machine was started from, and cannot be read.
    Bundle,
    /// Something that the configuration asks for is done otherwise, or not at all.
    Configuration,
    /// The guest is told anew at each start that it is a copy.
    Generation,
    /// A removable drive's medium is not there.
    Medium,
    /// Media and a shared folder that an old bundle names are to be chosen again.
    Migration,
    /// The shared folder is not there.
    SharedFolder,
}

impl WarningKind {
    /// A warning of this kind.
    pub fn says(self, message: impl Into<String>) -> Warning {
        Warning { kind: self, message: message.into() }
    }

    /// Whether it is about something that somebody chose for the machine and that is missing from this run.
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::Arguments | Self::Medium | Self::Migration | Self::SharedFolder)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
