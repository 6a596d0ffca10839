//! What happens to a machine, as a stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::inbox::Inbox;
use crate::{Error, State};

/// What happened. Apple: `VZVirtualMachineDelegate`, and observing `state`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The machine is in another state.
    StateChanged(State),
    /// The guest powered off.
    GuestStopped,
    /// The machine cannot go on, and why.
    StoppedWithError(Arc<Error>),
    /// The guest began anew; the machine stays [`State::Running`].
    GuestRebooted,
    /// A program in the guest opened a console's port. Apple: `VZVirtioConsoleDeviceDelegate`.
    ConsolePortOpened {
        /// Which of the configuration's console devices.
        device: usize,
        /// The port's number.
        port: u32,
    },
    /// It closed it again.
    ConsolePortClosed {
        /// Which of the configuration's console devices.
        device: usize,
        /// The port's number.
        port: u32,
    },
    /// What a network card was connected to has gone; the guest sees a cable that is not plugged in, and goes on.
    /// [`crate::NetworkHandle::set_attachment`] connects it again, and so does a start or reboot. Apple:
    /// `virtualMachine(_:networkDevice:attachmentWasDisconnectedWithError:)`.
    NetworkDisconnected {
        /// Which of the configuration's network cards.
        device: usize,
        /// Why.
        error: Arc<Error>,
    },
    /// The server behind a storage device was connected to, for the first time or again. Apple: `attachmentWasConnected`.
    StorageConnected {
        /// Which of the configuration's storage devices.
        device: usize,
    },
    /// The server behind a storage device is lost: what the guest asks for fails until it starts anew. Apple: `attachment(_:didEncounterError:)`.
    StorageDisconnected {
        /// Which of the configuration's storage devices.
        device: usize,
        /// Why.
        error: Arc<Error>,
    },
    /// What serves a shared directory has failed; the guest goes on without the directory until it starts anew.
    DirectorySharingFailed {
        /// Which of the configuration's directory sharing devices.
        device: usize,
        /// Why.
        error: Arc<Error>,
    },
    /// The guest's kernel said that it panicked. What it does next is up to it.
    GuestPanicked,
}

/// Events that a reader may leave unread before the oldest are lost.
const HELD: usize = 256;

/// Events from when it was made on: a [`Stream`] for any executor, and an iterator that waits. It ends with the machine.
pub struct EventStream {
    inbox: Arc<Inbox<Event>>,
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.inbox.poll(context)
    }
}

impl Iterator for EventStream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.inbox.wait()
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStream")
    }
}

/// Where events come from.
#[derive(Default)]
pub(crate) struct Events {
    inboxes: Mutex<Vec<Weak<Inbox<Event>>>>,
}

impl Events {
    pub fn subscribe(&self) -> EventStream {
        let inbox = Arc::new(Inbox::default());
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&inbox));
        EventStream { inbox }
    }

    pub fn send(&self, event: &Event) {
        self.each(|inbox| inbox.put(event.clone(), HELD));
    }

    fn each(&self, mut visit: impl FnMut(&Inbox<Event>)) {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.retain(|inbox| inbox.upgrade().inspect(|inbox| visit(inbox)).is_some());
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.each(Inbox::end);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn every_reader_gets_every_event_until_the_end() {
        let events = Events::default();
        let (first, second) = (events.subscribe(), events.subscribe());
        events.send(&Event::GuestStopped);
        let late = events.subscribe();
        events.send(&Event::GuestPanicked);
        drop(events);
        assert!(matches!(first.collect_now()[..], [Event::GuestStopped, Event::GuestPanicked]));
        assert!(matches!(late.collect_now()[..], [Event::GuestPanicked]));
        let read: Vec<Event> = futures::executor::block_on(StreamExt::collect(second));
        assert!(matches!(read[..], [Event::GuestStopped, Event::GuestPanicked]));
    }

    #[test]
    fn a_reader_that_does_not_read_loses_the_oldest() {
        let events = Events::default();
        let reader = events.subscribe();
        (0..HELD).for_each(|_| events.send(&Event::GuestRebooted));
        events.send(&Event::GuestStopped);
        drop(events);
        let read = reader.collect_now();
        assert_eq!(read.len(), HELD);
        assert!(matches!(read.last(), Some(Event::GuestStopped)));
    }

    impl EventStream {
        fn collect_now(self) -> Vec<Event> {
            Iterator::collect(self)
        }
    }
}
