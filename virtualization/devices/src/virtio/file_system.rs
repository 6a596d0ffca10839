//! A shared directory (Virtio 1.2, 5.11), served by another process over vhost-user.
//!
//! That process is this device's alone: each driver that gets ready has a new one, and when the driver is gone so is the process. Nothing
//! that the one before had opened is left, and nothing touches memory any longer, whatever the process thinks of it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::queue::Failure;
pub use super::vhost_user::PATIENCE;
use super::vhost_user::{Frontend, Ring};
use super::{Activation, Kind, VirtioDevice, feature};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

/// The queue for what must not wait, and that for requests. A request of 1 MiB has a descriptor for each page.
const QUEUE_SIZES: [u16; 2] = [128, 1024];
/// Bytes of a tag in the configuration.
const TAG: usize = 36;
/// Request queues, which the configuration says.
const REQUEST_QUEUES: u32 = 1;

/// A process that serves one file system device; dropping it ends it, and then it touches no memory any longer.
pub trait Server: Send {
    /// Ends it and returns what it said last, to explain why it did not do what it should.
    fn end(self: Box<Self>) -> Option<String>;
}

/// Starts a server; returns it and the stream socket at whose other end it speaks vhost-user.
pub type Start = Box<dyn FnMut() -> io::Result<(OwnedFd, Box<dyn Server>)> + Send>;

/// Told when the server has gone or does not do what it should, and why; the guest sees a device that needs a reset.
pub type Gone = Arc<dyn Fn(io::Error) + Send + Sync>;

struct Backend {
    frontend: Frontend,
    server: Box<dyn Server>,
}

impl Backend {
    fn new(start: &mut Start, patience: Duration) -> io::Result<Self> {
        let (socket, server) = start()?;
        match Frontend::new(socket, feature::EVENT_IDX | feature::INDIRECT_DESC, patience) {
            Ok(frontend) => Ok(Self { frontend, server }),
            Err(error) => Err(explained(&error, server)),
        }
    }

    /// Hangs up, and says why it failed.
    fn failed(self, error: &io::Error) -> io::Error {
        drop(self.frontend);
        explained(error, self.server)
    }
}

/// Why it failed, with what it said last.
fn explained(error: &io::Error, server: Box<dyn Server>) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => "it ended".to_owned(),
        _ => error.to_string(),
    };
    let said = server.end().map_or_else(String::new, |said| format!("; the last that it said: {said}"));
    io::Error::new(error.kind(), why + &said)
}

/// The device.
pub struct FileSystem {
    tag: [u8; TAG],
    events: Arc<EventLoop>,
    start: Start,
    gone: Gone,
    patience: Duration,
    /// One that was started and serves no driver yet.
    waiting: Option<Backend>,
    serving: Option<Registration>,
}

impl fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSystem({})", String::from_utf8_lossy(&self.tag).trim_end_matches('\0'))
    }
}

impl FileSystem {
    /// A device with this tag, of which there may be 36 bytes. Its first server is started at once. A server may take `patience` to be got to know.
    ///
    /// # Errors
    /// Where the server cannot be started or does not answer as it should.
    pub fn new(tag: &str, mut start: Start, patience: Duration, gone: Gone, events: Arc<EventLoop>) -> io::Result<Self> {
        let mut bytes = [0; TAG];
        let place = bytes.get_mut(..tag.len()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the tag is too long"))?;
        place.copy_from_slice(tag.as_bytes());
        let waiting = Some(Backend::new(&mut start, patience)?);
        Ok(Self { tag: bytes, events, start, gone, patience, waiting, serving: None })
    }

    fn hand_over(&mut self, activation: &Activation) -> io::Result<()> {
        let Some((_, first)) = activation.queues.first() else { return Ok(()) };
        let mut backend = self.waiting.take().map_or_else(|| Backend::new(&mut self.start, self.patience), Ok)?;
        let rings = activation.queues.iter().map(|(number, queue)| Ring::of(*number, queue)).collect::<io::Result<Vec<_>>>()?;
        if let Err(error) = backend.frontend.start(activation.features, first.memory(), &rings) {
            return Err(backend.failed(&error));
        }
        let watch = Watch { backend: Some(backend), failure: activation.failure.clone(), gone: Arc::clone(&self.gone) };
        let begin = |watch: &mut Watch, watches: &mut Watches| match &watch.backend {
            Some(backend) => watches.add(0, backend.frontend.socket(), Interest::Read),
            None => Ok(()),
        };
        self.serving = Some(self.events.add(watch, begin)?);
        Ok(())
    }
}

impl VirtioDevice for FileSystem {
    fn kind(&self) -> Kind {
        Kind::FileSystem
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        QUEUE_SIZES.to_vec()
    }

    fn configuration(&self) -> Vec<u8> {
        [&self.tag[..], &REQUEST_QUEUES.to_le_bytes()].concat()
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.hand_over(&activation).inspect_err(|error| (self.gone)(io::Error::new(error.kind(), error.to_string())))
    }

    fn reset(&mut self) {
        self.serving = None;
    }
}

/// Sees when the server goes.
struct Watch {
    backend: Option<Backend>,
    failure: Failure,
    gone: Gone,
}

impl Handler for Watch {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        watches.remove(token);
        let Some(backend) = self.backend.take() else { return };
        // Nobody asked it anything: what there is to read is its end, or nothing that it should say.
        let error = match rustix::net::recv(backend.frontend.socket(), &mut [0; 1][..], rustix::net::RecvFlags::empty()) {
            Ok((_, 0)) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "it spoke without being asked"),
            Err(error) => error.into(),
        };
        let error = backend.failed(&error);
        self.failure.fail("file system", &error);
        (self.gone)(error);
    }
}
