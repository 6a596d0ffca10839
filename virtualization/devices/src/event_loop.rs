//! A thread that waits for descriptors, and the devices that it calls.
//!
//! The lock that the loop holds while it calls a handler is what [`EventLoop::pause`] and [`Registration`]'s end take: after either of them
//! no handler runs.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use confinement::{Confinement, Thread};
use hv::Event;
use rustix::event::{Timespec, epoll};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the other end's end.
    Read,
    /// Room to write.
    Write,
    /// Nothing but failure.
    Nothing,
    /// Either.
    Both,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Nothing => epoll::EventFlags::empty(),
            Self::Read => epoll::EventFlags::IN,
            Self::Write => epoll::EventFlags::OUT,
            Self::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

/// A device, as its loop sees it.
pub trait Handler: Send {
    /// The descriptor with this token can be read or written, or has failed. It is called again until the handler has seen to that.
    fn ready(&mut self, token: u32, watches: &mut Watches);

    /// Until when it waits at most. Looked at after every call of a handler: nobody else changes it.
    fn until(&self) -> Option<Instant> {
        None
    }

    /// It has waited until then.
    fn overdue(&mut self, _watches: &mut Watches) {}
}

/// The descriptors of one handler.
#[derive(Debug)]
pub struct Watches {
    shared: Arc<Shared>,
    handler: u32,
    descriptors: BTreeMap<u32, OwnedFd>,
}

impl Watches {
    /// Waits for this descriptor too. The token must be a new one.
    ///
    /// # Errors
    /// `EPERM` where the descriptor is of a kind that is always ready, such as a file.
    pub fn add(&mut self, token: u32, descriptor: impl AsFd, interest: Interest) -> io::Result<()> {
        self.add_with(token, descriptor.as_fd(), interest.flags())
    }

    /// Waits for this event too, which need not be taken: it is told each time that it happens. The token must be a new one.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn add_event(&mut self, token: u32, event: &Event) -> io::Result<()> {
        // The kernel tells of every write to an event, also where it has happened already.
        self.add_with(token, event.as_fd(), epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    fn add_with(&mut self, token: u32, descriptor: BorrowedFd<'_>, flags: epoll::EventFlags) -> io::Result<()> {
        // A descriptor of our own, so that it can be taken out again whatever has become of the other.
        let ours = descriptor.try_clone_to_owned()?;
        epoll::add(&self.shared.epoll, &ours, self.data(token), flags)?;
        self.descriptors.insert(token, ours);
        Ok(())
    }

    /// Waits for something else.
    pub fn change(&mut self, token: u32, interest: Interest) -> io::Result<()> {
        let descriptor = self.descriptors.get(&token).ok_or(io::ErrorKind::NotFound)?;
        Ok(epoll::modify(&self.shared.epoll, descriptor, self.data(token), interest.flags())?)
    }

    /// Waits no longer.
    pub fn remove(&mut self, token: u32) {
        if let Some(descriptor) = self.descriptors.remove(&token) {
            // It was added; nothing else can be wrong.
            let _ = epoll::delete(&self.shared.epoll, &descriptor);
        }
    }

    fn data(&self, token: u32) -> epoll::EventData {
        epoll::EventData::new_u64(u64::from(self.handler) << 32 | u64::from(token))
    }
}

struct Entry {
    handler: Box<dyn Handler>,
    watches: Watches,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<u32, Entry>,
    next: u32,
    paused: bool,
    ended: bool,
}

struct Shared {
    epoll: OwnedFd,
    wake: Event,
    state: Mutex<State>,
    changed: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventLoop")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handler number of the loop itself.
const OWN: u32 = 0;

/// The loop; its thread ends when it is dropped.
#[derive(Debug)]
pub struct EventLoop {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl EventLoop {
    /// A loop on a thread of this kind and name.
    ///
    /// # Errors
    /// Where there are no descriptors or threads left, or the thread cannot be confined.
    pub fn new(name: &str, kind: Thread, confinement: &Confinement) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Event::new()?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(u64::from(OWN)), epoll::EventFlags::IN)?;
        let state = Mutex::new(State { next: OWN + 1, ..State::default() });
        let shared = Arc::new(Shared { epoll, wake, state, changed: Condvar::new() });
        let loops = Arc::clone(&shared);
        let thread = confinement.spawn(kind, name.to_owned(), move || run(&loops))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a handler; `begin` adds its descriptors before it is first called.
    ///
    /// # Errors
    /// What `begin` returns.
    pub fn add<H: Handler + 'static>(
        &self,
        mut handler: H,
        begin: impl FnOnce(&mut H, &mut Watches) -> io::Result<()>,
    ) -> io::Result<Registration> {
        let mut state = self.shared.lock();
        let number = state.next;
        state.next += 1;
        let mut watches = Watches { shared: Arc::clone(&self.shared), handler: number, descriptors: BTreeMap::new() };
        begin(&mut handler, &mut watches)?;
        state.entries.insert(number, Entry { handler: Box::new(handler), watches });
        Ok(Registration { shared: Arc::clone(&self.shared), number })
    }

