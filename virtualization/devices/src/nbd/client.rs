//! A connection to a server that is kept up: what breaks is made anew, and what was asked is asked again.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{Answer, Export, Session};

/// How long a client waits between two attempts to connect, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAXIMUM: Duration = Duration::from_secs(1);

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

/// The same, where names have become addresses: who connects again may not be allowed to ask for them.
#[derive(Debug)]
enum Place {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl NbdAddress {
    fn find(&self) -> io::Result<Place> {
        Ok(match self {
            Self::Tcp(host, port) => Place::Tcp((host.as_str(), *port).to_socket_addrs()?.collect()),
            Self::Unix(path) => Place::Unix(path.clone()),
        })
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

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn connect(place: &Place, patience: Duration) -> io::Result<Self> {
        match place {
            Place::Tcp(addresses) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in addresses {
                    match TcpStream::connect_timeout(address, patience) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            stream.set_read_timeout(Some(patience))?;
                            stream.set_write_timeout(Some(patience))?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Ok(Self::Unix(stream))
            }
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn shut_down(&self) {
        // One that is not connected any longer is what is wanted.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// What others than the one who asks may change.
#[derive(Default)]
struct Fate {
    has_ended: bool,
    connection: Option<Stream>,
}

/// The client. Requests are carried out one after the other.
pub struct NbdClient {
    address: NbdAddress,
    place: Place,
    name: String,
    timeout: Duration,
    /// What the server said first, which it must say again.
    export: Export,
    session: Mutex<Connection>,
    fate: Mutex<Fate>,
    ended: Condvar,
    told: Told,
}

enum Connection {
    Up(Session<Stream>),
    Broken,
    Failed,
}

impl fmt::Debug for NbdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NbdClient({})", self.address)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NbdClient {
    /// Connects to an export; its host's name is looked up now, and not again. A server that does not answer for `timeout` has failed, and is connected to again; a request that has not been
    /// carried out after twice that time fails, and every other after it.
    ///
    /// # Errors
    /// Where there is no server, or it has no such export.
    pub fn connect(address: NbdAddress, name: String, timeout: Duration, told: Told) -> io::Result<Arc<Self>> {
        // The system takes no time of zero for one.
        let timeout = timeout.max(Duration::from_millis(1));
        let place = address.find()?;
        let stream = Stream::connect(&place, timeout)?;
        let connection = Some(stream.try_clone()?);
        let session = Session::begin(stream, &name)?;
        told(NbdEvent::Connected);
        let export = session.export();
        let session = Mutex::new(Connection::Up(session));
        let fate = Mutex::new(Fate { has_ended: false, connection });
        Ok(Arc::new(Self { address, place, name, timeout, export, session, fate, ended: Condvar::new(), told }))
    }

    /// The export.
    pub fn export(&self) -> Export {
        self.export
    }

    /// Ends the connection; whoever waits for it gets an error.
    pub fn end(&self) {
        let mut fate = lock(&self.fate);
        fate.has_ended = true;
        if let Some(connection) = fate.connection.take() {
            connection.shut_down();
        }
        self.ended.notify_all();
    }

    /// Asks for something until the server has answered.
    ///
    /// # Errors
    /// What the server said, or why it says nothing.
    pub(super) fn ask(&self, mut ask: impl FnMut(&mut Session<Stream>) -> Answer) -> io::Result<()> {
        let until = Instant::now() + self.timeout * 2;
        let (mut connection, mut pause) = (lock(&self.session), PAUSE);
        loop {
            let error = match &mut *connection {
                Connection::Failed => return Err(io::Error::new(io::ErrorKind::NotConnected, "the NBD server was lost")),
                Connection::Up(session) => match ask(session) {
                    Ok(answer) => return answer,
                    Err(error) => error,
                },
                Connection::Broken => match self.begin() {
                    Ok(session) => {
                        *connection = Connection::Up(session);
                        (self.told)(NbdEvent::Connected);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            *connection = Connection::Broken;
            let is_final = error.kind() == io::ErrorKind::Unsupported || Instant::now() + pause >= until;
            if is_final || self.wait(pause) {
                *connection = Connection::Failed;
                let again = io::Error::new(error.kind(), error.to_string());
                (self.told)(NbdEvent::Failed(again));
                return Err(error);
            }
            tracing::warn!(%error, address = %self.address, "an NBD server is connected to again");
            pause = (pause * 2).min(PAUSE_MAXIMUM);
        }
    }

    /// Connects again.
    fn begin(&self) -> io::Result<Session<Stream>> {
        let stream = Stream::connect(&self.place, self.timeout)?;
        {
            let mut fate = lock(&self.fate);
            if fate.has_ended {
                return Err(io::ErrorKind::Unsupported.into());
            }
            fate.connection = Some(stream.try_clone()?);
        }
        let session = Session::begin(stream, &self.name)?;
        if session.export() == self.export {
            Ok(session)
        } else {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the server's export is another one than before"))
        }
    }

    /// Waits a while; true where it has ended meanwhile.
    fn wait(&self, pause: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(lock(&self.fate), pause, |fate| !fate.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }
}

impl Drop for NbdClient {
    fn drop(&mut self) {
        if let Connection::Up(session) = self.session.get_mut().unwrap_or_else(PoisonError::into_inner) {
            session.end();
        }
    }
}
