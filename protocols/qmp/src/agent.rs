//! A client of the QEMU guest agent.
//!
//! The agent speaks the monitor's language without greeting, events and, as a rule, ids, over a channel that outlives both ends: what an
//! earlier conversation left in it has to be skipped. Whatever comes from it was written by the guest.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{net::UnixStream, sync::Mutex, time::timeout};

use crate::{
    codec::{self, Decoder, Envelope},
    command::Command,
    connection::{Incoming, Outgoing, write},
    error::{Closed, Error},
};

mod commands;

pub use commands::{
    GetHostName, GetOsInfo, HostName, Info, InfoReturn, IpAddress, NetworkGetInterfaces, NetworkInterface, OsInfo, Ping, SetTime,
    SupportedCommand,
};

/// How long a line from the agent may be unless told otherwise, in bytes. Small, since the guest chooses what is in it.
pub const DEFAULT_MAX_LINE: usize = 1 << 20;

/// What a caller may choose about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a command may take, synchronisation included.
    pub reply_timeout: Duration,
    /// How long a line from the agent may be, in bytes.
    pub max_line: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { reply_timeout: Duration::from_secs(10), max_line: DEFAULT_MAX_LINE }
    }
}

/// A handle on a channel to a guest agent. Clones share the channel; their commands run one after the other.
///
/// Every call is cancel-safe: the next one synchronises with the agent before it asks.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Arc<Mutex<Channel>>,
    reply_timeout: Duration,
}

#[derive(Debug)]
struct Channel {
    incoming: Incoming,
    /// Whether the next thing to come is the answer to the next question.
    synchronised: bool,
    last_sync: u64,
    closed: Option<Closed>,
}

impl Client {
    /// Connects to the agent's channel at `path`, a Unix socket. Whether an agent runs in the guest shows with the first command.
    ///
    /// # Errors
    ///
    /// When the socket cannot be reached.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::connect_with(path, Options::default()).await
    }

    /// As [`Self::connect`], with a caller's choices.
    ///
    /// # Errors
    ///
    /// When the socket cannot be reached.
    pub async fn connect_with(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).await.map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        Ok(Self::from_stream_with(stream, options))
    }

    /// Speaks with the agent at the other end of `stream`.
    pub fn from_stream(stream: UnixStream) -> Self {
        Self::from_stream_with(stream, Options::default())
    }

    /// As [`Self::from_stream`], with a caller's choices.
    pub fn from_stream_with(stream: UnixStream, options: Options) -> Self {
        Self {
            channel: Arc::new(Mutex::new(Channel {
                incoming: Incoming::new(stream, Decoder::delimited(options.max_line)),
                synchronised: false,
                last_sync: first_sync(),
                closed: None,
            })),
            reply_timeout: options.reply_timeout,
        }
    }

    /// The same channel with another time limit for replies.
    #[must_use]
    pub fn with_reply_timeout(&self, reply_timeout: Duration) -> Self {
        Self { reply_timeout, ..self.clone() }
    }

    /// Executes a command and gives what it returns.
    ///
    /// # Errors
    ///
    /// When the agent refuses, does not answer in time (perhaps none runs) or the channel is gone, or the reply has an unexpected form.
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Return, Error> {
        let arguments = serde_json::to_value(&command).map_err(|source| Error::Arguments { command: C::NAME.to_owned(), source })?;
        drop(command);
        let value = self.execute_raw(C::NAME, arguments).await?;
        serde_json::from_value(value).map_err(|source| Error::Reply { command: C::NAME.to_owned(), source })
    }

    /// Executes a command by name. `arguments` is an object, or null for none.
    ///
    /// # Errors
    ///
    /// When the agent refuses, does not answer in time (perhaps none runs) or the channel is gone.
    pub async fn execute_raw(&self, name: &str, arguments: Value) -> Result<Value, Error> {
        let conversation = async {
            let mut channel = self.channel.lock().await;
            channel.ask(name, arguments).await?;
            channel.answer(name).await
        };
        timeout(self.reply_timeout, conversation).await.unwrap_or_else(|_elapsed| Err(self.timed_out(name)))
    }

    /// Sends a command that has no reply when it succeeds, as those that end or suspend the guest, and listens for a refusal for as long as
    /// `patience`.
    ///
    /// # Errors
    ///
    /// When the agent refuses, cannot be synchronised with or the channel is gone.
    pub async fn send_raw(&self, name: &str, arguments: Value, patience: Duration) -> Result<(), Error> {
        let asking = async {
            let mut channel = self.channel.lock().await;
            channel.ask(name, arguments).await.map(|()| channel)
        };
        let mut channel = timeout(self.reply_timeout, asking).await.map_err(|_elapsed| self.timed_out(name))??;
        match timeout(patience, channel.answer(name)).await {
            // A guest that is gone took its agent with it.
            Ok(Ok(_) | Err(Error::Closed { .. })) | Err(_) => Ok(()),
            Ok(Err(error)) => Err(error),
        }
    }

    fn timed_out(&self, name: &str) -> Error {
        Error::Timeout { command: name.to_owned(), after: self.reply_timeout }
    }
}

