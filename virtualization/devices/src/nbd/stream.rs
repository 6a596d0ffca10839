//! A socket whose every wait has an end: when time is up, and when nobody wants anything of it any longer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use hv::Event;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::NbdAddress;

/// Where a server is, with names turned into addresses.
#[derive(Debug)]
pub enum Place {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Place {
    /// Where this is now.
    ///
    /// # Errors
    /// Where its name is not known.
    pub fn find(address: &NbdAddress) -> io::Result<Self> {
        Ok(match address {
            NbdAddress::Tcp(host, port) => Self::Tcp((host.as_str(), *port).to_socket_addrs()?.collect()),
            NbdAddress::Unix(path) => Self::Unix(path.clone()),
        })
    }
}

/// Has something done by a thread that may look up names and make sockets, which those that serve disks may not.
pub type Elsewhere = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Has it done, and waits for what comes of it.
///
/// # Errors
/// What comes of it, or that nobody does it any longer.
pub fn have_done<T: Send + 'static>(elsewhere: &Elsewhere, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, result) = sync_channel(1);
    // Who asked waits for the result.
    elsewhere(Box::new(move || drop(sender.send(work()))));
    result.recv().unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::NotConnected, "the thread that connects has ended")))
}

/// A connection. Clones are the same one, each with its own patience.
#[derive(Debug, Clone)]
pub struct Stream {
    socket: Arc<OwnedFd>,
    /// Happens when nobody wants anything of it any longer.
    ended: Event,
    until: Instant,
}

impl Stream {
    /// Connects, to the first of several addresses that lets it. The socket is made elsewhere, and waited for here.
    ///
    /// # Errors
    /// Why the last one did not, or that time is up.
    pub fn connect(place: &Place, elsewhere: &Elsewhere, until: Instant, ended: &Event) -> io::Result<Self> {
        match place {
            Place::Unix(path) => {
                let path = path.clone();
                let begin = move || begin(AddressFamily::UNIX, |socket| rustix::net::connect(socket, &SocketAddrUnix::new(path)?));
                Self::finish(have_done(elsewhere, begin)?, until, ended)
            }
            Place::Tcp(addresses) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in addresses {
                    let (address, family) = (*address, if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 });
                    let begin = move || begin(family, |socket| rustix::net::connect(socket, &address));
                    match have_done(elsewhere, begin).and_then(|socket| Self::finish(socket, until, ended)) {
                        Ok(stream) => {
                            sockopt::set_tcp_nodelay(&stream.socket, true)?;
                            return Ok(stream);
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// Waits until a connection that was begun is there.
    fn finish(socket: OwnedFd, until: Instant, ended: &Event) -> io::Result<Self> {
        let stream = Self { socket: Arc::new(socket), ended: ended.clone(), until };
        stream.wait(PollFlags::OUT)?;
        sockopt::socket_error(&stream.socket)??;
        Ok(stream)
    }

    /// The same connection, of which one has patience until then.
    pub fn until(&self, until: Instant) -> Self {
        Self { until, ..self.clone() }
    }

    /// Ends it, for all of its clones.
    pub fn shut_down(&self) {
        // One that is not connected any longer is what is wanted.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        wait(&[PollFd::new(&self.socket, what)], self.until, &self.ended)
    }
}

/// A socket whose connection is under way, or there.
fn begin(family: AddressFamily, connect: impl FnOnce(&OwnedFd) -> Result<(), Errno>) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Waits for any of these; an error when time is up, or it is the end.
fn wait(sockets: &[PollFd<'_>], until: Instant, ended: &Event) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut waited: Vec<PollFd<'_>> = sockets.to_vec();
        waited.push(PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN));
        match poll(&mut waited, Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) if waited.last().is_some_and(|end| !end.revents().is_empty()) => {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "the machine ends"));
            }
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits a while, or until the end.
pub fn pause(pause: Duration, ended: &Event) {
    // Both ends of it are errors.
    let _ = wait(&[], Instant::now() + pause, ended);
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.socket, &mut *bytes, RecvFlags::empty()) {
                Ok((_, count)) => return Ok(count),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
