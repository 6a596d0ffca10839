//! The guest's clipboard. Both sides may offer what they have, and ask for what the other has offered.

use crate::connection::Display;
use crate::error::{Error, Result, failed};
use crate::service::{Answer, send};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use zbus::{Connection, Message};

const PATH: &str = "/org/qemu/Display1/Clipboard";
const CLIPBOARD: &str = "org.qemu.Display1.Clipboard";
/// Largest content that is taken, in bytes.
const LARGEST: usize = 16 << 20;
/// Events that wait to be read; beyond, the display is refused.
const WAITING: usize = 32;
/// The most types that are looked at, and the longest name of one.
const MOST_TYPES: usize = 64;
/// How long the owner of the content may take.
const OWNER: Duration = Duration::from_secs(5);

/// Which clipboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// What is copied and pasted.
    Clipboard,
    /// What is selected, as X11 has it.
    Primary,
    /// The other one of X11.
    Secondary,
}

impl Selection {
    const fn number(self) -> u32 {
        match self {
            Self::Clipboard => 0,
            Self::Primary => 1,
            Self::Secondary => 2,
        }
    }

    fn from_number(number: u32) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Clipboard),
            1 => Ok(Self::Primary),
            2 => Ok(Self::Secondary),
            other => Err(format!("there is no selection {other}")),
        }
    }
}

/// What the guest's side does.
#[derive(Debug)]
pub enum ClipboardEvent {
    /// It begins anew: serial numbers count from 0 again.
    Reset,
    /// It has something of these types.
    Grab {
        /// Where.
        selection: Selection,
        /// Whoever has the higher one owns the content; of two equal ones, ours counts.
        serial: u32,
        /// MIME types.
        types: Vec<String>,
    },
    /// It has nothing any more.
    Release {
        /// Where.
        selection: Selection,
    },
    /// It wants what we have.
    Request {
        /// Where.
        selection: Selection,
        /// MIME types, the best first.
        types: Vec<String>,
        /// Takes the type and the content. Dropped, it says that there is none.
        reply: oneshot::Sender<(String, Vec<u8>)>,
    },
}

/// Our side of the clipboard. There is one at a time for a display.
#[derive(Debug)]
pub struct Clipboard {
    display: Display,
    events: mpsc::Receiver<ClipboardEvent>,
}

/// Answers what the display asks of our side.
#[derive(Debug)]
pub(crate) struct Handler {
    events: Mutex<Option<mpsc::Sender<ClipboardEvent>>>,
    pending: Arc<Semaphore>,
}

impl Default for Handler {
    fn default() -> Self {
        Self { events: Mutex::default(), pending: Arc::new(Semaphore::new(4)) }
    }
}

impl Display {
    /// Takes part in the guest's clipboard.
    ///
    /// # Errors
    /// Where the display has none, or another already takes part.
    pub async fn clipboard(&self) -> Result<Clipboard> {
        let (sender, events) = mpsc::channel(WAITING);
        *self.clipboard_handler().events.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let clipboard = Clipboard { display: self.clone(), events };
        clipboard.call("Register", &()).await?;
        Ok(clipboard)
    }
}

impl Clipboard {
    /// What the guest's side does next; `None` when the display is gone. A request must be answered soon.
    pub async fn next(&mut self) -> Option<ClipboardEvent> {
        self.events.recv().await
    }

    /// Says that we have something of these types.
    ///
    /// # Errors
    /// Where the display refuses.
    pub async fn grab(&self, selection: Selection, serial: u32, types: &[&str]) -> Result<()> {
        self.call("Grab", &(selection.number(), serial, types)).await
    }

    /// Says that we have nothing any more.
    ///
    /// # Errors
    /// Where the display refuses.
    pub async fn release(&self, selection: Selection) -> Result<()> {
        self.call("Release", &selection.number()).await
    }

