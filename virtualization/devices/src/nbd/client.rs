//! A client: the connection to a server is kept up. What breaks is made anew, and what was asked is asked again.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hv::Event;

use super::link::{Link, PART};
use super::protocol::{self, Command, Export};
use super::stream::{self, Elsewhere, Place, Stream};

/// How long a client waits between two attempts to connect, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAXIMUM: Duration = Duration::from_secs(1);
/// The most bytes of a request that only names a range: a multiple of any block.
const RANGE_MAXIMUM: u64 = 1 << 30;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NbdAddress {
    /// A host's name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for NbdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What happens to a connection.
#[derive(Debug)]
pub enum NbdEvent {
    /// It is there, for the first time or again.
    Connected,
    /// It cannot be made again, and why: every request fails from now on.
    Failed(io::Error),
}

/// Told what happens.
type Told = Box<dyn Fn(NbdEvent) + Send + Sync>;

/// The client. Any number of threads may ask at once; their requests are under way together.
pub struct NbdClient {
    address: NbdAddress,
    place: Place,
    name: String,
    timeout: Duration,
    elsewhere: Elsewhere,
    /// What the server said first, which it must say again.
    export: Export,
    connection: Mutex<Connection>,
    ended: Event,
    has_ended: AtomicBool,
    told: Told,
}

enum Connection {
    Up(Arc<Link>),
    Failed,
}

impl fmt::Debug for NbdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NbdClient({})", self.address)
    }
}

impl NbdClient {
    /// Connects to an export, by sockets that are made `elsewhere`; its host's name is looked up now, and not again. A server that answers nothing for `timeout` has failed, and is
    /// connected to again; one that has not done what it is asked for after as long again is given up, and every request fails from then on.
    ///
    /// # Errors
    /// Where there is no server, or it has no such export.
    pub fn connect(address: NbdAddress, name: String, timeout: Duration, elsewhere: Elsewhere, told: Told) -> io::Result<Arc<Self>> {
        let (its, ended) = (address.clone(), Event::new()?);
        let place = stream::have_done(&elsewhere, move || Place::find(&its))?;
        let link = begin(&place, &elsewhere, &name, timeout, &ended)?;
        told(NbdEvent::Connected);
        let (export, connection) = (link.export(), Mutex::new(Connection::Up(Arc::new(link))));
        let has_ended = AtomicBool::new(false);
        Ok(Arc::new(Self { address, place, name, timeout, elsewhere, export, connection, ended, has_ended, told }))
    }

    /// The export.
    pub fn export(&self) -> Export {
        self.export
    }

