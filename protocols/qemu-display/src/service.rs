//! Objects of ours that the display calls: listeners for pixels and sound, each on a connection of its own.

use crate::connection::PATIENCE;
use crate::error::{Error, Result, failed};
use futures::StreamExt;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use zbus::message::{Body, Flags, Header, Type};
use zbus::{Connection, Fd, MessageStream};

/// Messages that wait to be read. Beyond, whoever sends waits.
pub(crate) const QUEUE: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// What a call is answered with.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Nothing.
    Empty,
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Why a call is refused, for whoever called.
pub(crate) type Refusal = String;

/// An object that the display calls.
pub(crate) trait Service: Send {
    /// What it has besides its main interface.
    const INTERFACES: &'static [&'static str];
    /// A call. It is answered before the next one is looked at.
    ///
    /// # Errors
    /// A refusal, which is sent.
    fn call(&mut self, interface: &str, member: &str, body: &Body) -> Result<Reply, Refusal>;
}

/// Hands the display one end of a new connection by `method`, and returns what it sends on it.
pub(crate) async fn register(
    display: &Connection,
    path: &str,
    interface: &'static str,
    method: &'static str,
    what: &'static str,
) -> Result<MessageStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = Fd::from(OwnedFd::from(theirs));
    let call = async move { display.call_method(None::<&str>, path, Some(interface), method, &theirs).await };
    let greeting = zbus::connection::Builder::unix_stream(ours).p2p().max_queued(QUEUE).build_message_stream();
    // The display may answer before it greets, or after.
    let both = tokio::time::timeout(PATIENCE, futures::future::try_join(call, greeting)).await;
    let (_, messages) = both.map_err(|_| Error::Timeout { what, after: PATIENCE })?.map_err(failed(what))?;
    Ok(messages)
}

/// Answers calls until the connection ends.
pub(crate) async fn serve(mut messages: MessageStream, mut service: impl Service) {
    let connection = Connection::from(&messages);
    while let Some(Ok(message)) = messages.next().await {
        if message.message_type() != Type::MethodCall {
            continue;
        }
        let header = message.header();
        let answer = answer(&mut service, &header, &message.body());
        if send(&connection, &header, answer).await.is_err() {
            break;
        }
    }
}

/// What a call to any of our objects comes to.
pub(crate) enum Answer {
    Empty,
    Bytes(Vec<u8>),
    /// The value of the property `Interfaces`, alone or as the only one of all.
    Interfaces {
        all: bool,
        interfaces: &'static [&'static str],
    },
    Refused(Refusal),
}

fn answer(service: &mut impl Service, header: &Header<'_>, body: &Body) -> Answer {
    let interface = header.interface().map_or("", |interface| interface.as_str());
    let member = header.member().map_or("", |member| member.as_str());
    standard(interface, member, service_interfaces(service)).unwrap_or_else(|| match service.call(interface, member, body) {
        Ok(Reply::Empty) => Answer::Empty,
        Ok(Reply::Bytes(bytes)) => Answer::Bytes(bytes),
        Err(refusal) => Answer::Refused(refusal),
    })
}

const fn service_interfaces<S: Service>(_: &S) -> &'static [&'static str] {
    S::INTERFACES
}

/// What every object answers.
pub(crate) fn standard(interface: &str, member: &str, interfaces: &'static [&'static str]) -> Option<Answer> {
    match (interface, member) {
        ("org.freedesktop.DBus.Properties", "GetAll") => Some(Answer::Interfaces { all: true, interfaces }),
        ("org.freedesktop.DBus.Properties", "Get") => Some(Answer::Interfaces { all: false, interfaces }),
        ("org.freedesktop.DBus.Peer", "Ping") => Some(Answer::Empty),
        _ => None,
    }
}

/// Sends an answer, where one is expected.
pub(crate) async fn send(connection: &Connection, header: &Header<'_>, answer: Answer) -> zbus::Result<()> {
    if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
        return Ok(());
    }
    match answer {
        Answer::Empty => connection.reply(header, &()).await,
        Answer::Bytes(bytes) => connection.reply(header, &bytes).await,
        Answer::Interfaces { all: true, interfaces } => {
            let all: std::collections::HashMap<&str, zbus::Variant<'_>> =
                [("Interfaces", zbus::Variant::new(interfaces.to_vec()))].into_iter().collect();
            connection.reply(header, &all).await
        }
        Answer::Interfaces { all: false, interfaces } => connection.reply(header, &zbus::Variant::new(interfaces.to_vec())).await,
        Answer::Refused(said) => connection.reply_error(header, "org.freedesktop.DBus.Error.Failed", &said).await,
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(tokio::task::AbortHandle);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
