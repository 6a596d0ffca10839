//! What happens to a machine, as a stream.

use crate::State;
use futures::Stream;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The state changed.
    StateChanged {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
    },
    /// The guest restarted, by itself or because of a reset.
    GuestReset {
        /// Whether the guest did it.
        by_guest: bool,
    },
    /// The guest reported a panic.
    GuestPanicked {
        /// What it said, where it said something.
        message: Option<String>,
    },
    /// The guest's reading or writing of a drive failed.
    IoError {
        /// Which drive.
        drive: String,
        /// Which way.
        direction: IoDirection,
        /// What the backend said.
        reason: String,
        /// Whether the machine was paused because of it.
        paused: bool,
    },
    /// A drive's medium was inserted or removed, by a person or by the guest.
    MediumChanged {
        /// Which drive.
        drive: String,
        /// Whether there is a medium now.
        inserted: bool,
    },
    /// Something that a person should know.
    Warning {
        /// What.
        message: String,
    },
    /// Events were lost because the receiver was slow.
    Missed {
        /// How many.
        count: u64,
    },
    /// The machine has ended. Nothing follows.
    Ended {
        /// Why.
        ending: Ending,
    },
}

/// Which way an I/O operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IoDirection {
    /// The guest read.
    Read,
    /// The guest wrote.
    Write,
}

/// Why a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The guest powered itself off, on its own or because it was asked to.
    GuestShutdown,
    /// It was stopped without asking the guest.
    Forced,
    /// The backend process was killed on request.
    Killed,
    /// The guest panicked and was stopped.
    GuestPanic,
    /// The backend could not be started.
    StartFailed,
    /// The backend process ended by itself, or by a signal that nobody here sent.
    BackendDied,
}

impl EndReason {
    /// Whether a person should be told that something went wrong.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::GuestPanic | Self::StartFailed | Self::BackendDied)
    }
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// One sentence for a person.
    pub message: String,
    /// The backend process's exit status, where it is known and there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that ended the backend process, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of the backend's log, where they matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Ending {
    /// An ending with nothing more to say than a sentence.
    pub fn new(reason: EndReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), exit_status: None, signal: None, log: Vec::new() }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Where a backend puts events. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct EventSender(broadcast::Sender<Event>);

impl EventSender {
    /// Events that a slow receiver may be behind before it misses some.
    const CAPACITY: usize = 256;

    /// A channel without receivers.
    pub fn new() -> Self {
        Self(broadcast::channel(Self::CAPACITY).0)
    }

    /// Tells everybody who listens.
    pub fn send(&self, event: Event) {
        // An error only says that nobody listens now.
        let _ = self.0.send(event);
    }

    /// The events from now on.
    pub fn subscribe(&self) -> EventStream {
        let receiver = self.0.subscribe();
        EventStream(Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(count)) => Some((Event::Missed { count }, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })))
    }
}

impl Default for EventSender {
    fn default() -> Self {
        Self::new()
    }
}

/// The events of a machine from the moment of subscription. Ends when the machine object is gone.
pub struct EventStream(Pin<Box<dyn Stream<Item = Event> + Send>>);

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}