    /// Ends the connection; whoever waits for it gets an error.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.ended.signal();
    }

    /// Reads from this place on.
    ///
    /// # Errors
    /// What the server said, or why it says nothing.
    pub fn read(&self, mut place: u64, bytes: &mut [u8]) -> io::Result<()> {
        for part in bytes.chunks_mut(self.part()) {
            // No larger than a part.
            let length = part.len() as u32;
            part.copy_from_slice(&self.ask(Command::Read, place, length, &[])?);
            place = place.saturating_add(u64::from(length));
        }
        Ok(())
    }

    /// Writes from this place on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(&self, mut place: u64, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(self.part()) {
            let length = part.len() as u32;
            self.ask(Command::Write, place, length, part)?;
            place = place.saturating_add(u64::from(length));
        }
        Ok(())
    }

    /// What was answered before is on the medium when this returns.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn flush(&self) -> io::Result<()> {
        if self.export.can(Command::Flush) { self.ask(Command::Flush, 0, 0, &[]).map(drop) } else { Ok(()) }
    }

    /// What is there is no longer needed. A server that cannot do anything about it keeps it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn discard(&self, place: u64, length: u64) -> io::Result<()> {
        if self.export.can(Command::Discard) { self.ask_for_range(Command::Discard, place, length) } else { Ok(()) }
    }

    /// There are zeros from now on. Whether they may be holes is said by `may_be_holes`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write_zeroes(&self, mut place: u64, mut length: u64, may_be_holes: bool) -> io::Result<()> {
        let command = Command::Zero { may_be_holes };
        if self.export.can(command) {
            return self.ask_for_range(command, place, length);
        }
        let zeros = vec![0; self.part()];
        while length > 0 {
            let part = length.min(zeros.len() as u64);
            self.write(place, zeros.get(..part as usize).unwrap_or_default())?;
            (place, length) = (place.saturating_add(part), length - part);
        }
        Ok(())
    }

    fn ask_for_range(&self, command: Command, mut place: u64, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let part = length.min(RANGE_MAXIMUM);
            self.ask(command, place, part as u32, &[])?;
            (place, length) = (place.saturating_add(part), length - part);
        }
        Ok(())
    }

    fn part(&self) -> usize {
        self.export.payload().min(PART) as usize
    }

    /// Asks for something until the server has answered.
    fn ask(&self, command: Command, place: u64, length: u32, data: &[u8]) -> io::Result<Vec<u8>> {
        let (mut until, mut pause) = (None, PAUSE);
        loop {
            let link = self.link(&mut until)?;
            let error = match link.ask(command, place, length, data, self.timeout) {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            if self.is_over(&mut until, pause) {
                return Err(self.give_up(&mut lock(&self.connection), error));
            }
            tracing::warn!(%error, address = %self.address, "the connection to an NBD server broke");
            stream::pause(pause, &self.ended);
            pause = (pause * 2).min(PAUSE_MAXIMUM);
        }
    }

    /// Whether it is too late to try again after this pause. The time begins when this is first asked.
    fn is_over(&self, until: &mut Option<Instant>, pause: Duration) -> bool {
        let until = *until.get_or_insert_with(|| Instant::now() + self.timeout);
        self.has_ended.load(Ordering::SeqCst) || Instant::now() + pause >= until
    }

    /// A connection that can be used: a new one where the last one broke. Others wait meanwhile.
    fn link(&self, until: &mut Option<Instant>) -> io::Result<Arc<Link>> {
        let (mut connection, mut pause) = (lock(&self.connection), PAUSE);
        loop {
            match &*connection {
                Connection::Failed => return Err(io::Error::new(io::ErrorKind::NotConnected, "the NBD server was lost")),
                Connection::Up(link) if !link.is_broken() => return Ok(Arc::clone(link)),
                Connection::Up(_) => {}
            }
            let error = match begin(&self.place, &self.elsewhere, &self.name, self.timeout, &self.ended) {
                Ok(link) if link.export() == self.export => {
                    *connection = Connection::Up(Arc::new(link));
                    (self.told)(NbdEvent::Connected);
                    continue;
                }
                Ok(_) => return Err(self.give_up(&mut connection, io::Error::other("the server's export is another one than before"))),
                Err(error) => error,
            };
            if self.is_over(until, pause) {
                return Err(self.give_up(&mut connection, error));
            }
            tracing::warn!(%error, address = %self.address, "an NBD server is connected to again");
            stream::pause(pause, &self.ended);
            pause = (pause * 2).min(PAUSE_MAXIMUM);
        }
    }

    /// The server is lost, for everybody and from now on.
    fn give_up(&self, connection: &mut Connection, error: io::Error) -> io::Error {
        let was_there = matches!(std::mem::replace(connection, Connection::Failed), Connection::Up(_));
        if was_there && !self.has_ended.load(Ordering::SeqCst) {
            (self.told)(NbdEvent::Failed(io::Error::new(error.kind(), error.to_string())));
        }
        error
    }
}

/// A new connection to an export.
fn begin(place: &Place, elsewhere: &Elsewhere, name: &str, timeout: Duration, ended: &Event) -> io::Result<Link> {
    let mut stream = Stream::connect(place, elsewhere, Instant::now() + timeout, ended)?;
    let export = protocol::begin(&mut stream, name)?;
    Ok(Link::new(stream, export))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for NbdClient {
    fn drop(&mut self) {
        if let Connection::Up(link) = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner) {
            link.end();
        }
    }
}
