//! A display server that says what a test tells it to.

use futures::StreamExt;
use qemu_display::{Display, Relay};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use tokio::sync::mpsc;
use zbus::message::Type;
use zbus::{Connection, Fd, Guid, Message, MessageStream, ObjectPath, Variant};

pub const LISTENER: &str = "org.qemu.Display1.Listener";
pub const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";
pub const BGRX: u32 = 0x2002_0888;

type Properties = HashMap<&'static str, Variant<'static>>;
type Objects = HashMap<ObjectPath<'static>, HashMap<&'static str, Properties>>;

/// The server's side of a connection.
pub struct Server {
    /// The connection on which it is called.
    pub main: Connection,
    /// Connections to listeners that the client has registered.
    pub listeners: mpsc::UnboundedReceiver<Connection>,
    /// What else was called: the method, and its message.
    pub calls: mpsc::UnboundedReceiver<(String, Message)>,
}

/// Where a thing is.
pub fn path(text: &'static str) -> ObjectPath<'static> {
    ObjectPath::try_from(text).unwrap()
}

fn console(label: &'static str, head: u32, kind: &'static str) -> HashMap<&'static str, Properties> {
    let properties = HashMap::from([
        ("Label", Variant::from(label)),
        ("Head", Variant::from(head)),
        ("Type", Variant::from(kind)),
        ("Width", Variant::from(640u32)),
        ("Height", Variant::from(480u32)),
        ("DeviceAddress", Variant::from("pci/0000/02.0")),
    ]);
    HashMap::from([("org.qemu.Display1.Console", properties)])
}

/// Two heads, a terminal, a serial port, and things that are none of these.
pub fn objects() -> Objects {
    let port = HashMap::from([("Name", Variant::from("org.qemu.console.serial.0")), ("FEOpened", Variant::from(true))]);
    HashMap::from([
        (path("/org/qemu/Display1/Console_10"), console("second", 1, "Graphic")),
        (path("/org/qemu/Display1/Console_2"), console("first", 0, "Graphic")),
        (path("/org/qemu/Display1/Console_3"), console("terminal", 0, "Text")),
        (path("/org/qemu/Display1/Console_x"), console("none", 0, "Graphic")),
        (path("/org/qemu/Display1/Chardev_0"), HashMap::from([("org.qemu.Display1.Chardev", port)])),
    ])
}

/// A server of these objects, and its client.
pub async fn serve(objects: Objects) -> (Server, Display) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (server, display) = tokio::join!(server(theirs, objects), Display::connect(ours));
    (server, display.unwrap())
}

/// A server of these objects, and a relay to it.
pub async fn relayed(objects: Objects) -> (Server, Relay) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (server, relay) = tokio::join!(server(theirs, objects), Relay::connect(ours));
    (server, relay.unwrap())
}

/// A viewer of a relay.
pub async fn viewer(relay: &Relay) -> Display {
    let (ours, theirs) = UnixStream::pair().unwrap();
    relay.serve(theirs);
    Display::connect(ours).await.unwrap()
}

async fn server(socket: UnixStream, objects: Objects) -> Server {
    let server = zbus::connection::Builder::unix_stream(socket).server(Guid::generate()).p2p();
    let messages = server.build_message_stream().await.unwrap();
    let main = Connection::from(&messages);
    let (listener, listeners) = mpsc::unbounded_channel();
    let (call, calls) = mpsc::unbounded_channel();
    tokio::spawn(answer(messages, objects, listener, call));
    Server { main, listeners, calls }
}

async fn answer(
    mut messages: MessageStream,
    objects: Objects,
    listeners: mpsc::UnboundedSender<Connection>,
    calls: mpsc::UnboundedSender<(String, Message)>,
) {
    let connection = Connection::from(&messages);
    while let Some(Ok(message)) = messages.next().await {
        if message.message_type() != Type::MethodCall {
            continue;
        }
        let header = message.header();
        let member = header.member().unwrap().to_string();
        match member.as_str() {
            "GetManagedObjects" => connection.reply(&header, &objects).await.unwrap(),
            "RegisterListener" | "RegisterOutListener" | "RegisterInListener" => {
                let socket: zbus::OwnedFd = message.body().deserialize().unwrap();
                connection.reply(&header, &()).await.unwrap();
                let socket = UnixStream::from(OwnedFd::from(socket));
                let builder = zbus::connection::Builder::unix_stream(socket).server(Guid::generate()).p2p();
                listeners.send(builder.build().await.unwrap()).unwrap();
            }
            "Get" => {
                let (_, name): (String, String) = message.body().deserialize().unwrap();
                let value = if name == "IsAbsolute" { Variant::from(true) } else { Variant::from(7u32) };
                connection.reply(&header, &value).await.unwrap();
            }
            "SetAbsPosition" => {
                let refused = "org.qemu.Display1.Error.InvalidFormat";
                connection.reply_error(&header, refused, &"Mouse is not absolute").await.unwrap();
            }
            _ => {
                connection.reply(&header, &()).await.unwrap();
                let _ = calls.send((member, message));
            }
        }
    }
}

/// Calls a listener; what it answers.
pub async fn tell<B>(listener: &Connection, interface: &str, method: &str, body: &B) -> zbus::Result<Message>
where
    B: zbus::export::serde::Serialize + zbus::DynamicType,
{
    listener.call_method(None::<&str>, "/org/qemu/Display1/Listener", Some(interface), method, body).await
}

/// Memory of so many bytes, each with the given value.
pub fn memory(length: usize, value: u8) -> File {
    let mut file = File::from(rustix::fs::memfd_create("display", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&vec![value; length]).unwrap();
    file
}

/// A shared picture, as a message's body.
pub fn map(file: &File, offset: u32, width: u32, height: u32, stride: u32, format: u32) -> (Fd<'_>, u32, u32, u32, u32, u32) {
    (Fd::from(file), offset, width, height, stride, format)
}
