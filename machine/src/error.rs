//! What can go wrong with a machine.

use crate::lifecycle::WrongState;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
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
        let source = source.into();
        if self.hint.is_none() {
            self.hint = usual_hint(&*source).map(str::to_owned);
        }
        self.source = Some(source);
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

    /// The message and those of its sources, as [`chain`] joins them.
    pub fn chain(&self) -> String {
        chain(self)
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

/// An error's message and those of its sources, joined with colons. A source that its error repeats is said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}

/// What to do about an error where whoever meets it knows nothing better: the kernel said at the bottom of it that something may not be done.
pub fn usual_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error| error.source()).filter_map(|error| error.downcast_ref::<io::Error>());
    let denied = causes.any(|error| error.kind() == io::ErrorKind::PermissionDenied);
    denied.then_some("Check who may read and write it, and enter the folders above it: `ls -ld` shows that, `chmod` and `chown` change it")
}

impl From<WrongState> for Error {
    fn from(wrong: WrongState) -> Self {
        Self::new(ErrorKind::WrongState, wrong.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_heard_once() {
        let error = |message: &str| Error::new(ErrorKind::File, message);
        let refused = || io::Error::other("refused");
        assert_eq!(
            error("Cannot start").with_source(error("cannot open a").with_source(refused())).chain(),
            "Cannot start: cannot open a: refused"
        );
        assert_eq!(error("Cannot open a: refused").with_source(refused()).chain(), "Cannot open a: refused");
    }

    #[test]
    fn only_what_may_not_be_done_has_a_usual_hint() {
        let error = |kind: io::ErrorKind| Error::new(ErrorKind::File, "Cannot start").with_source(io::Error::from(kind));
        assert!(error(io::ErrorKind::PermissionDenied).hint().is_some_and(|hint| hint.contains("chmod")));
        assert_eq!(error(io::ErrorKind::NotFound).hint(), None);
        assert_eq!(error(io::ErrorKind::PermissionDenied).with_hint("Ask").hint(), Some("Ask"));
    }
}
