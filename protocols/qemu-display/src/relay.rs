//! One display for several viewers.
//!
//! QEMU speaks with one client at a time: a new one ends the connection of the last. So one connection is kept here, and viewers connect to
//! the relay, which hands on what they call and what QEMU answers. What a call carries along goes with it: the socket of a listener passes
//! from the viewer to QEMU, and pictures and sound go between these two from then on, without a relay.
//!
//! A viewer that goes leaves no key pressed. The clipboard has one owner on this side, the viewer that registered last: what QEMU asks goes there.

use crate::connection::PATIENCE;
use crate::error::{Error, Result, failed};
use crate::service::{Answer, QUEUE, Task, send, standard};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, broadcast};
use zbus::message::{Body, Header, Type};
use zbus::{Connection, DBusError, Guid, Message, MessageStream, Structure};

/// Viewers at once.
const MOST_VIEWERS: usize = 64;
/// Signals that a viewer may be behind before it misses some.
const BEHIND: usize = 64;
/// Calls of QEMU's that wait for a viewer.
const MOST_CALLS: usize = 4;

/// Keys and buttons that a viewer holds at once.
const MOST_HELD: usize = 64;

const KEYBOARD: &str = "org.qemu.Display1.Keyboard";
const MOUSE: &str = "org.qemu.Display1.Mouse";
const CLIPBOARD: &str = "org.qemu.Display1.Clipboard";

/// A connection to QEMU that several viewers use.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    _reader: Task,
}

#[derive(Debug)]
struct Shared {
    qemu: Connection,
    signals: broadcast::Sender<Message>,
    clipboard: Mutex<Option<Connection>>,
    places: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Relay {
    /// Greets the QEMU at the other end of a socket.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn connect(qemu: UnixStream) -> Result<Self> {
        const WHAT: &str = "greet";
        let builder = zbus::connection::Builder::unix_stream(qemu).p2p().max_queued(QUEUE).method_timeout(PATIENCE);
        let greeted = tokio::time::timeout(PATIENCE, builder.build_message_stream()).await;
        let messages = greeted.map_err(|_| Error::Timeout { what: WHAT, after: PATIENCE })?.map_err(failed(WHAT))?;
        let shared = Arc::new(Shared {
            qemu: Connection::from(&messages),
            signals: broadcast::channel(BEHIND).0,
            clipboard: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_VIEWERS)),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
        });
        let reader = Task::spawn(read(messages, shared.clone()));
        Ok(Self { shared, _reader: reader })
    }

    /// Whether QEMU is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.qemu.is_closed()
    }

    /// Serves a viewer until it or QEMU goes. One too many is disconnected.
    pub fn serve(&self, viewer: UnixStream) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let Ok(_place) = shared.places.clone().try_acquire_owned() else { return };
            let builder = zbus::connection::Builder::unix_stream(viewer).server(Guid::generate()).p2p().max_queued(QUEUE);
            let greeting = builder.method_timeout(PATIENCE).build_message_stream();
            if let Ok(Ok(messages)) = tokio::time::timeout(PATIENCE, greeting).await {
                serve(&shared, messages).await;
            }
        });
    }
}

async fn serve(shared: &Shared, mut messages: MessageStream) {
    let viewer = Connection::from(&messages);
    let mut signals = shared.signals.subscribe();
    let mut held = Held::default();
    loop {
        let outcome = tokio::select! {
            message = messages.next() => match message {
                Some(Ok(message)) if message.message_type() == Type::MethodCall => {
                    held.note(&message);
                    call(shared, &viewer, &message).await
                }
                Some(Ok(_)) => Ok(()),
                Some(Err(_)) | None => break,
            },
            signal = signals.recv() => match signal {
                Ok(signal) => hand_on(&viewer, &signal).await,
                Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => break,
            },
            () = shared.qemu.closed() => break,
        };
        if outcome.is_err() {
            break;
        }
    }
    for (path, interface, number) in held.0 {
        let _ = shared.qemu.call_method(None::<&str>, path.as_str(), Some(interface), "Release", &number).await;
    }
    if shared.release(&viewer) {
        let _ = shared.qemu.call_method(None::<&str>, "/org/qemu/Display1/Clipboard", Some(CLIPBOARD), "Unregister", &()).await;
    }
    let _ = viewer.close().await;
}

