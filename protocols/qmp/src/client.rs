//! A client of a QEMU monitor.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch},
    time::timeout,
};

use crate::{
    codec::{self, Greeting},
    command::Command,
    connection::{self, Outgoing, Reply, Shared},
    error::{Closed, Error},
    notice::Events,
};

/// Requests that wait to be written at most; who comes later waits for room.
const QUEUE: usize = 32;

/// What a caller may choose about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long greeting and negotiation may take.
    pub greeting_timeout: Duration,
    /// How long a command may take, from the call to the reply.
    pub reply_timeout: Duration,
    /// How long a line from the peer may be, in bytes.
    pub max_line: usize,
    /// How many events a receiver may be behind before it misses some.
    pub event_backlog: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            greeting_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(60),
            max_line: codec::DEFAULT_MAX_LINE,
            event_backlog: 1024,
        }
    }
}

/// A handle on a connection to a monitor. Clones share the connection; it ends when the last clone is gone or the peer closes it.
///
/// Every call is cancel-safe: dropping its future gives up the reply, not a command that is already queued, and disturbs no other call.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Outgoing>,
    /// One request with a descriptor at a time: the peer keeps what came with the latest one only.
    descriptor_gate: Arc<Semaphore>,
    closed: watch::Receiver<Option<Closed>>,
    greeting: Arc<Greeting>,
    out_of_band: bool,
    reply_timeout: Duration,
}

