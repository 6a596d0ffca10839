//! The device in use: packets in and out, and the connections that they are about.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use super::connection::{Connection, ROOM, Read};
use super::packet::{HEADER_SIZE, HOST, Header, NO_RECEIVE, NO_SEND, STREAM, operation};
use super::turns::Turns;
use super::{CONNECT_PATIENCE, Connect, Connected, GUEST, SocketPorts};
use crate::virtio::buffers::Buffers;
use crate::virtio::queue::{ActiveQueue, Failure};
use crate::{Handler, Interest, Watches};

/// Connections at a time; a guest that wants more is refused.
const CONNECTIONS: usize = 1024;
/// Packets that may wait for room in the guest; until there are fewer its own are left where they are.
const WAITING: usize = 4096;
/// The first port of the host's end of a connection that the host asks for.
const FIRST_PORT: u32 = 1 << 30;
/// Packets that are taken from the guest, or given to it, before other devices have their turn.
const TURN: usize = 256;
/// Bytes of data in one packet at most.
const DATA_MAXIMUM: usize = 64 << 10;

/// Tokens: the queues', that of the ports, and from here on those of connections.
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;
const PORTS: u32 = 2;
const NOTICES: u32 = 3;
const FIRST_CONNECTION: u32 = 16;

/// The ports of a connection: the host's and the guest's.
type Key = (u32, u32);

/// A packet of the guest's.
struct Packet {
    header: Header,
    data: Vec<u8>,
}

impl Packet {
    /// What is in a chain; data that is longer than any window is left out, which shows.
    fn of(mut buffers: Buffers<'_>) -> Option<Self> {
        let header = Header::from_bytes(buffers.read::<HEADER_SIZE>()?);
        let length = header.length.min(ROOM) as usize;
        let mut data = Vec::new();
        for part in buffers.take_readable() {
            let start = data.len();
            let count = part.len().min(length - start);
            data.resize(start + count, 0);
            part.copy_to(&mut data[start..]);
        }
        Some(Self { header, data })
    }
}

