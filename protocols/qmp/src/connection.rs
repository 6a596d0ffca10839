//! The task behind a client: it alone reads and writes the socket, so that no caller can leave half a request behind.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    codec::{self, DecodeError, Decoder, Envelope, ErrorClass, Greeting, RawEvent},
    error::{Closed, Error},
    notice::Events,
};

/// How much is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Unusable lines after which a connection is given up.
const MAX_UNUSABLE_LINES: usize = 64;

/// How long to go on reading replies after writing failed.
const DRAIN: Duration = Duration::from_secs(1);

/// One request, ready to be written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) line: Vec<u8>,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// What a peer said to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Return(Value),
    Error { class: ErrorClass, description: String },
}

/// What clients and their task have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    table: Mutex<Table>,
    events: broadcast::WeakSender<Arc<RawEvent>>,
    /// The receiver that exists since before the first event, for whoever asks first.
    first_receiver: Mutex<Option<broadcast::Receiver<Arc<RawEvent>>>>,
}

#[derive(Debug, Default)]
struct Table {
    last_id: u64,
    pending: HashMap<u64, Pending>,
    ended: bool,
}

#[derive(Debug)]
struct Pending {
    reply: oneshot::Sender<Reply>,
    /// Held until the peer has answered, even when the caller gave up.
    gate: Option<OwnedSemaphorePermit>,
}

impl Shared {
    pub(crate) fn new(events: broadcast::WeakSender<Arc<RawEvent>>, first_receiver: broadcast::Receiver<Arc<RawEvent>>) -> Self {
        Self { table: Mutex::default(), events, first_receiver: Mutex::new(Some(first_receiver)) }
    }

    /// A place for a reply; `None` after the end of the connection.
    pub(crate) fn register(self: &Arc<Self>, gate: Option<OwnedSemaphorePermit>) -> Option<Waiting> {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.table();
        if table.ended {
            return None;
        }
        table.last_id = table.last_id.wrapping_add(1);
        let id = table.last_id;
        let pending = Pending { reply: sender, gate };
        table.pending.insert(id, pending);
        drop(table);
        Some(Waiting { shared: Arc::clone(self), id, receiver })
    }

    pub(crate) fn subscribe(&self) -> Events {
        let first = self.first_receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events::new(first.or_else(|| self.events.upgrade().map(|sender| sender.subscribe())))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds the lock can panic half way; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: Option<&Value>, reply: Reply) {
        let mut table = self.table();
        let id = match id {
            Some(id) => id.as_u64(),
            // The peer could not read a request well enough to find its id. With one pending there is no doubt which.
            None if table.pending.len() == 1 => table.pending.keys().next().copied(),
            None => None,
        };
        let pending = id.and_then(|id| table.pending.remove(&id));
        drop(table);
        match pending {
            // Nobody waits any more when this fails: the call was dropped.
            Some(pending) => drop(pending.reply.send(reply)),
            None => tracing::debug!(?id, ?reply, "Dropped a reply that nobody waits for"),
        }
    }

    /// Ends every pending call.
    fn end(&self) {
        let mut table = self.table();
        table.ended = true;
        let pending = std::mem::take(&mut table.pending);
        drop(table);
        drop(pending);
    }
}

/// A caller's side of a pending request. Dropping it gives the reply up.
#[derive(Debug)]
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    id: u64,
    receiver: oneshot::Receiver<Reply>,
}

impl Waiting {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The reply; `None` when the connection ended before it came.
    pub(crate) async fn reply(mut self) -> Option<Reply> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        let guarded = table.pending.get(&self.id).is_some_and(|pending| pending.gate.is_some());
        if !guarded {
            table.pending.remove(&self.id);
        }
    }
}

/// A connection whose greeting and capabilities are settled.
#[derive(Debug)]
pub(crate) struct Negotiated {
    incoming: Incoming,
    pub(crate) greeting: Greeting,
    pub(crate) out_of_band: bool,
}

/// Waits for the greeting and leaves the negotiation mode of the peer.
pub(crate) async fn negotiate(stream: UnixStream, max_line: usize) -> Result<Negotiated, Error> {
    const COMMAND: &str = "qmp_capabilities";
    let closed = |source| Error::Closed { command: COMMAND.to_owned(), source };
    let mut incoming = Incoming::new(stream, Decoder::new(max_line));
    let greeting = loop {
        match incoming.next().await.map_err(closed)? {
            Ok(Envelope::Greeting(greeting)) => break greeting,
            Ok(Envelope::Event(_)) => {}
            Ok(other) => {
                return Err(Error::NotQmp { seen: codec::shorten(format!("{other:?}").as_bytes()) });
            }
            Err(error) => {
                return Err(Error::NotQmp { seen: seen(&error).to_owned() });
            }
        }
    };
    let out_of_band = greeting.capabilities.iter().any(|name| name == "oob");
    let arguments = if out_of_band { json!({"enable": ["oob"]}) } else { Value::Null };
    let request = Outgoing { line: codec::encode("execute", COMMAND, arguments, Some(0)), descriptor: None };
    write(&incoming.stream, request).await.map_err(|error| closed(Closed::Write(Arc::new(error))))?;
    loop {
        match incoming.next().await.map_err(closed)? {
            Ok(Envelope::Return { .. }) => break,
            Ok(Envelope::Error { class, description, .. }) => {
                return Err(Error::Command { command: COMMAND.to_owned(), class, description });
            }
            Ok(Envelope::Event(_) | Envelope::Greeting(_)) => {}
            Err(error) => {
                return Err(Error::NotQmp { seen: seen(&error).to_owned() });
            }
        }
    }
    Ok(Negotiated { incoming, greeting, out_of_band })
}

