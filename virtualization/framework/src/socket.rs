//! Sockets between guest and host, as the host's programs use them.

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::completion::Completion;
use crate::engine::{Connected, SocketPorts};
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::Inbox;

/// Connections that a listener may leave unaccepted before more are refused.
const BACKLOG: usize = 128;

/// The socket device of a machine. Apple: `VZVirtioSocketDevice`.
///
/// The host is CID 2 (`VMADDR_CID_HOST`) to the guest. Listeners outlive a guest's reboot; connections do not.
#[derive(Debug, Clone)]
pub struct VirtioSocketDevice {
    ports: Arc<SocketPorts>,
}

impl VirtioSocketDevice {
    pub(crate) fn new(ports: Arc<SocketPorts>) -> Self {
        Self { ports }
    }

    /// Listens at a port of the host, until the listener is dropped. Apple: `setSocketListener(_:forPort:)`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidState`] where somebody listens there already.
    pub fn listen(&self, port: u32) -> Result<SocketListener> {
        let inbox: Arc<Inbox<SocketConnection>> = Arc::default();
        let connections = Arc::clone(&inbox);
        let accept = move |connected: Connected| connections.offer(SocketConnection::incoming(connected), BACKLOG);
        if self.ports.listen(port, Box::new(accept)) {
            Ok(SocketListener { ports: Arc::clone(&self.ports), port, inbox })
        } else {
            Err(Error::new(ErrorKind::InvalidState, format!("Somebody listens at the machine's port {port} already")))
        }
    }

    /// Connects to a port of the guest. Apple: `connect(toPort:completionHandler:)`.
    ///
    /// # Errors
    /// [`ErrorKind::Network`] where nobody listens there, the guest has no driver for the device (yet), or does not answer for some seconds.
    pub fn connect(&self, port: u32) -> Completion<SocketConnection> {
        let (completer, completion) = Completion::new();
        self.ports.connect(port, move |result| {
            completer.end(
                result
                    .map(SocketConnection::outgoing)
                    .map_err(|error| Error::because(ErrorKind::Network, format!("Could not connect to the guest's port {port}"), error)),
            );
        });
        completion
    }
}

/// Connections to a port of the host: a [`Stream`] for any executor, and an iterator that waits. Apple: `VZVirtioSocketListener`.
pub struct SocketListener {
    ports: Arc<SocketPorts>,
    port: u32,
    inbox: Arc<Inbox<SocketConnection>>,
}

impl SocketListener {
    /// The port.
    pub fn port(&self) -> u32 {
        self.port
    }
}

impl Stream for SocketListener {
    type Item = SocketConnection;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SocketConnection>> {
        self.inbox.poll(context)
    }
}

impl Iterator for SocketListener {
    type Item = SocketConnection;

    fn next(&mut self) -> Option<SocketConnection> {
        self.inbox.wait()
    }
}

impl Drop for SocketListener {
    fn drop(&mut self) {
        self.ports.stop_listening(self.port);
        self.inbox.end();
    }
}

impl fmt::Debug for SocketListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketListener({})", self.port)
    }
}

/// A connection between guest and host: a stream socket of this computer. Apple: `VZVirtioSocketConnection`.
#[derive(Debug)]
pub struct SocketConnection {
    stream: UnixStream,
    source_port: u32,
    destination_port: u32,
}

impl SocketConnection {
    fn incoming(connected: Connected) -> Self {
        let Connected { socket, host_port, guest_port } = connected;
        Self { stream: socket.into(), source_port: guest_port, destination_port: host_port }
    }

    fn outgoing(connected: Connected) -> Self {
        let Connected { socket, host_port, guest_port } = connected;
        Self { stream: socket.into(), source_port: host_port, destination_port: guest_port }
    }

    /// The port of the side that asked for the connection.
    pub fn source_port(&self) -> u32 {
        self.source_port
    }

    /// The port of the side that listened.
    pub fn destination_port(&self) -> u32 {
        self.destination_port
    }

    /// The socket, to be read and written; with its end the connection ends.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The socket as a descriptor, for an executor.
    pub fn into_descriptor(self) -> OwnedFd {
        self.stream.into()
    }
}