/// What the guest is told about the device as a whole (5.10.6.7).
pub struct Notices {
    queue: Option<ActiveQueue>,
    /// That all connections are gone is still to be told.
    is_reset: bool,
}

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`.
const TRANSPORT_RESET: u32 = 0;

impl Notices {
    pub fn new(queue: Option<ActiveQueue>, is_reset: bool) -> Self {
        Self { queue, is_reset }
    }

    /// Tells the guest, when it has room for that.
    fn give(&mut self) -> Result<(), virtio_queue::Error> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        queue.doorbell().take();
        let (memory, is_reset) = (queue.memory().clone(), &mut self.is_reset);
        queue.serve(|chain| {
            if !std::mem::take(is_reset) {
                return None;
            }
            let written = Buffers::of(chain, &memory).and_then(|mut buffers| buffers.write(&TRANSPORT_RESET.to_le_bytes()));
            Some(written.map_or(0, |()| TRANSPORT_RESET.to_le_bytes().len() as u32))
        })
    }
}

/// A connection that the host has asked for: our end, the program's, who is told, and until when the guest may answer.
struct Wanted {
    here: UnixStream,
    there: UnixStream,
    done: Connect,
    until: Instant,
}

/// The device in use.
pub struct Server {
    receive: ActiveQueue,
    transmit: ActiveQueue,
    notices: Notices,
    ports: Arc<SocketPorts>,
    failure: Failure,
    connections: BTreeMap<Key, (u32, Connection)>,
    tokens: BTreeMap<u32, Key>,
    /// Connections that are over for the guest, by token: the host's programs have not read all of what it sent.
    leaving: BTreeMap<u32, Connection>,
    next_token: u32,
    next_port: u32,
    /// Connections that the host has asked for.
    wanted: BTreeMap<Key, Wanted>,
    /// Packets without data for the guest.
    waiting: VecDeque<Header>,
    /// Connections that may have data for the guest.
    readable: Turns<Key>,
}

impl Server {
    pub fn new(receive: ActiveQueue, transmit: ActiveQueue, notices: Notices, ports: Arc<SocketPorts>, failure: Failure) -> Self {
        Self {
            receive,
            transmit,
            notices,
            ports,
            failure,
            connections: BTreeMap::new(),
            tokens: BTreeMap::new(),
            leaving: BTreeMap::new(),
            next_token: FIRST_CONNECTION,
            next_port: FIRST_PORT,
            wanted: BTreeMap::new(),
            waiting: VecDeque::new(),
            readable: Turns::default(),
        }
    }

    pub fn begin(&mut self, watches: &mut Watches) -> io::Result<()> {
        watches.add(RECEIVE, self.receive.doorbell(), Interest::Read)?;
        watches.add(TRANSMIT, self.transmit.doorbell(), Interest::Read)?;
        if let Some(queue) = &self.notices.queue {
            watches.add(NOTICES, queue.doorbell(), Interest::Read)?;
        }
        // What a driver before this one sent.
        for connection in self.ports.take_owing() {
            let token = self.take_token();
            watches.add(token, connection.descriptor(), Interest::Write)?;
            self.leaving.insert(token, connection);
        }
        watches.add(PORTS, &self.ports.wake, Interest::Read)
    }

    fn take_token(&mut self) -> u32 {
        let token = self.next_token;
        // After four thousand million connections the first ones are gone.
        self.next_token = self.next_token.checked_add(1).unwrap_or(FIRST_CONNECTION);
        token
    }

    /// Something to say about a connection.
    fn tell(&mut self, (host, guest): Key, operation: u16, flags: u32) {
        let (room, forwarded) = self.connections.get_mut(&(host, guest)).map_or((ROOM, 0), |(_, connection)| connection.account());
        self.waiting.push_back(Header {
            source: (HOST, host),
            destination: (GUEST, guest),
            kind: STREAM,
            operation,
            flags,
            room,
            forwarded,
            ..Header::default()
        });
    }

    fn add(&mut self, key: Key, connection: Connection, watches: &mut Watches) -> io::Result<()> {
        let token = self.take_token();
        watches.add(token, connection.descriptor(), connection.interest())?;
        self.connections.insert(key, (token, connection));
        self.tokens.insert(token, key);
        Ok(())
    }

    fn remove(&mut self, key: Key, watches: &mut Watches) {
        self.readable.remove(key);
        if let Some((token, _)) = self.connections.remove(&key) {
            self.tokens.remove(&token);
            watches.remove(token);
        }
    }

    /// Ends a connection for the guest, which is through with it. What it sent the host's program gets all the same.
    fn close(&mut self, key: Key, watches: &mut Watches) {
        self.readable.remove(key);
        let Some((token, mut connection)) = self.connections.remove(&key) else { return };
        self.tokens.remove(&token);
        if connection.end().is_ok_and(|owes_host| owes_host) && watches.change(token, Interest::Write).is_ok() {
            self.leaving.insert(token, connection);
        } else {
            watches.remove(token);
        }
    }

    /// Whether there is room for another connection.
    fn has_room(&self) -> bool {
        self.connections.len() + self.leaving.len() + self.wanted.len() < CONNECTIONS
    }

    /// Ends a connection of which the guest is told.
    fn reset(&mut self, key: Key, watches: &mut Watches) {
        self.tell(key, operation::RESET, 0);
        self.remove(key, watches);
    }

    /// A packet of the guest's.
    fn take(&mut self, Packet { header, data }: Packet, watches: &mut Watches) {
        let key = (header.destination.1, header.source.1);
        let is_ours = header.source.0 == GUEST && header.destination.0 == HOST && header.kind == STREAM;
        // Nothing is answered to a reset, or both sides would do so for ever.
        if !is_ours || data.len() != header.length as usize {
            if header.operation != operation::RESET {
                self.tell(key, operation::RESET, 0);
            }
            return;
        }
        match header.operation {
            operation::REQUEST => self.requested(key, &header, watches),
            operation::RESPONSE => self.answered(key, Some(&header), watches),
            operation::RESET => {
                self.answered(key, None, watches);
                // One that ended before, and waited for nothing but our answer to that, loses nothing.
                if self.connections.get(&key).is_some_and(|(_, connection)| connection.has_guest_ended()) {
                    self.close(key, watches);
                } else {
                    self.remove(key, watches);
                }
            }
            _ => {
                let Some((_, connection)) = self.connections.get_mut(&key) else {
                    self.tell(key, operation::RESET, 0);
                    return;
                };
                connection.update(&header);
                let done = match header.operation {
                    operation::DATA => connection.write(&data),
                    operation::SHUTDOWN if header.flags & NO_SEND != 0 => connection.end_of_guest(),
                    _ => Ok(()),
                };
                let is_over = header.operation == operation::SHUTDOWN && header.flags & NO_RECEIVE != 0 && header.flags & NO_SEND != 0;
                if done.is_err() || connection.is_over() {
                    self.reset(key, watches);
                } else if is_over {
                    self.tell(key, operation::RESET, 0);
                    self.close(key, watches);
                } else if header.operation == operation::CREDIT_REQUEST {
                    self.tell(key, operation::CREDIT_UPDATE, 0);
                } else {
                    self.readable.add(key);
                }
            }
        }
    }

    /// The guest wants a connection.
    fn requested(&mut self, key: Key, header: &Header, watches: &mut Watches) {
        let listener = self.ports.listener(key.0).filter(|_| self.has_room() && !self.connections.contains_key(&key));
        let accepted = listener.and_then(|accept| {
            let (here, there) = UnixStream::pair().ok()?;
            accept(Connected { socket: there.into(), host_port: key.0, guest_port: key.1 }).then_some(here)
        });
        let Some(here) = accepted else {
            self.tell(key, operation::RESET, 0);
            return;
        };
        let connection = Connection::new(OwnedFd::from(here), header);
        let operation = if self.add(key, connection, watches).is_ok() { operation::RESPONSE } else { operation::RESET };
        self.tell(key, operation, 0);
    }

    /// The guest answers a request of the host's; without a header it refuses it.
    fn answered(&mut self, key: Key, header: Option<&Header>, watches: &mut Watches) {
        let Some(Wanted { here, there, done, .. }) = self.wanted.remove(&key) else {
            if header.is_some() {
                self.tell(key, operation::RESET, 0);
            }
            return;
        };
        let result = match header {
            None => Err(io::ErrorKind::ConnectionRefused.into()),
            Some(header) => self.add(key, Connection::new(here.into(), header), watches),
        };
        if result.is_err() && header.is_some() {
            self.tell(key, operation::RESET, 0);
        }
        done(result.map(|()| Connected { socket: there.into(), host_port: key.0, guest_port: key.1 }));
    }

    /// What the host's programs want.
    fn ask(&mut self) {
        while let Some((port, done)) = self.ports.next_wanted() {
            if !self.has_room() {
                done(Err(io::Error::other("the guest has too many connections")));
                continue;
            }
            match UnixStream::pair() {
                Ok((here, there)) => {
                    let key = (self.next_port, port);
                    self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
                    self.wanted.insert(key, Wanted { here, there, done, until: Instant::now() + CONNECT_PATIENCE });
                    self.tell(key, operation::REQUEST, 0);
                }
                Err(error) => done(Err(error)),
            }
        }
    }

    /// Takes the guest's packets, as long as there is room for what they cause.
    fn take_all(&mut self, watches: &mut Watches) -> Result<(), virtio_queue::Error> {
        let memory = self.transmit.memory().clone();
        for _ in 0..TURN {
            if self.waiting.len() >= WAITING {
                return Ok(());
            }
            // One at a time: what it causes is this server's, and the queue is part of that.
            let (mut taken, mut is_over) = (None, true);
            self.transmit.serve(|chain| {
                if taken.is_some() || !is_over {
                    return None;
                }
                is_over = false;
                taken = Buffers::of(chain, &memory).and_then(Packet::of);
                Some(0)
            })?;
            if let Some(packet) = taken {
                self.take(packet, watches);
            }
            if is_over {
                return Ok(());
            }
        }
        // There may be more; it has its turn again.
        self.transmit.doorbell().signal();
        Ok(())
    }

    /// Takes what a driver that is gone has left in its queue, as far as it is for programs that are connected.
    fn take_last(&mut self) {
        let memory = self.transmit.memory().clone();
        let connections = &mut self.connections;
        let served = self.transmit.serve(|chain| {
            let packet = Buffers::of(chain, &memory).and_then(Packet::of);
            if let Some(Packet { header, data }) = packet
                && header.source.0 == GUEST
                && header.kind == STREAM
                && data.len() == header.length as usize
                && header.operation == operation::DATA
                && let Some((_, connection)) = connections.get_mut(&(header.destination.1, header.source.1))
            {
                // What is more than there is room for is lost, and so is what is for a program that is gone.
                let _ = connection.write(&data);
            }
            Some(0)
        });
        if let Err(error) = served {
            tracing::debug!(%error, "a guest's queue of sockets makes no sense at its end");
        }
    }

    /// Gives the guest packets, as long as it has room for them.
    fn give_all(&mut self, watches: &mut Watches) -> Result<(), virtio_queue::Error> {
        let memory = self.receive.memory().clone();
        let mut data = vec![0; DATA_MAXIMUM];
        for _ in 0..TURN {
            let Some(key) = self.next_to_give() else { return Ok(()) };
            let (mut gone, mut given, mut has_room) = (None, false, false);
            let (waiting, connections) = (&mut self.waiting, &mut self.connections);
            self.receive.serve(|chain| {
                if has_room {
                    return None;
                }
                has_room = true;
                let mut buffers = Buffers::of(chain, &memory).unwrap_or_default();
                let room = buffers.writable_length().saturating_sub(HEADER_SIZE).min(DATA_MAXIMUM);
                let (header, count) = match key {
                    None => (waiting.pop_front()?, 0),
                    Some(key) => {
                        // A buffer that has no room for data is of no use, now or later.
                        if room == 0 {
                            given = true;
                            return Some(0);
                        }
                        let (_, connection) = connections.get_mut(&key)?;
                        let (operation, flags, count) = match connection.read(&mut data[..room]) {
                            Ok(Read::Data(count)) => (operation::DATA, 0, count),
                            Ok(Read::End(flags)) => (operation::SHUTDOWN, flags, 0),
                            Ok(Read::Nothing) => return None,
                            Err(_) => {
                                gone = Some(key);
                                (operation::RESET, 0, 0)
                            }
                        };
                        let (room, forwarded) = connection.account();
                        let (source, destination) = ((HOST, key.0), (GUEST, key.1));
                        let length = count as u32;
                        (Header { source, destination, length, kind: STREAM, operation, flags, room, forwarded }, count)
                    }
                };
                given = true;
                let bytes = [&header.bytes()[..], &data[..count]].concat();
                Some(buffers.write(&bytes).map_or(0, |()| bytes.len() as u32))
            })?;
            match key {
                _ if gone.is_some() => gone.into_iter().for_each(|key| self.remove(key, watches)),
                // Everything waits for the guest's next doorbell.
                key if !has_room => {
                    key.into_iter().for_each(|key| self.leave(key, watches));
                    return Ok(());
                }
                None => {}
                Some(key) if given => self.readable.add(key),
                Some(key) => self.settle(key, watches),
            }
        }
        // There may be more; it has its turn again.
        self.ports.wake.signal();
        Ok(())
    }

    /// What is to be given next: a packet that waits (`Some(None)`), data of a connection, or nothing.
    #[allow(clippy::option_option, reason = "the inner one says which kind, the outer one whether there is any")]
    fn next_to_give(&mut self) -> Option<Option<Key>> {
        if !self.waiting.is_empty() {
            return Some(None);
        }
        self.readable.next().map(Some)
    }

    /// Waits with a connection, but not for data, for which the guest has no room.
    fn leave(&mut self, key: Key, watches: &mut Watches) {
        let Some((token, connection)) = self.connections.get(&key) else { return };
        let interest = match connection.interest() {
            Interest::Both | Interest::Write => Interest::Write,
            Interest::Read | Interest::Nothing => Interest::Nothing,
        };
        if watches.change(*token, interest).is_err() {
            self.reset(key, watches);
        }
    }

    /// Waits with a connection for what there is to wait for.
    fn settle(&mut self, key: Key, watches: &mut Watches) {
        let Some((token, connection)) = self.connections.get(&key) else { return };
        let (token, owes, is_over) = (*token, connection.owes_credit(), connection.is_over());
        if is_over || watches.change(token, connection.interest()).is_err() {
            self.reset(key, watches);
        } else if owes {
            self.tell(key, operation::CREDIT_UPDATE, 0);
        }
    }
}

impl Handler for Server {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        match token {
            RECEIVE => {
                self.receive.doorbell().take();
                // Room again for those that had something.
                self.connections.keys().for_each(|key| self.readable.add(*key));
            }
            TRANSMIT => {
                self.transmit.doorbell().take();
            }
            PORTS => {
                self.ports.wake.take();
                self.ask();
            }
            NOTICES => {}
            token => {
                if let Some(connection) = self.leaving.get_mut(&token) {
                    if connection.flush().is_err() || !connection.owes_host() {
                        self.leaving.remove(&token);
                        watches.remove(token);
                    }
                } else if let Some(key) = self.tokens.get(&token).copied() {
                    let flushed = self.connections.get_mut(&key).map(|(_, connection)| connection.flush());
                    match flushed {
                        Some(Err(_)) => self.reset(key, watches),
                        _ => self.readable.add(key),
                    }
                }
            }
        }
        if let Err(error) = self
            .notices
            .give()
            .and_then(|()| self.take_all(watches))
            .and_then(|()| self.give_all(watches))
            .and_then(|()| self.take_all(watches))
        {
            [RECEIVE, TRANSMIT, PORTS, NOTICES].into_iter().for_each(|token| watches.remove(token));
            self.failure.fail("socket", &error);
        }
    }

    fn until(&self) -> Option<Instant> {
        self.wanted.values().map(|wanted| wanted.until).min()
    }

    fn overdue(&mut self, _watches: &mut Watches) {
        let now = Instant::now();
        let late: Vec<Key> = self.wanted.iter().filter(|(_, wanted)| wanted.until <= now).map(|(key, _)| *key).collect();
        for key in late {
            // The guest has not seen it yet, or answers one that is not wanted any longer.
            self.waiting.retain(|header| (header.source.1, header.destination.1) != key);
            if let Some(wanted) = self.wanted.remove(&key) {
                (wanted.done)(Err(io::ErrorKind::TimedOut.into()));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.take_last();
        let ended = std::mem::take(&mut self.connections).into_values().map(|(_, connection)| connection);
        let all = ended.chain(std::mem::take(&mut self.leaving).into_values());
        self.ports.keep(all.filter_map(|mut connection| connection.end().is_ok_and(|owes_host| owes_host).then_some(connection)));
        for (_, Wanted { done, .. }) in std::mem::take(&mut self.wanted) {
            done(Err(io::ErrorKind::NotConnected.into()));
        }
    }
}