    /// What the guest has, in the first of these types that it has it in: the type and the content.
    ///
    /// # Errors
    /// Where it has nothing of these types; where the content is larger than 16 MiB.
    pub async fn request(&self, selection: Selection, types: &[&str]) -> Result<(String, Vec<u8>)> {
        const WHAT: &str = "give the clipboard";
        let call = (selection.number(), types);
        let reply = self.display.connection().call_method(None::<&str>, PATH, Some(CLIPBOARD), "Request", &call).await;
        let reply = reply.map_err(failed(WHAT))?;
        let body = reply.body();
        if body.len() > LARGEST {
            return Err(Error::TooLarge(body.len()));
        }
        let (kind, content): (String, &[u8]) = body.deserialize().map_err(failed(WHAT))?;
        Ok((kind, content.to_vec()))
    }

    /// Takes part no longer.
    ///
    /// # Errors
    /// Where the display refuses.
    pub async fn unregister(self) -> Result<()> {
        self.display.clipboard_handler().end();
        self.call("Unregister", &()).await
    }

    async fn call<B>(&self, method: &'static str, body: &B) -> Result<()>
    where
        B: zbus::export::serde::Serialize + zbus::DynamicType,
    {
        self.display.call(PATH, CLIPBOARD, method, "share the clipboard", body).await
    }
}

impl Handler {
    /// Nobody takes part any more.
    pub(crate) fn end(&self) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Answers a call, or sees to it that it is answered.
    pub(crate) fn call(&self, connection: &Connection, message: &Message, interface: &str, member: &str) -> Option<Answer> {
        let outcome = match (interface, member) {
            (CLIPBOARD, "Request") => match self.request(connection, message) {
                Ok(()) => return None,
                Err(refusal) => Err(refusal),
            },
            (CLIPBOARD, _) => self.told(message, member),
            _ => Err(format!("there is no {interface}.{member}")),
        };
        Some(match outcome {
            Ok(()) => Answer::Empty,
            Err(refusal) => Answer::Refused(refusal),
        })
    }

    fn told(&self, message: &Message, member: &str) -> Result<(), String> {
        let wrong = |error: zbus::Error| error.to_string();
        let body = message.body();
        self.tell(match member {
            "Register" => ClipboardEvent::Reset,
            "Unregister" => return Ok(()),
            "Grab" => {
                let (selection, serial, types): (u32, u32, Vec<String>) = body.deserialize().map_err(wrong)?;
                ClipboardEvent::Grab { selection: Selection::from_number(selection)?, serial, types: few(types) }
            }
            "Release" => ClipboardEvent::Release { selection: Selection::from_number(body.deserialize().map_err(wrong)?)? },
            other => return Err(format!("there is no {CLIPBOARD}.{other}")),
        })
    }

    fn request(&self, connection: &Connection, message: &Message) -> Result<(), String> {
        let (selection, types): (u32, Vec<String>) = message.body().deserialize().map_err(|error| error.to_string())?;
        let turn = self.pending.clone().try_acquire_owned().map_err(|_| "too many requests at once")?;
        let (reply, content) = oneshot::channel();
        self.tell(ClipboardEvent::Request { selection: Selection::from_number(selection)?, types: few(types), reply })?;
        let (connection, message) = (connection.clone(), message.clone());
        tokio::spawn(async move {
            let header = message.header();
            let sent = match tokio::time::timeout(OWNER, content).await {
                Ok(Ok((kind, bytes))) => connection.reply(&header, &(kind, bytes)).await,
                _ => send(&connection, &header, Answer::Refused("the clipboard is empty".into())).await,
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "The display hears nothing of the clipboard");
            }
            drop(turn);
        });
        Ok(())
    }

    fn tell(&self, event: ClipboardEvent) -> Result<(), String> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let events = events.as_ref().ok_or("nobody shares the clipboard")?;
        events.try_send(event).map_err(|_| "nobody listens to the clipboard now".to_owned())
    }
}

fn few(types: Vec<String>) -> Vec<String> {
    types.into_iter().filter(|name| name.len() <= 256).take(MOST_TYPES).collect()
}
