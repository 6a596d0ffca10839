//! What a machine is asked to do.

use std::path::PathBuf;

use crate::lifecycle::Operation;
use crate::machine::StartOptions;

/// An operation with what it needs.
#[derive(Debug)]
pub(crate) enum Task {
    Start(#[cfg_attr(target_os = "linux", expect(dead_code, reason = "what there is to say in it only a Mac understands"))] StartOptions),
    RequestStop,
    Stop,
    Pause,
    Resume,
    Save(PathBuf),
    Restore(PathBuf),
}

impl Task {
    /// The operation.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Start(_) => Operation::Start,
            Self::RequestStop => Operation::RequestStop,
            Self::Stop => Operation::Stop,
            Self::Pause => Operation::Pause,
            Self::Resume => Operation::Resume,
            Self::Save(_) => Operation::Save,
            Self::Restore(_) => Operation::Restore,
        }
    }
}
