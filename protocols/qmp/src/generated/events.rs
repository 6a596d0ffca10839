//! Events.

use crate::codec::RawEvent;

/// An event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// One that this crate does not know.
    Other(RawEvent),
}

impl From<RawEvent> for Event {
    fn from(raw: RawEvent) -> Self {
        Self::Other(raw)
    }
}
