//! The stub for debuggers: listens for as long as the machine is there, and serves one debugger at a time.

mod session;
mod target;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use confinement::{Confinement, Thread};
use gdbstub::conn::ConnectionExt;
use hv::{Event, GuestMemory};
use rustix::event::{PollFd, PollFlags};

use super::vcpu::DebugPort;
use crate::configuration::{DebugStubPlace, GdbDebugStub};
use crate::error::{Error, ErrorKind, Result};

/// The guest that there is now.
#[derive(Clone)]
pub struct Debuggee {
    /// Its vCPUs.
    pub vcpus: DebugPort,
    /// Its memory.
    pub memory: GuestMemory,
}

#[derive(Default)]
struct State {
    debuggee: Option<Debuggee>,
    /// The debugger that is connected.
    session: Option<OwnedFd>,
    has_ended: bool,
}

/// What boards tell the stub.
#[derive(Clone, Default)]
pub struct Debugged(Arc<Mutex<State>>);

impl Debugged {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is this guest now, or none; whoever debugged another one no longer does.
    pub fn set(&self, debuggee: Option<Debuggee>) {
        let mut state = self.lock();
        state.debuggee = debuggee;
        if let Some(session) = state.session.take() {
            // One that has ended by itself is what is wanted.
            let _ = rustix::net::shutdown(&session, rustix::net::Shutdown::Both);
        }
    }
}

/// The stub.
pub struct Debugger {
    debugged: Debugged,
    ended: Event,
    thread: Option<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection, and a descriptor of it to wait with.
type Connection = (Box<dyn ConnectionExt<Error = io::Error>>, OwnedFd);

impl Listener {
    fn new(stub: &GdbDebugStub) -> io::Result<Self> {
        Ok(match &stub.place {
            DebugStubPlace::Unix(path) => {
                // One that nobody listens at is left of a process that was killed.
                if UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                    std::fs::remove_file(path)?;
                }
                Self::Unix(UnixListener::bind(path)?)
            }
            DebugStubPlace::Tcp(port) => Self::Tcp(TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?),
        })
    }

    fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                let descriptor = stream.as_fd().try_clone_to_owned()?;
                (Box::new(stream), descriptor)
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                let descriptor = stream.as_fd().try_clone_to_owned()?;
                (Box::new(stream), descriptor)
            }
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Debugger {
    /// A stub that listens.
    pub fn new(stub: &GdbDebugStub, debugged: Debugged, confinement: &Confinement) -> Result<Self> {
        let failed = |error: io::Error| {
            let place = match &stub.place {
                DebugStubPlace::Unix(path) => path.display().to_string(),
                DebugStubPlace::Tcp(port) => format!("127.0.0.1:{port}"),
            };
            Error::because(ErrorKind::Host, format!("Could not listen for debuggers at {place}"), error)
        };
        let listener = Listener::new(stub).map_err(failed)?;
        let ended = Event::new().map_err(failed)?;
        let (shared, end) = (debugged.clone(), ended.clone());
        let listen = move || listen(&listener, &shared, &end);
        let listening = confinement.spawn_without_files(Thread::Debugger, "vm-debugger".to_owned(), listen);
        let socket = match &stub.place {
            DebugStubPlace::Unix(path) => Some(path.clone()),
            DebugStubPlace::Tcp(_) => None,
        };
        Ok(Self { debugged, ended, thread: Some(listening.map_err(failed)?), socket })
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        self.debugged.lock().has_ended = true;
        self.debugged.set(None);
        self.ended.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(socket) = &self.socket {
            // Whoever removed it before has done this.
            let _ = std::fs::remove_file(socket);
        }
    }
}

fn listen(listener: &Listener, debugged: &Debugged, ended: &Event) {
    loop {
        let mut both = [PollFd::new(listener, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        if rustix::event::poll(&mut both, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        if debugged.lock().has_ended {
            return;
        }
        if both[0].revents().is_empty() {
            continue;
        }
        match listener.accept() {
            Ok(connection) => serve(connection, debugged),
            Err(error) => tracing::warn!(%error, "a debugger could not be accepted"),
        }
    }
}

fn serve((connection, descriptor): Connection, debugged: &Debugged) {
    let debuggee = {
        let mut state = debugged.lock();
        // Without a guest there is nothing to say; the connection ends.
        let Some(debuggee) = state.debuggee.clone().filter(|_| !state.has_ended) else { return };
        match descriptor.try_clone() {
            Ok(descriptor) => state.session = Some(descriptor),
            Err(_) => return,
        }
        debuggee
    };
    if let Err(error) = session::serve(connection, descriptor, debuggee) {
        tracing::info!(%error, "a debugger's session ended");
    }
    debugged.lock().session = None;
}
