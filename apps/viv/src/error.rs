//! Why a command failed, as a person and a script see it: a sentence, what the layer below said, the next step, an exit code.

use bundle::Problem;
use library::FindError;
use machine::ErrorKind;
use serde::{Serialize, Serializer};
use std::io;
use std::process::ExitCode;
use supervisor_api::launch::LaunchError;
use supervisor_api::wire;
use supervisor_api::{ClientError, PlacesError};

/// The result of a command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The exit codes, as `viv help` and the man page show them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; the error says why and what to do next
  2  the command line makes no sense
  3  no machine (or drive, file, key) goes by that name, or several do
  4  the machine's state does not allow it: not running, already running, …";

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was attempted and went wrong.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nothing, or more than one thing, goes by that name.
    NotFound = 3,
    /// The machine's state does not allow it.
    WrongState = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What kind of failure it is; on the wire as one lower-case word, for scripts to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A kind that the layers below know.
    Machine(ErrorKind),
    /// The command line makes no sense.
    Usage,
    /// Several machines go by that name.
    Ambiguous,
    /// There is something of that name already.
    Exists,
    /// The disk is full.
    NoSpace,
    /// Nobody reads what is printed any more: not a failure at all.
    Silent,
    /// A signal ended it.
    Signal(i32),
    /// The failure has been printed as the command's answer; only the exit code is left to say.
    Answered,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Ambiguous => "ambiguous",
            Self::Exists => "exists",
            Self::NoSpace => "no_space",
            Self::Silent | Self::Answered => "failed",
            Self::Signal(_) => "cancelled",
            Self::Machine(kind) => match kind {
                ErrorKind::WrongState => "wrong_state",
                ErrorKind::NotFound => "not_found",
                ErrorKind::Configuration => "configuration",
                ErrorKind::Missing => "missing",
                ErrorKind::Backend => "backend",
                ErrorKind::Timeout => "timeout",
                ErrorKind::Unsupported => "unsupported",
                ErrorKind::File => "file",
                ErrorKind::Cancelled => "cancelled",
            },
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Usage => Exit::Usage,
            Self::Ambiguous | Self::Machine(ErrorKind::NotFound) => Exit::NotFound,
            Self::Machine(ErrorKind::WrongState) => Exit::WrongState,
            _ => Exit::Failed,
        }
    }
}

impl From<ErrorKind> for Kind {
    fn from(kind: ErrorKind) -> Self {
        Self::Machine(kind)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a command failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: Kind,
    /// What was attempted and what went wrong.
    pub message: String,
    /// What the layers below said.
    pub details: Option<String>,
    /// The next step.
    pub hint: Option<String>,
    /// What is wrong with a configuration, key by key, where that is what failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Failure {
    /// A failure with a sentence that says what was attempted and what went wrong.
    pub fn new(kind: impl Into<Kind>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), details: None, hint: None, problems: Vec::new() }
    }

    /// What the person can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the layer below said.
    #[must_use]
    pub fn with_source(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        self.details = Some(machine::chain(source));
        if self.hint.is_none() {
            self.hint = machine::usual_hint(source).map(str::to_owned);
        }
        self
    }

    /// The exit code.
    pub fn exit(&self) -> ExitCode {
        match self.kind {
            Kind::Silent => ExitCode::SUCCESS,
            // As shells report a program that a signal ended.
            Kind::Signal(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
            kind => kind.exit().into(),
        }
    }

    /// Message and details in one line.
    pub fn sentence(&self) -> String {
        match &self.details {
            Some(details) => format!("{}: {details}", self.message),
            None => self.message.clone(),
        }
    }

    /// An I/O error with what was attempted.
    pub fn io(attempt: impl Into<String>, error: &io::Error) -> Self {
        Self::new(ErrorKind::File, attempt).with_source(error)
    }
}

impl From<library::ErrorKind> for Kind {
    fn from(kind: library::ErrorKind) -> Self {
        match kind {
            library::ErrorKind::NotFound => ErrorKind::NotFound.into(),
            library::ErrorKind::Ambiguous => Self::Ambiguous,
            library::ErrorKind::WrongState => ErrorKind::WrongState.into(),
            library::ErrorKind::Exists => Self::Exists,
            library::ErrorKind::Invalid => ErrorKind::Configuration.into(),
            library::ErrorKind::Unsupported => ErrorKind::Unsupported.into(),
            library::ErrorKind::Missing => ErrorKind::Missing.into(),
            library::ErrorKind::NoSpace => Self::NoSpace,
            library::ErrorKind::Cancelled => ErrorKind::Cancelled.into(),
            library::ErrorKind::Timeout => ErrorKind::Timeout.into(),
            library::ErrorKind::Supervisor => ErrorKind::Backend.into(),
            library::ErrorKind::Io | _ => ErrorKind::File.into(),
        }
    }
}

