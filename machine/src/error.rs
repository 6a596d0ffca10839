//! What can go wrong with a machine.

use crate::lifecycle::WrongState;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The result of an operation on a machine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is: stable, for programs to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The machine's state does not allow it.
    WrongState,
    /// There is no such drive, console or display.
    NotFound,
    /// The configuration cannot be run as it is.
    Configuration,
    /// Something that must be installed is missing or unusable.
    Missing,
    /// The backend refused or failed.
    Backend,
    /// The backend does not answer.
    Timeout,
    /// The operation is not possible on this machine or backend.
    Unsupported,
    /// A file could not be opened, read or written, or is in use.
    File,
    /// It was cancelled.
    Cancelled,
}

/// What was attempted, what the layer below said, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure with a sentence that says what was attempted and what went wrong.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// What the person can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the layer below said.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the person can do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message and those of its sources, joined with colons.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<WrongState> for Error {
    fn from(wrong: WrongState) -> Self {
        Self::new(ErrorKind::WrongState, wrong.to_string())
    }
}
