//! What happens at a monitor, as a bounded stream that never holds up replies.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    codec::{RawEvent, Timestamp},
    generated::events::Event,
};

/// What a receiver of events gets.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "made one at a time and taken apart at once")]
pub enum Notice {
    /// Something happened.
    Event {
        /// What.
        event: Event,
        /// When, by the peer's clock.
        timestamp: Timestamp,
    },
    /// This many events were dropped because the receiver was too slow. What it knows of the machine's state has to be asked for again.
    Missed(u64),
}

/// A receiver of events.
#[derive(Debug)]
pub struct Events {
    receiver: Option<broadcast::Receiver<Arc<RawEvent>>>,
}

impl Events {
    pub(crate) fn new(receiver: Option<broadcast::Receiver<Arc<RawEvent>>>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` after the end of the connection. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.receiver.as_mut()?.recv().await {
            Ok(raw) => Some(Notice::Event { timestamp: raw.timestamp, event: Event::from(Arc::unwrap_or_clone(raw)) }),
            Err(RecvError::Lagged(count)) => Some(Notice::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}