impl Client {
    /// Connects to the monitor at `path`, a Unix socket, with the default [`Options`].
    ///
    /// # Errors
    ///
    /// When the socket cannot be reached or what answers is not a monitor.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::connect_with(path, Options::default()).await
    }

    /// Connects to the monitor at `path`, a Unix socket.
    ///
    /// # Errors
    ///
    /// When the socket cannot be reached or what answers is not a monitor.
    pub async fn connect_with(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).await.map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        Self::from_stream_with(stream, options).await
    }

    /// Speaks with the monitor at the other end of `stream`, with the default [`Options`].
    ///
    /// # Errors
    ///
    /// When what answers is not a monitor.
    pub async fn from_stream(stream: UnixStream) -> Result<Self, Error> {
        Self::from_stream_with(stream, Options::default()).await
    }

    /// Speaks with the monitor at the other end of `stream`: waits for its greeting, enables out-of-band execution where it is offered, and
    /// spawns the task that reads and writes from then on.
    ///
    /// # Errors
    ///
    /// When what answers is not a monitor.
    pub async fn from_stream_with(stream: UnixStream, options: Options) -> Result<Self, Error> {
        let (events, first_receiver) = broadcast::channel(options.event_backlog.max(1));
        let negotiated = timeout(options.greeting_timeout, connection::negotiate(stream, options.max_line))
            .await
            .map_err(|_elapsed| Error::NoGreeting { after: options.greeting_timeout })??;
        let greeting = Arc::new(negotiated.greeting.clone());
        let out_of_band = negotiated.out_of_band;
        let shared = Arc::new(Shared::new(events.downgrade(), first_receiver));
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let (closed_sender, closed) = watch::channel(None);
        tokio::spawn(connection::run(negotiated, Arc::clone(&shared), events, outgoing, closed_sender));
        Ok(Self {
            shared,
            requests,
            descriptor_gate: Arc::new(Semaphore::new(1)),
            closed,
            greeting,
            out_of_band,
            reply_timeout: options.reply_timeout,
        })
    }

    /// What the monitor said about itself.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Whether [`Self::execute_oob`] works with this peer.
    pub fn out_of_band(&self) -> bool {
        self.out_of_band
    }

    /// The same connection with another time limit for replies.
    #[must_use]
    pub fn with_reply_timeout(&self, reply_timeout: Duration) -> Self {
        Self { reply_timeout, ..self.clone() }
    }

    /// What happens from now on. The first receiver also gets what happened since the connection began.
    pub fn events(&self) -> Events {
        self.shared.subscribe()
    }

    /// Waits for the end of the connection and says why it ended.
    pub async fn closed(&self) -> Closed {
        let mut closed = self.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Closed::ByPeer),
            // The task that would tell is gone: its runtime was shut down.
            Err(_gone) => Closed::ByUs,
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.borrow().is_some() || self.requests.is_closed()
    }

    /// Executes a command and gives what it returns.
    ///
    /// # Errors
    ///
    /// When the peer refuses, does not answer in time or is gone, or the reply has an unexpected form.
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Return, Error> {
        let arguments = arguments_of(&command)?;
        drop(command);
        let value = self.request("execute", C::NAME, arguments, None).await?;
        typed::<C>(value)
    }

    /// Executes a command out of band: ahead of those that wait, even while one of them runs. Peers allow this for few commands.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`], and when the peer does not offer it.
    pub async fn execute_oob<C: Command>(&self, command: C) -> Result<C::Return, Error> {
        let arguments = arguments_of(&command)?;
        drop(command);
        if !self.out_of_band {
            return Err(Error::NoOutOfBand { command: C::NAME.to_owned() });
        }
        let value = self.request("exec-oob", C::NAME, arguments, None).await?;
        typed::<C>(value)
    }

    /// Executes a command that takes a descriptor, such as `add-fd` and `getfd`, and passes a duplicate of `descriptor` with it.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`], and when the descriptor cannot be duplicated.
    pub async fn execute_with_fd<C: Command>(&self, command: C, descriptor: BorrowedFd<'_>) -> Result<C::Return, Error> {
        let arguments = arguments_of(&command)?;
        drop(command);
        let descriptor =
            descriptor.as_fd().try_clone_to_owned().map_err(|source| Error::Descriptor { command: C::NAME.to_owned(), source })?;
        let value = self.request("execute", C::NAME, arguments, Some(descriptor)).await?;
        typed::<C>(value)
    }

    /// Executes a command by name. `arguments` is an object, or null for none.
    ///
    /// # Errors
    ///
    /// When the peer refuses, does not answer in time or is gone.
    pub async fn execute_raw(&self, name: &str, arguments: Value) -> Result<Value, Error> {
        self.request("execute", name, arguments, None).await
    }

    async fn request(&self, verb: &str, name: &str, arguments: Value, descriptor: Option<OwnedFd>) -> Result<Value, Error> {
        let reply = timeout(self.reply_timeout, self.converse(verb, name, arguments, descriptor))
            .await
            .map_err(|_elapsed| Error::Timeout { command: name.to_owned(), after: self.reply_timeout })?;
        match reply {
            Some(Reply::Return(value)) => Ok(value),
            Some(Reply::Error { class, description }) => Err(Error::Command { command: name.to_owned(), class, description }),
            None => Err(Error::Closed { command: name.to_owned(), source: self.closed().await }),
        }
    }

    /// Sends a request and waits for its reply; `None` when the connection is gone.
    async fn converse(&self, verb: &str, name: &str, arguments: Value, descriptor: Option<OwnedFd>) -> Option<Reply> {
        let gate = match descriptor {
            Some(_) => Some(self.pass_descriptor_gate().await?),
            None => None,
        };
        let slot = self.requests.reserve().await.ok()?;
        // From here to the wait nothing can be cancelled: the request is registered and queued, or neither.
        let waiting = self.shared.register(gate)?;
        slot.send(Outgoing { line: codec::encode(verb, name, arguments, Some(waiting.id())), descriptor });
        waiting.reply().await
    }

    async fn pass_descriptor_gate(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.descriptor_gate).acquire_owned().await.ok()
    }
}

fn arguments_of<C: Command>(command: &C) -> Result<Value, Error> {
    serde_json::to_value(command).map_err(|source| Error::Arguments { command: C::NAME.to_owned(), source })
}

fn typed<C: Command>(value: Value) -> Result<C::Return, Error> {
    serde_json::from_value(value).map_err(|source| Error::Reply { command: C::NAME.to_owned(), source })
}
