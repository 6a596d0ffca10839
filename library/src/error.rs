//! What can go wrong with the machines of a person.

use std::fmt;
use std::io;

use bundle::Problem;

/// The result of an operation of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is: stable, for programs to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such machine, drive or file.
    NotFound,
    /// More than one machine is meant.
    Ambiguous,
    /// The machine's state does not allow it: it runs, it does not run, or somebody else is changing it.
    WrongState,
    /// Something of that name is already there.
    Exists,
    /// What was asked for, or what was read, makes no sense as it is; [`Error::problems`] may say more.
    Invalid,
    /// It is not possible with this kind of machine, file or host.
    Unsupported,
    /// Something that must be installed is missing.
    Missing,
    /// There is not enough free space.
    NoSpace,
    /// A file could not be opened, read or written.
    Io,
    /// It was cancelled.
    Cancelled,
    /// Somebody did not answer or the guest did not stop in time.
    Timeout,
    /// The supervisor refused or failed.
    Supervisor,
}

/// What was attempted, what the layer below said, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    problems: Vec<Problem>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure with a sentence that says what was attempted and what went wrong.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, problems: Vec::new(), source: None }
    }

    /// A failure of a file operation. A full disk is recognised.
    pub fn io(message: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ErrorKind::NoSpace,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        let error = Self::new(kind, message).with_source(source);
        if kind == ErrorKind::NoSpace { error.with_hint("Free some space, or use another file system") } else { error }
    }

    /// What the person can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is wrong with a configuration.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// What the layer below said.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        if self.hint.is_none() {
            self.hint = machine::usual_hint(&*source).map(str::to_owned);
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

    /// What is wrong with a configuration, where that is what failed.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The message and those of its sources, as [`machine::chain`] joins them.
    pub fn chain(&self) -> String {
        machine::chain(self)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "Cancelled")
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