/// Keys and buttons that a viewer has pressed and not released: where, on which device, and their numbers. One that is killed releases
/// nothing, and a key that stays down is repeated for ever.
#[derive(Debug, Default)]
struct Held(BTreeSet<(String, &'static str, u32)>);

impl Held {
    fn note(&mut self, message: &Message) {
        let header = message.header();
        let devices = [KEYBOARD, MOUSE];
        let interface = devices.into_iter().find(|device| header.interface().is_some_and(|interface| interface == device));
        let (Some(interface), Some(path), Some(member)) = (interface, header.path(), header.member()) else { return };
        let Ok(number) = message.body().deserialize::<u32>() else { return };
        let what = (path.as_str().to_owned(), interface, number);
        if member == "Release" {
            self.0.remove(&what);
        } else if member == "Press" && self.0.len() < MOST_HELD {
            self.0.insert(what);
        }
    }
}

impl Shared {
    /// Takes the clipboard from a viewer; whether it had it.
    fn release(&self, viewer: &Connection) -> bool {
        let mut owner = self.clipboard.lock().unwrap_or_else(PoisonError::into_inner);
        owner.take_if(|owner| owner.server_guid() == viewer.server_guid()).is_some()
    }
}

/// A viewer calls QEMU.
async fn call(shared: &Shared, viewer: &Connection, message: &Message) -> zbus::Result<()> {
    let header = message.header();
    let of_clipboard = |method: &str| {
        header.interface().is_some_and(|interface| interface == CLIPBOARD) && header.member().is_some_and(|member| member == method)
    };
    if of_clipboard("Register") {
        *shared.clipboard.lock().unwrap_or_else(PoisonError::into_inner) = Some(viewer.clone());
    } else if of_clipboard("Unregister") {
        shared.release(viewer);
    }
    let outcome = repeat(&shared.qemu, &header, &message.body()).await;
    answer(viewer, &header, outcome).await
}

/// Calls at `target` what was called here.
async fn repeat(target: &Connection, header: &Header<'_>, body: &Body) -> zbus::Result<Message> {
    let path = header.path().ok_or(zbus::Error::MissingField)?;
    let member = header.member().ok_or(zbus::Error::MissingField)?;
    if body.is_empty() {
        return target.call_method(None::<&str>, path, header.interface(), member, &()).await;
    }
    let values: Structure<'_> = body.deserialize()?;
    target.call_method(None::<&str>, path, header.interface(), member, &values).await
}

/// Gives back what the other side answered.
async fn answer(caller: &Connection, header: &Header<'_>, outcome: zbus::Result<Message>) -> zbus::Result<()> {
    match outcome {
        Ok(reply) if reply.body().is_empty() => send(caller, header, Answer::Empty).await,
        Ok(reply) => {
            let body = reply.body();
            caller.reply(header, &body.deserialize::<Structure<'_>>()?).await
        }
        Err(zbus::Error::MethodError(name, said, _)) => caller.reply_error(header, name, &said.unwrap_or_default()).await,
        Err(zbus::Error::FDO(error)) => {
            let said = error.description().unwrap_or_default().to_owned();
            caller.reply_error(header, error.name(), &said).await
        }
        Err(error) => send(caller, header, Answer::Refused(error.to_string())).await,
    }
}

/// Sends a viewer a signal of QEMU's.
async fn hand_on(viewer: &Connection, signal: &Message) -> zbus::Result<()> {
    let header = signal.header();
    let (Some(path), Some(interface), Some(member)) = (header.path(), header.interface(), header.member()) else { return Ok(()) };
    let body = signal.body();
    if body.is_empty() {
        return viewer.emit_signal(None::<&str>, path, interface, member, &()).await;
    }
    viewer.emit_signal(None::<&str>, path, interface, member, &body.deserialize::<Structure<'_>>()?).await
}

/// Reads what QEMU says by itself.
async fn read(mut messages: MessageStream, shared: Arc<Shared>) {
    while let Some(Ok(message)) = messages.next().await {
        match message.message_type() {
            // An error only says that there is no viewer.
            Type::Signal => drop(shared.signals.send(message)),
            Type::MethodCall => {
                let header = message.header();
                let interface = header.interface().map_or("", |interface| interface.as_str());
                let member = header.member().map_or("", |member| member.as_str());
                let owner = shared.clipboard.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let turn = shared.calls.clone().try_acquire_owned();
                let refusal = match (standard(interface, member, &[]), owner, turn) {
                    (Some(answer), ..) => answer,
                    (None, Some(viewer), Ok(turn)) if interface == CLIPBOARD => {
                        let (shared, message) = (shared.clone(), message.clone());
                        tokio::spawn(async move {
                            let header = message.header();
                            let outcome = repeat(&viewer, &header, &message.body()).await;
                            let _ = answer(&shared.qemu, &header, outcome).await;
                            drop(turn);
                        });
                        continue;
                    }
                    _ => Answer::Refused("no viewer takes part".into()),
                };
                if send(&shared.qemu, &header, refusal).await.is_err() {
                    break;
                }
            }
            _ => {}
        }
    }
}