impl From<library::Error> for Failure {
    fn from(error: library::Error) -> Self {
        let failure = Self { problems: error.problems().to_vec(), ..Self::new(error.kind(), error.to_string()) };
        let failure = match std::error::Error::source(&error) {
            Some(source) => failure.with_source(source),
            None => failure,
        };
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        match &error {
            FindError::NotFound { suggestions, .. } => {
                let failure = Self::new(ErrorKind::NotFound, error.to_string());
                match suggestions.as_slice() {
                    [] => failure.with_hint("`viv list` shows every machine; `viv create` and `viv import` make one"),
                    [names @ .., last] if !names.is_empty() => {
                        failure.with_hint(format!("Did you mean \"{}\" or \"{last}\"?", names.join("\", \"")))
                    }
                    [name, ..] => failure.with_hint(format!("Did you mean \"{name}\"?")),
                }
            }
            FindError::Ambiguous { candidates, .. } => {
                let paths: Vec<String> = candidates.iter().map(|machine| format!("\n  {}", machine.path.display())).collect();
                Self::new(Kind::Ambiguous, error.to_string())
                    .with_hint(format!("Write more of the name, the UUID, or the path of the bundle:{}", paths.concat()))
            }
        }
    }
}

impl From<wire::Failure> for Failure {
    fn from(failure: wire::Failure) -> Self {
        Self { details: failure.details, hint: failure.hint, ..Self::new(failure.kind, failure.message) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(failure) => failure.into(),
            ClientError::Absent { ref source, .. } => Self::new(ErrorKind::WrongState, error.to_string())
                .with_source(source)
                .with_hint("`viv status MACHINE` says whether it runs; `viv start MACHINE` starts it"),
            ClientError::Timeout(_) => Self::new(ErrorKind::Timeout, error.to_string())
                .with_hint("The supervisor may be busy or stuck: `viv logs MACHINE --source supervisor` shows what it said"),
            ClientError::Protocol(_) => Self::new(ErrorKind::Backend, error.to_string())
                .with_hint("Were `viv` and the machine's supervisor installed together? Stop and start the machine after an update"),
        }
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::Refused(failure) => failure.into(),
            LaunchError::NotFound { .. } => Self::new(ErrorKind::Missing, error.to_string())
                .with_hint("Install vivarium-supervisor beside viv (`cargo build --release` makes both), or set VIVARIUM_SUPERVISOR"),
            LaunchError::Spawn { .. } => {
                let failure = Self::new(error.kind(), error.to_string());
                match std::error::Error::source(&error) {
                    Some(source) => failure.with_source(source),
                    None => failure,
                }
            }
            LaunchError::NoAnswer { .. } => Self::new(error.kind(), error.to_string()).with_hint("`viv doctor` checks the installation"),
        }
    }
}

impl From<PlacesError> for Failure {
    fn from(error: PlacesError) -> Self {
        let failure = Self::new(ErrorKind::File, error.to_string());
        let failure = match std::error::Error::source(&error) {
            Some(source) => failure.with_source(source),
            None => failure,
        };
        match error {
            PlacesError::NoHome => failure.with_hint("Set VIVARIUM_HOME to the folder that shall hold machines"),
            PlacesError::Relative { .. } => failure.with_hint("Set it to a path that begins with /"),
            PlacesError::Runtime { .. } | PlacesError::Unsafe { .. } => {
                failure.with_hint("Make it yours with mode 0700, or set XDG_STATE_HOME to a folder of your own")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_kind() {
        let code = |kind: Kind| kind.exit() as u8;
        assert_eq!(code(ErrorKind::NotFound.into()), 3);
        assert_eq!(code(Kind::Ambiguous), 3);
        assert_eq!(code(ErrorKind::WrongState.into()), 4);
        assert_eq!(code(Kind::Usage), 2);
        assert_eq!(code(ErrorKind::Backend.into()), 1);
    }

    #[test]
    fn what_the_layer_below_said_follows() {
        let failure = Failure::io("Cannot read x", &io::Error::other("no"));
        assert_eq!(failure.sentence(), "Cannot read x: no");
    }
}