    /// Calls no handler until [`Self::resume`]; none runs when this returns.
    pub fn pause(&self) {
        self.shared.lock().paused = true;
    }

    /// Calls handlers again.
    pub fn resume(&self) {
        self.shared.lock().paused = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        self.shared.wake.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Handlers hold what they watch, and watches hold the loop.
        self.shared.lock().entries.clear();
    }
}

/// A handler's place in a loop; it is removed when this is dropped.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    number: u32,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let entry = self.shared.lock().entries.remove(&self.number);
        if let Some(mut entry) = entry {
            let tokens: Vec<u32> = entry.watches.descriptors.keys().copied().collect();
            tokens.into_iter().for_each(|token| entry.watches.remove(token));
        }
    }
}

fn run(shared: &Shared) {
    let mut room = [MaybeUninit::<epoll::Event>::uninit(); 64];
    let mut until: Option<Instant> = None;
    loop {
        // The kernel counts milliseconds, and is not to wake too early.
        let left = until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let ready = match epoll::wait(&shared.epoll, &mut room, left.as_ref()) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "the event loop cannot wait any longer");
                return;
            }
        };
        let mut state = shared.lock();
        while state.paused && !state.ended {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return;
        }
        for event in ready.iter() {
            let data = event.data.u64();
            let (number, token) = ((data >> 32) as u32, data as u32);
            if let Some(entry) = state.entries.get_mut(&number) {
                // One that was removed meanwhile may still be in this batch.
                if entry.watches.descriptors.contains_key(&token) {
                    entry.handler.ready(token, &mut entry.watches);
                }
            }
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            let now = Instant::now();
            for entry in state.entries.values_mut().filter(|entry| entry.handler.until().is_some_and(|until| until <= now)) {
                entry.handler.overdue(&mut entry.watches);
            }
        }
        until = state.entries.values().filter_map(|entry| entry.handler.until()).min();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Reader {
        event: Event,
        seen: mpsc::Sender<bool>,
    }

    impl Handler for Reader {
        fn ready(&mut self, _token: u32, _watches: &mut Watches) {
            let _ = self.seen.send(self.event.take());
        }
    }

    fn reader(events: &EventLoop) -> (Event, mpsc::Receiver<bool>, Registration) {
        let event = Event::new().unwrap();
        let (seen, receiver) = mpsc::channel();
        let handler = Reader { event: event.clone(), seen };
        let registration = events.add(handler, |handler, watches| watches.add(0, &handler.event, Interest::Read)).unwrap();
        (event, receiver, registration)
    }

    #[test]
    fn a_handler_is_called_until_it_is_removed() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (event, seen, registration) = reader(&events);
        event.signal();
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(true));
        drop(registration);
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Disconnected));
        event.signal();
    }

    /// Says that it was called, and takes nothing.
    struct Listener(mpsc::Sender<()>);

    impl Handler for Listener {
        fn ready(&mut self, _token: u32, _watches: &mut Watches) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn an_event_is_told_each_time_without_being_taken() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (event, (sender, told)) = (Event::new().unwrap(), mpsc::channel());
        // Before it is watched, too.
        event.signal();
        let watched = event.clone();
        let _registration = events.add(Listener(sender), move |_, watches| watches.add_event(0, &watched)).unwrap();
        for _ in 0..3 {
            told.recv_timeout(Duration::from_secs(10)).unwrap();
            // Another handler's turn comes after this one's, and it was called once only.
            let (other, seen, _other) = reader(&events);
            other.signal();
            seen.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(told.try_recv().is_err());
            event.signal();
        }
    }

    /// Waits no longer than a moment for what comes after something.
    struct Impatient {
        event: Event,
        until: Option<Instant>,
        told: mpsc::Sender<Duration>,
    }

    impl Handler for Impatient {
        fn ready(&mut self, _token: u32, _watches: &mut Watches) {
            self.event.take();
            self.until = Some(Instant::now() + Duration::from_millis(20));
        }

        fn until(&self) -> Option<Instant> {
            self.until
        }

        fn overdue(&mut self, _watches: &mut Watches) {
            let late = self.until.take().map(|until| until.elapsed());
            let _ = self.told.send(late.unwrap());
        }
    }

    #[test]
    fn who_waits_for_long_enough_is_told_once() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (event, (sender, told)) = (Event::new().unwrap(), mpsc::channel());
        let handler = Impatient { event: event.clone(), until: None, told: sender };
        let _registration = events.add(handler, |handler, watches| watches.add(0, &handler.event, Interest::Read)).unwrap();
        for _ in 0..2 {
            event.signal();
            told.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(told.try_recv().is_err());
        }
    }

    #[test]
    fn nothing_is_called_while_it_is_paused() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (event, seen, _registration) = reader(&events);
        let (other, other_seen, _other) = reader(&events);
        events.pause();
        event.signal();
        assert_eq!(seen.try_recv(), Err(mpsc::TryRecvError::Empty));
        other.signal();
        events.resume();
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(true));
        assert_eq!(other_seen.recv_timeout(Duration::from_secs(10)), Ok(true));
    }
}
