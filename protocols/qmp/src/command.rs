//! What a typed command is.

use serde::{Serialize, de::DeserializeOwned};

/// A command: its fields are the arguments, by their names on the wire.
///
/// [`crate::commands`] has those of QEMU's monitor, [`crate::agent`] those of the guest agent; anything else can be sent with
/// [`crate::Client::execute_raw`].
pub trait Command: Serialize {
    /// The name on the wire.
    const NAME: &'static str;
    /// What it returns.
    type Return: DeserializeOwned;
}

/// The return of a command that returns nothing. Accepts any value, as newer peers may return something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl<'de> serde::Deserialize<'de> for Nothing {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer)?;
        Ok(Self)
    }
}
