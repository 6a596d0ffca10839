//! The connection to a machine's display, and what is found on it.

use crate::clipboard;
use crate::console::{self, Console};
use crate::error::{Error, Result, failed};
use crate::service::{QUEUE, Task, send, standard};
use async_trait::async_trait;
use futures::StreamExt;
use machine::display::{Head, HeadInfo, Playing, Recorder, Recording, Viewer};
use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use zbus::message::Type;
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant};

/// How long any answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Below this everything is.
const ROOT: &str = "/org/qemu/Display1";
/// The most objects that are looked at.
const MOST_OBJECTS: usize = 256;
/// The longest text that is taken from a display, in bytes.
const LONGEST_TEXT: usize = 256;

/// The properties of one interface of an object.
pub(crate) type Properties = HashMap<String, OwnedVariant>;
/// What an object has, by interface.
pub(crate) type Object = HashMap<String, Properties>;

/// A connection to a machine's display. Cheap to clone; the display sees it end when the last clone and all that came of it are dropped.
#[derive(Debug, Clone)]
pub struct Display {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    changes: watch::Receiver<u64>,
    clipboard: Arc<clipboard::Handler>,
    /// Reads the connection.
    _reader: Task,
}

impl Display {
    /// Greets the display at the other end of a socket.
    ///
    /// # Errors
    /// Where it does not answer as one.
    pub async fn connect(socket: UnixStream) -> Result<Self> {
        const WHAT: &str = "greet";
        let greeting =
            zbus::connection::Builder::unix_stream(socket).p2p().max_queued(QUEUE).method_timeout(PATIENCE).build_message_stream();
        let greeted = tokio::time::timeout(PATIENCE, greeting).await;
        let messages = greeted.map_err(|_| Error::Timeout { what: WHAT, after: PATIENCE })?.map_err(failed(WHAT))?;
        let connection = Connection::from(&messages);
        let (changed, changes) = watch::channel(0);
        let clipboard = Arc::new(clipboard::Handler::default());
        let reader = Task::spawn(read(messages, changed, clipboard.clone()));
        Ok(Self { inner: Arc::new(Inner { connection, changes, clipboard, _reader: reader }) })
    }

    /// Becomes another number when something about the display has changed: a property of any object, or which objects there are. Ends when
    /// the display is gone.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.clone()
    }

    /// Returns when the display is gone.
    pub async fn closed(&self) {
        self.inner.connection.closed().await;
    }

    /// The consoles, by their numbers.
    ///
    /// # Errors
    /// Where the display does not answer.
    pub async fn consoles(&self) -> Result<Vec<Console>> {
        let objects = self.objects().await?;
        let mut consoles: Vec<Console> = objects.iter().filter_map(|(path, object)| Console::found(self, path, object)).collect();
        consoles.sort_by_key(Console::id);
        Ok(consoles)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    pub(crate) fn clipboard_handler(&self) -> &Arc<clipboard::Handler> {
        &self.inner.clipboard
    }

    /// Everything that the display has, by path.
    pub(crate) async fn objects(&self) -> Result<Vec<(String, Object)>> {
        const WHAT: &str = "say what it has";
        let reply = self
            .connection()
            .call_method(None::<&str>, ROOT, Some("org.freedesktop.DBus.ObjectManager"), "GetManagedObjects", &())
            .await
            .map_err(failed(WHAT))?;
        let objects: HashMap<OwnedObjectPath, Object> = reply.body().deserialize().map_err(failed(WHAT))?;
        Ok(objects.into_iter().take(MOST_OBJECTS).map(|(path, object)| (path.as_str().to_owned(), object)).collect())
    }

    /// Calls a method that returns nothing.
    pub(crate) async fn call<B>(
        &self,
        path: &str,
        interface: &'static str,
        method: &'static str,
        what: &'static str,
        body: &B,
    ) -> Result<()>
    where
        B: zbus::export::serde::Serialize + zbus::DynamicType,
    {
        self.connection().call_method(None::<&str>, path, Some(interface), method, body).await.map(drop).map_err(failed(what))
    }

    /// The value of a property.
    pub(crate) async fn property<T>(&self, path: &str, interface: &'static str, name: &'static str, what: &'static str) -> Result<T>
    where
        T: TryFrom<OwnedVariant, Error = zbus::Error>,
    {
        let properties = "org.freedesktop.DBus.Properties";
        let reply = self.connection().call_method(None::<&str>, path, Some(properties), "Get", &(interface, name)).await;
        let value: OwnedVariant = reply.map_err(failed(what))?.body().deserialize().map_err(failed(what))?;
        T::try_from(value).map_err(failed(what))
    }
}

/// A text among the properties, cut to a length that can be shown; empty where there is none.
pub(crate) fn text(properties: &Properties, name: &str) -> String {
    let said = properties.get(name).and_then(|value| <&str>::try_from(&**value).ok()).unwrap_or_default();
    let end = said.char_indices().map(|(index, _)| index).take_while(|index| *index <= LONGEST_TEXT).last().unwrap_or(0);
    let cut = if said.len() <= LONGEST_TEXT { said } else { said.get(..end).unwrap_or_default() };
    cut.chars().filter(|character| !character.is_control()).collect()
}

/// A number among the properties; 0 where there is none.
pub(crate) fn number(properties: &Properties, name: &str) -> u32 {
    properties.get(name).and_then(|value| u32::try_from(&**value).ok()).unwrap_or(0)
}

/// Reads what the display says by itself: what has changed, and what it asks of the clipboard.
async fn read(mut messages: MessageStream, changed: watch::Sender<u64>, clipboard: Arc<clipboard::Handler>) {
    let connection = Connection::from(&messages);
    while let Some(Ok(message)) = messages.next().await {
        match message.message_type() {
            Type::Signal => changed.send_modify(|count| *count = count.wrapping_add(1)),
            Type::MethodCall => {
                let header = message.header();
                let interface = header.interface().map_or("", |interface| interface.as_str());
                let member = header.member().map_or("", |member| member.as_str());
                let answer = match standard(interface, member, &[]) {
                    Some(answer) => Some(answer),
                    // One that takes its time is sent when it is there.
                    None => clipboard.call(&connection, &message, interface, member),
                };
                if let Some(answer) = answer
                    && send(&connection, &header, answer).await.is_err()
                {
                    break;
                }
            }
            _ => {}
        }
    }
    clipboard.end();
}

#[async_trait]
impl Viewer for Display {
    async fn heads(&self) -> machine::Result<Vec<HeadInfo>> {
        Ok(console::heads(&self.consoles().await?))
    }

    async fn open(&self, head: usize) -> machine::Result<Head> {
        let consoles = self.consoles().await?;
        let info = console::heads(&consoles).into_iter().nth(head).ok_or(Error::NoHead(head))?;
        let console = consoles.into_iter().filter(Console::is_graphic).nth(head).ok_or(Error::NoHead(head))?;
        let (frames, control) = console.watch().await?;
        Ok(Head { info, frames, control })
    }

    async fn play(&self) -> machine::Result<Playing> {
        Ok(self.play().await?)
    }

    async fn record(&self, recorder: Box<dyn Recorder>) -> machine::Result<Recording> {
        Ok(self.record(recorder).await?)
    }
}
