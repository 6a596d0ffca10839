//! What can go wrong with a SPICE session.

use machine::ErrorKind;
use std::io;

/// The result of anything asked of a session.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session has ended.
    #[error("The connection to the machine's SPICE server has ended")]
    Closed,
    /// The thread could not be started.
    #[error("Cannot start the thread of the SPICE session")]
    Thread(#[source] io::Error),
    /// No agent answers.
    #[error("No SPICE agent runs in the guest")]
    NoAgent,
    /// The policy does not allow it.
    #[error("The clipboard's policy does not allow that")]
    Policy,
    /// The guest offers no such content.
    #[error("The guest's clipboard holds nothing of that kind")]
    NotOffered,
    /// More than anything that is taken.
    #[error("{what} of {bytes} bytes is too much")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much of it.
        bytes: usize,
    },
    /// There is no such thing.
    #[error("There is no {what} {name}")]
    NotFound {
        /// What.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// The machine or the library cannot do it.
    #[error("{what} is not possible: {why}")]
    Unsupported {
        /// What.
        what: &'static str,
        /// What the layer below said.
        why: String,
    },
    /// The library, the server or the guest refused.
    #[error("Cannot {what}: {said}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What the layer below said.
        said: String,
    },
}

impl From<Error> for machine::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoAgent | Error::NotOffered | Error::NotFound { .. } => ErrorKind::NotFound,
            Error::Policy | Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::TooLarge { .. } => ErrorKind::Configuration,
            Error::Closed | Error::Thread(_) | Error::Refused { .. } => ErrorKind::Backend,
        };
        let message = error.to_string();
        match error {
            Error::NoAgent => Self::new(kind, message).with_hint("install spice-vdagent in the guest, and log in to its desktop"),
            Error::Thread(source) => Self::new(kind, message).with_source(source),
            _ => Self::new(kind, message),
        }
    }
}
