//! A socket whose every wait has an end: when time is up, and when nobody wants anything of it any longer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hv::Event;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::NbdAddress;

/// Where a server is, with names turned into addresses: who connects again may not be allowed to ask for them.
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

/// A connection. Clones are the same one, each with its own patience.
#[derive(Debug, Clone)]
pub struct Stream {
    socket: Arc<OwnedFd>,
    /// Happens when nobody wants anything of it any longer.
    ended: Event,
    until: Instant,
}

impl Stream {
    /// Connects, to the first of several addresses that lets it.
    ///
    /// # Errors
    /// Why the last one did not, or that time is up.
    pub fn connect(place: &Place, until: Instant, ended: &Event) -> io::Result<Self> {
        match place {
            Place::Unix(path) => {
                let stream = Self::new(AddressFamily::UNIX, until, ended)?;
                stream.finish(rustix::net::connect(&stream.socket, &SocketAddrUnix::new(path)?))?;
                Ok(stream)
            }
            Place::Tcp(addresses) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in addresses {
                    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                    let stream = Self::new(family, until, ended)?;
                    match stream.finish(rustix::net::connect(&stream.socket, address)) {
                        Ok(()) => {
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

    fn new(family: AddressFamily, until: Instant, ended: &Event) -> io::Result<Self> {
        let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        Ok(Self { socket: Arc::new(socket), ended: ended.clone(), until })
    }

    /// Waits until a connection that was begun is there.
    fn finish(&self, begun: Result<(), Errno>) -> io::Result<()> {
        match begun {
            Err(Errno::INPROGRESS | Errno::INTR) => {
                self.wait(PollFlags::OUT)?;
                Ok(sockopt::socket_error(&self.socket)??)
            }
            begun => Ok(begun?),
        }
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