/// Reads and writes until either side is done, then ends every pending call.
pub(crate) async fn run(
    negotiated: Negotiated,
    shared: Arc<Shared>,
    events: broadcast::Sender<Arc<RawEvent>>,
    mut requests: mpsc::Receiver<Outgoing>,
    closed: watch::Sender<Option<Closed>>,
) {
    let mut incoming = negotiated.incoming;
    let stream = Arc::clone(&incoming.stream);
    let mut reading = Box::pin(read_all(&mut incoming, &shared, &events));
    let reason = tokio::select! {
        reason = &mut reading => reason,
        outcome = write_all(&stream, &mut requests) => match outcome {
            Ok(()) => Closed::ByUs,
            // A peer that closed may have answered before it did.
            Err(error) => match timeout(DRAIN, &mut reading).await {
                Ok(reason) => reason,
                Err(_elapsed) => Closed::Write(Arc::new(error)),
            },
        },
    };
    tracing::debug!(%reason, "QMP connection ended");
    // In this order: whoever learns of the end from a pending call finds the reason.
    closed.send_replace(Some(reason));
    requests.close();
    shared.end();
}

async fn read_all(incoming: &mut Incoming, shared: &Shared, events: &broadcast::Sender<Arc<RawEvent>>) -> Closed {
    let mut unusable: usize = 0;
    loop {
        let message = match incoming.next().await {
            Ok(message) => message,
            Err(reason) => return reason,
        };
        match message {
            Ok(Envelope::Return { id, value }) => {
                shared.answer(id.as_ref(), Reply::Return(value));
            }
            Ok(Envelope::Error { id, class, description }) => shared.answer(id.as_ref(), Reply::Error { class, description }),
            // Never blocks; without receivers it is an error that does not matter.
            Ok(Envelope::Event(event)) => drop(events.send(Arc::new(event))),
            Ok(Envelope::Greeting(_)) => tracing::debug!("The peer greeted again"),
            Err(error) => {
                unusable = unusable.saturating_add(1);
                if matches!(error, DecodeError::TooLong { .. }) || unusable > MAX_UNUSABLE_LINES {
                    return Closed::Protocol { seen: error.to_string() };
                }
                tracing::warn!(%error, "Skipped a line");
            }
        }
    }
}

async fn write_all(stream: &UnixStream, requests: &mut mpsc::Receiver<Outgoing>) -> io::Result<()> {
    while let Some(request) = requests.recv().await {
        write(stream, request).await?;
    }
    Ok(())
}

/// Writes a request, its descriptor with the first bytes.
pub(crate) async fn write(stream: &UnixStream, request: Outgoing) -> io::Result<()> {
    let Outgoing { line, mut descriptor } = request;
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || send_once(stream, rest, descriptor.as_ref()));
        match sent {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                descriptor = None;
                rest = rest.get(count..).unwrap_or_default();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_once(stream: &UnixStream, bytes: &[u8], descriptor: Option<&OwnedFd>) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|owned| [owned.as_fd()]);
    if let Some(descriptors) = &descriptors
        && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(io::Error::other("No room for the descriptor"));
    }
    // Not every kernel spares a writer the signal by default.
    let sent = sendmsg(stream, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

/// The incoming half: bytes, lines, messages.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Arc<UnixStream>,
    decoder: Decoder,
    buffer: Vec<u8>,
    messages: VecDeque<Result<Envelope, DecodeError>>,
}

impl Incoming {
    pub(crate) fn new(stream: UnixStream, decoder: Decoder) -> Self {
        Self { stream: Arc::new(stream), decoder, buffer: vec![0; CHUNK], messages: VecDeque::new() }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next message, or why there is none any more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Result<Envelope, DecodeError>, Closed> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            let failed = |error| Closed::Read(Arc::new(error));
            self.stream.readable().await.map_err(failed)?;
            match self.stream.try_read(&mut self.buffer) {
                Ok(0) => {
                    return Err(match self.decoder.unfinished() {
                        Some(seen) => Closed::MidMessage { seen },
                        None => Closed::ByPeer,
                    });
                }
                Ok(count) => {
                    let chunk = self.buffer.get(..count).unwrap_or_default();
                    self.messages.extend(self.decoder.push(chunk));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // How a Unix socket says that the peer left with our words unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Closed::ByPeer);
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn seen(error: &DecodeError) -> &str {
    match error {
        DecodeError::TooLong { seen, .. }
        | DecodeError::NotUtf8 { seen, .. }
        | DecodeError::NotJson { seen, .. }
        | DecodeError::NotAMessage { seen } => seen,
    }
}
