//! What can go wrong between a client and its peer.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use crate::codec::ErrorClass;

/// A failure of a connection or a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket could not be reached.
    #[error("Could not connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came after connecting.
    #[error("No greeting within {after:?}; a monitor serves one client at a time, so another one may hold it")]
    NoGreeting {
        /// How long it took.
        after: Duration,
    },
    /// Something came, but not a greeting.
    #[error("The peer does not speak QMP; it sent `{seen}`")]
    NotQmp {
        /// What came, shortened and made printable.
        seen: String,
    },
    /// The peer refused or failed the command.
    #[error("`{command}` failed: {description}")]
    Command {
        /// The command.
        command: String,
        /// The kind of failure.
        class: ErrorClass,
        /// The peer's sentence about it.
        description: String,
    },
    /// No reply in time. The command may still happen.
    #[error("No reply to `{command}` within {after:?}")]
    Timeout {
        /// The command.
        command: String,
        /// How long it took.
        after: Duration,
    },
    /// The connection is gone. The command may have happened.
    #[error("The connection ended before `{command}` was answered")]
    Closed {
        /// The command.
        command: String,
        /// Why it is gone.
        source: Closed,
    },
    /// The peer answered, but not with what the command returns.
    #[error("The reply to `{command}` has an unexpected form")]
    Reply {
        /// The command.
        command: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The arguments cannot be written as JSON.
    #[error("Could not write the arguments of `{command}` as JSON")]
    Arguments {
        /// The command.
        command: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The descriptor to pass could not be duplicated.
    #[error("Could not duplicate the descriptor for `{command}`")]
    Descriptor {
        /// The command.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// Out-of-band execution was not offered by this peer.
    #[error("`{command}` cannot run out of band: the peer does not offer it")]
    NoOutOfBand {
        /// The command.
        command: String,
    },
}

impl Error {
    /// The class, when the peer refused the command.
    pub fn class(&self) -> Option<&ErrorClass> {
        match self {
            Self::Command { class, .. } => Some(class),
            _ => None,
        }
    }
}

/// Why a connection is gone.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// The peer closed it between messages.
    #[error("The peer closed the connection")]
    ByPeer,
    /// The peer closed it within a message.
    #[error("The peer closed the connection in the middle of a message: `{seen}`")]
    MidMessage {
        /// The start of the message, shortened and made printable.
        seen: String,
    },
    /// Every handle on this side was dropped.
    #[error("The client was dropped")]
    ByUs,
    /// Reading failed.
    #[error("Could not read from the peer")]
    Read(#[source] Arc<io::Error>),
    /// Writing failed.
    #[error("Could not write to the peer")]
    Write(#[source] Arc<io::Error>),
    /// The peer broke the protocol too badly to go on.
    #[error("The peer does not keep to the protocol: {seen}")]
    Protocol {
        /// The last thing that was wrong.
        seen: String,
    },
}
