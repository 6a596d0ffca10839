//! One connection to a server, with several requests under way.
//!
//! Whoever asks sends by themself, one after the other. One of those who wait for an answer reads, for all: the answers come in any order.
//! So as long as anything is under way somebody reads, and a server that answers before it takes more is no deadlock.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{self, Command, Export};
use super::stream::Stream;

/// The most requests under way; who comes later waits.
const WINDOW: usize = 32;
/// For how many times their patience somebody waits who is not answered, while others are.
const PATIENCES: u32 = 8;
/// The most bytes of one request's data.
pub const PART: u32 = 1 << 20;

/// The connection.
pub struct Link {
    export: Export,
    stream: Stream,
    /// Held by who sends.
    sending: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody reads.
    is_read: bool,
    /// When the latest answer came.
    answered: Option<Instant>,
    requests: u64,
    under_way: BTreeMap<u64, Waiting>,
    /// Why it cannot be used any longer.
    broken: Option<(io::ErrorKind, String)>,
}

/// What came of a request: the server's own error is one that leaves the connection as it is.
pub type Answer = io::Result<Vec<u8>>;

/// Somebody who waits.
enum Waiting {
    /// For so many bytes.
    For(usize),
    /// No longer.
    Answered(Answer),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn error(&self) -> Option<io::Error> {
        self.broken.as_ref().map(|(kind, why)| io::Error::new(*kind, why.clone()))
    }
}

impl Link {
    /// A connection on which an export was agreed upon.
    pub fn new(stream: Stream, export: Export) -> Self {
        Self { export, stream, sending: Mutex::default(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// The export.
    pub fn export(&self) -> Export {
        self.export
    }

    /// Whether it cannot be used any longer.
    pub fn is_broken(&self) -> bool {
        lock(&self.state).broken.is_some()
    }

    /// Asks for something and waits for the answer: what was read, or nothing. No request has more data than [`PART`]. A server may take
    /// `patience` from one answer to the next, whosever they are.
    ///
    /// # Errors
    /// Where the connection cannot be used any longer, in which case whether the server did it is not known.
    pub fn ask(&self, command: Command, place: u64, length: u32, data: &[u8], patience: Duration) -> io::Result<Answer> {
        let begun = Instant::now();
        // Answers to others are no reason to wait for ever.
        let last = begun + patience * PATIENCES;
        let number = self.enter(if command == Command::Read { length as usize } else { 0 }, last)?;
        let sent = {
            let (_sending, mut stream) = (lock(&self.sending), self.stream.until(last.min(Instant::now() + patience)));
            stream.write_all(&self.export.request(command, number, place, length)).and_then(|()| stream.write_all(data))
        };
        sent.map_err(|error| self.fail(&error))?;
        let mut state = lock(&self.state);
        loop {
            if let Some(Waiting::Answered(_)) = state.under_way.get(&number)
                && let Some(Waiting::Answered(answer)) = state.under_way.remove(&number)
            {
                // There is room for another request, and perhaps nobody who reads.
                self.changed.notify_all();
                return Ok(answer);
            }
            if let Some(error) = state.error() {
                return Err(error);
            }
            let until = last.min(state.answered.map_or(begun, |answered| answered.max(begun)) + patience);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                return Err(self.fail(&io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")));
            }
            if state.is_read {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.is_read = true;
            drop(state);
            let read = self.read(&mut self.stream.until(until));
            if let Err(error) = read {
                return Err(self.fail(&error));
            }
            state = lock(&self.state);
            (state.is_read, state.answered) = (false, Some(Instant::now()));
            self.changed.notify_all();
        }
    }

    /// A number for a request, when there is room for one that waits for so many bytes.
    fn enter(&self, room: usize, until: Instant) -> io::Result<u64> {
        let left = until.saturating_duration_since(Instant::now());
        let full = |state: &mut State| state.under_way.len() >= WINDOW && state.broken.is_none();
        let waited = self.changed.wait_timeout_while(lock(&self.state), left, full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(error) = state.error() {
            return Err(error);
        }
        if full(&mut state) {
            drop(state);
            return Err(self.fail(&io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")));
        }
        state.requests = state.requests.wrapping_add(1);
        let number = state.requests;
        state.under_way.insert(number, Waiting::For(room));
        Ok(number)
    }

    /// Reads one answer, whosever it is.
    fn read(&self, stream: &mut Stream) -> io::Result<()> {
        let (number, said) = protocol::reply(stream)?;
        let room = match lock(&self.state).under_way.get(&number) {
            Some(Waiting::For(room)) => *room,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the server replied to something else")),
        };
        let answer = match said {
            Ok(()) => {
                let mut bytes = vec![0; room];
                stream.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Err(error) => Err(error),
        };
        lock(&self.state).under_way.insert(number, Waiting::Answered(answer));
        Ok(())
    }

    /// It cannot be used any longer, for anybody.
    fn fail(&self, error: &io::Error) -> io::Error {
        let mut state = lock(&self.state);
        let (kind, why) = state.broken.get_or_insert_with(|| (error.kind(), error.to_string()));
        let error = io::Error::new(*kind, why.clone());
        drop(state);
        self.stream.shut_down();
        self.changed.notify_all();
        error
    }

    /// Says goodbye; nothing is answered.
    pub fn end(&self) {
        let request = self.export.request(Command::Disconnect, 0, 0, 0);
        // A server that takes nothing more learns of it by the end of the connection.
        let _ = self.stream.until(Instant::now() + Duration::from_millis(10)).write_all(&request);
    }
}
