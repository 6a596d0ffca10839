//! What can go wrong, for whoever uses the framework.

use std::fmt;

use crate::configuration::ConfigurationError;

/// The result of most operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What kind of failure it is; stable, to be matched on. Apple: `VZErrorCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something failed that should not have; the machine may have stopped.
    Internal,
    /// The configuration has problems; [`Error::problems`] lists them.
    InvalidConfiguration,
    /// The machine is in a state in which this cannot be done.
    InvalidState,
    /// A disk image has an unknown format, is damaged or is in use.
    InvalidDiskImage,
    /// The host refuses what the machine needs: a missing `/dev/kvm`, no permission, no memory.
    Host,
    /// A network attachment failed.
    Network,
    /// The machine's state could not be saved; the machine is as it was.
    Save,
    /// The machine could not be restored: the state is damaged, of another machine, or of another computer.
    Restore,
    /// This engine does not have what was asked for.
    NotSupported,
    /// The machine ended before the operation did.
    Cancelled,
}

/// A failure: its kind, what was attempted, and what the layer below said ([`std::error::Error::source`]).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn because(kind: ErrorKind, message: impl Into<String>, source: impl Into<Source>) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Every problem of a configuration, where that is what failed.
    pub fn problems(&self) -> &[crate::Problem] {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<ConfigurationError>());
        source.map_or(&[], ConfigurationError::problems)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<ConfigurationError> for Error {
    fn from(error: ConfigurationError) -> Self {
        Self::because(ErrorKind::InvalidConfiguration, "The configuration of the machine is not valid", error)
    }
}
