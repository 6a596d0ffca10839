//! Sockets between guest and host (Virtio 1.2, 5.10), served in this process: no other machine's numbers to collide with, and nobody needs
//! root.
//!
//! [`SocketPorts`] is the host's side: who listens at which port, and who wants to connect. It outlives the device, which is made anew with
//! each boot. A connection is a pair of sockets, of which the host's program gets one.

mod connection;
mod farewell;
mod packet;
mod server;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hv::Event;
use serde_json::Value;

use self::connection::Connection;
use super::{Activation, Kind, VirtioDevice};
use crate::{EventLoop, Registration};

pub use packet::{HEADER_SIZE, Header, NO_RECEIVE, NO_SEND, operation};

const QUEUE_SIZE: u16 = 128;
/// The guest's number; the host's is 2.
pub const GUEST: u64 = 3;

/// How long a guest may take to answer who wants to connect to it. Linux itself waits for two seconds; a guest may be slow.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A connection that the guest wants, for whoever listens at its port; false refuses it.
pub type Accept = Box<dyn Fn(Connected) -> bool + Send + Sync>;
/// Who wants a connection to the guest, and is told what came of it.
type Connect = Box<dyn FnOnce(io::Result<Connected>) + Send>;

/// The host's end of a connection.
#[derive(Debug)]
pub struct Connected {
    /// A stream socket.
    pub socket: OwnedFd,
    /// The host's port.
    pub host_port: u32,
    /// The guest's port.
    pub guest_port: u32,
}

#[derive(Default)]
struct Host {
    listeners: BTreeMap<u32, Arc<Accept>>,
    wanted: VecDeque<(u32, Connect)>,
    is_served: bool,
    /// Connections of a driver that is gone, of which the host's programs have not read all that it sent.
    owing: Vec<Connection>,
}

/// The host's side.
pub struct SocketPorts {
    host: Mutex<Host>,
    wake: Event,
}

impl fmt::Debug for SocketPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketPorts")
    }
}

impl SocketPorts {
    /// Ports where nobody listens.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { host: Mutex::default(), wake: Event::new()? }))
    }

    fn lock(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on connections to this port are offered to `accept`, on the device's thread; false where somebody listens there already.
    pub fn listen(&self, port: u32, accept: Accept) -> bool {
        let mut host = self.lock();
        let is_free = !host.listeners.contains_key(&port);
        if is_free {
            host.listeners.insert(port, Arc::new(accept));
        }
        is_free
    }

    /// No longer.
    pub fn stop_listening(&self, port: u32) {
        self.lock().listeners.remove(&port);
    }

    /// Connects to a port of the guest. `done` is called on the device's thread, or at once where no driver is there. A guest that does not
    /// answer within [`CONNECT_PATIENCE`] has not been connected to (`TimedOut`).
    pub fn connect(&self, port: u32, done: impl FnOnce(io::Result<Connected>) + Send + 'static) {
        let mut host = self.lock();
        if host.is_served {
            host.wanted.push_back((port, Box::new(done)));
            drop(host);
            self.wake.signal();
        } else {
            drop(host);
            done(Err(io::ErrorKind::NotConnected.into()));
        }
    }

    /// The guest is gone: waits until the host's programs have taken what it sent, or no longer than this, and ends its connections.
    pub fn finish(&self, patience: Duration) {
        // Not under the lock: programs that have read may ask for something else.
        let owing = std::mem::take(&mut self.lock().owing);
        farewell::drain(owing, patience);
    }

    fn keep(&self, owing: impl IntoIterator<Item = Connection>) {
        self.lock().owing.extend(owing);
    }

    fn take_owing(&self) -> Vec<Connection> {
        std::mem::take(&mut self.lock().owing)
    }

    fn listener(&self, port: u32) -> Option<Arc<Accept>> {
        self.lock().listeners.get(&port).cloned()
    }

    fn next_wanted(&self) -> Option<(u32, Connect)> {
        self.lock().wanted.pop_front()
    }

    /// Whether a driver is there from now on.
    fn set_served(&self, is_served: bool) {
        let mut host = self.lock();
        host.is_served = is_served;
        let wanted = if is_served { VecDeque::new() } else { std::mem::take(&mut host.wanted) };
        drop(host);
        for (_, done) in wanted {
            done(Err(io::ErrorKind::NotConnected.into()));
        }
    }
}

/// The device.
#[derive(Debug)]
pub struct Socket {
    ports: Arc<SocketPorts>,
    events: Arc<EventLoop>,
    running: Option<Registration>,
    /// The guest is to be told that its connections are gone.
    lost_connections: bool,
}

impl Socket {
    /// A device with these ports, served by this loop.
    pub fn new(ports: Arc<SocketPorts>, events: Arc<EventLoop>) -> Self {
        Self { ports, events, running: None, lost_connections: false }
    }
}

impl VirtioDevice for Socket {
    fn kind(&self) -> Kind {
        Kind::Socket
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 3]
    }

    fn configuration(&self) -> Vec<u8> {
        GUEST.to_le_bytes().to_vec()
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Activation { queues, failure, .. } = activation;
        let mut queues = queues.into_iter();
        let (Some((0, receive)), Some((1, transmit))) = (queues.next(), queues.next()) else { return Ok(()) };
        let notices = server::Notices::new(queues.next().map(|(_, queue)| queue), std::mem::take(&mut self.lost_connections));
        let server = server::Server::new(receive, transmit, notices, Arc::clone(&self.ports), failure);
        self.running = Some(self.events.add(server, server::Server::begin)?);
        self.ports.set_served(true);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
        self.lost_connections = false;
        self.ports.set_served(false);
    }

    fn restore(&mut self, _state: &Value) -> io::Result<()> {
        // Their other ends were programs that another process talked to.
        self.lost_connections = true;
        Ok(())
    }
}
