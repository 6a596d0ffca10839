//! What can go wrong with a display.

use machine::ErrorKind;
use std::io;
use std::time::Duration;

/// The result of anything asked of a display.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a display did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("The display did not {what} within {} s", .after.as_secs())]
    Timeout {
        /// What it was asked to do.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// It refused.
    #[error("The display refused to {what}: {said}")]
    Refused {
        /// What it was asked to do.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// The connection broke, or what came over it makes no sense.
    #[error("The display did not {what}")]
    Connection {
        /// What it was asked to do.
        what: &'static str,
        /// What the connection says.
        source: zbus::Error,
    },
    /// There is no such head.
    #[error("The machine shows no display {0}")]
    NoHead(usize),
    /// An answer is larger than anything that is taken.
    #[error("The display answered with {0} bytes, which is too much")]
    TooLarge(usize),
    /// The system refused.
    #[error("Cannot make a connection to the display")]
    Io(#[from] io::Error),
}

/// Gives an error of the connection its meaning.
pub(crate) fn failed(what: &'static str) -> impl Fn(zbus::Error) -> Error {
    move |error| match &error {
        zbus::Error::MethodError(name, said, _) => Error::Refused { what, said: said.clone().unwrap_or_else(|| name.to_string()) },
        zbus::Error::FDO(said) => Error::Refused { what, said: said.to_string() },
        zbus::Error::InputOutput(io) if io.kind() == io::ErrorKind::TimedOut => Error::Timeout { what, after: crate::connection::PATIENCE },
        _ => Error::Connection { what, source: error },
    }
}

impl From<Error> for machine::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Timeout { .. } => ErrorKind::Timeout,
            Error::Refused { .. } => ErrorKind::Unsupported,
            Error::NoHead(_) => ErrorKind::NotFound,
            Error::Connection { .. } | Error::TooLarge(_) | Error::Io(_) => ErrorKind::Backend,
        };
        let message = error.to_string();
        match error {
            Error::Connection { source, .. } => Self::new(kind, message).with_source(source),
            Error::Io(source) => Self::new(kind, message).with_source(source),
            _ => Self::new(kind, message),
        }
    }
}