impl Channel {
    /// Synchronises if needed and sends the command.
    async fn ask(&mut self, name: &str, arguments: Value) -> Result<(), Error> {
        if !self.synchronised {
            self.synchronise(name).await?;
        }
        // Until the answer is here, whoever comes next has to synchronise.
        self.synchronised = false;
        self.send(name, codec::encode("execute", name, arguments, None)).await
    }

    async fn answer(&mut self, name: &str) -> Result<Value, Error> {
        loop {
            match self.next(name).await? {
                Some(Envelope::Return { value, .. }) => {
                    self.synchronised = true;
                    return Ok(value);
                }
                Some(Envelope::Error { class, description, .. }) => {
                    self.synchronised = true;
                    return Err(Error::Command { command: name.to_owned(), class, description });
                }
                Some(Envelope::Greeting(_) | Envelope::Event(_)) | None => {}
            }
        }
    }

    /// Skips whatever is left in the channel, up to the agent's answer to a number that it has not been asked before.
    async fn synchronise(&mut self, name: &str) -> Result<(), Error> {
        self.last_sync = self.last_sync.wrapping_add(1) & SYNC_MASK;
        let expected = self.last_sync;
        // 0xFF makes the agent forget an unfinished request of somebody else's.
        let mut line = vec![0xff];
        line.extend(codec::encode("execute", "guest-sync-delimited", json!({"id": expected}), None));
        self.send(name, line).await?;
        loop {
            if let Some(Envelope::Return { value, .. }) = self.next(name).await?
                && value.as_u64() == Some(expected)
            {
                self.synchronised = true;
                return Ok(());
            }
        }
    }

    async fn send(&mut self, name: &str, line: Vec<u8>) -> Result<(), Error> {
        self.still_open(name)?;
        let request = Outgoing { line, descriptor: None };
        write(self.incoming.stream(), request).await.map_err(|error| self.end(name, Closed::Write(Arc::new(error))))
    }

    /// The next message; `None` for something that is not one.
    async fn next(&mut self, name: &str) -> Result<Option<Envelope>, Error> {
        self.still_open(name)?;
        match self.incoming.next().await {
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(error @ codec::DecodeError::TooLong { .. })) => Err(self.end(name, Closed::Protocol { seen: error.to_string() })),
            Ok(Err(error)) => {
                tracing::debug!(%error, "Skipped a line of the guest agent");
                Ok(None)
            }
            Err(reason) => Err(self.end(name, reason)),
        }
    }

    fn still_open(&self, name: &str) -> Result<(), Error> {
        match &self.closed {
            None => Ok(()),
            Some(reason) => Err(Error::Closed { command: name.to_owned(), source: reason.clone() }),
        }
    }

    fn end(&mut self, name: &str, reason: Closed) -> Error {
        self.closed = Some(reason.clone());
        Error::Closed { command: name.to_owned(), source: reason }
    }
}

/// Agents read the number as a signed integer; some count in 32 bits.
const SYNC_MASK: u64 = 0x3fff_ffff;

/// Where to start counting: not where an earlier client of the same channel did.
fn first_sync() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) & SYNC_MASK
}
