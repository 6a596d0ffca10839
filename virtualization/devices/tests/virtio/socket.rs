//! Sockets between guest and host.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use devices::EventLoop;
use devices::virtio::socket::{
    CONNECT_PATIENCE, Connected, GUEST, HEADER_SIZE, Header, NO_RECEIVE, NO_SEND, Socket, SocketPorts, operation,
};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, Part, WRITE, events};

const RECEIVED: u64 = BUFFERS + 0x1_0000;
const BUFFER: u32 = 4096;
const SIZE: u16 = 128;
const PATIENCE: Duration = Duration::from_secs(10);

/// A guest's side of the device.
struct Guest {
    driver: Driver,
    events: Arc<EventLoop>,
    ports: Arc<SocketPorts>,
    read: u16,
}

impl Guest {
    fn new() -> Self {
        let ports = SocketPorts::new().unwrap();
        let events = events();
        let device = Socket::new(ports.clone(), events.clone());
        let mut driver = Driver::ready(Box::new(device), 0);
        for index in 0..SIZE {
            driver.put_descriptor(0, index, Descriptor(RECEIVED + u64::from(index) * u64::from(BUFFER), BUFFER, WRITE, 0));
            driver.offer(0, index);
        }
        Self { driver, events, ports, read: 0 }
    }

    fn listen(&self, port: u32) -> Receiver<Connected> {
        let (sender, connections) = channel();
        assert!(self.ports.listen(port, Box::new(move |connection| sender.send(connection).is_ok())));
        connections
    }

    fn send(&mut self, header: Header, data: &[u8]) {
        let header = Header { length: header.length.max(data.len() as u32), ..header };
        self.driver.request(1, &[Part::Give(header.bytes()), Part::Give(data.to_vec())]);
    }

    /// The next packet for the guest; its buffer is offered again.
    fn receive(&mut self) -> (Header, Vec<u8>) {
        self.driver.until("the device sends a packet", |driver| driver.used(0) != self.read);
        let index = self.read % SIZE;
        self.read = self.read.wrapping_add(1);
        let (head, length) = self.driver.used_element(0, index);
        let mut bytes = vec![0; length as usize];
        self.driver.memory.read_slice(&mut bytes, GuestAddress(RECEIVED + u64::from(head) * u64::from(BUFFER))).unwrap();
        let data = bytes.split_off(HEADER_SIZE);
        self.driver.offer(0, head as u16);
        (Header::from_bytes(bytes.try_into().unwrap()), data)
    }

    /// A connection that the guest has made to this port of the host.
    fn connect(&mut self, connections: &Receiver<Connected>, port: u32) -> UnixStream {
        self.send(packet(port, operation::REQUEST), b"");
        // One before it may have left room.
        let mut answers = std::iter::from_fn(|| Some(self.receive().0.operation));
        assert_eq!(answers.find(|answer| *answer != operation::CREDIT_UPDATE), Some(operation::RESPONSE));
        let connected = connections.recv_timeout(PATIENCE).unwrap();
        assert_eq!((connected.host_port, connected.guest_port), (port, 999));
        let stream = UnixStream::from(connected.socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// A packet of the guest's, from its port 999.
fn packet(port: u32, operation: u16) -> Header {
    Header { source: (GUEST, 999), destination: (2, port), kind: 1, operation, room: 64 << 10, ..Header::default() }
}

#[test]
fn a_guest_connects_and_both_sides_talk_and_end() {
    let mut guest = Guest::new();
    let connections = guest.listen(80);
    let mut stream = guest.connect(&connections, 80);
    guest.send(packet(80, operation::DATA), b"hello host");
    let mut said = [0; 10];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello host");
    stream.write_all(b"hello guest").unwrap();
    let (header, data) = guest.receive();
    assert_eq!((header.operation, &data[..]), (operation::DATA, &b"hello guest"[..]));
    assert_eq!((header.source, header.destination), ((2, 80), (GUEST, 999)));
    // The guest ends its half, then the host.
    guest.send(Header { flags: NO_SEND, ..packet(80, operation::SHUTDOWN) }, b"");
    assert_eq!(stream.read(&mut said).unwrap(), 0);
    drop(stream);
    let (header, _) = guest.receive();
    assert_eq!((header.operation, header.flags), (operation::SHUTDOWN, NO_SEND | NO_RECEIVE));
    assert_eq!(guest.receive().0.operation, operation::RESET);
}

#[test]
fn a_host_connects_where_the_guest_listens() {
    let mut guest = Guest::new();
    for is_accepted in [true, false] {
        let (sender, done) = channel();
        guest.ports.connect(22, move |result| sender.send(result).unwrap());
        let (request, _) = guest.receive();
        assert_eq!((request.operation, request.destination), (operation::REQUEST, (GUEST, 22)));
        let answer = if is_accepted { operation::RESPONSE } else { operation::RESET };
        let header = Header { source: (GUEST, 22), destination: request.source, ..packet(0, answer) };
        guest.send(header, b"");
        let result = done.recv_timeout(PATIENCE).unwrap();
        assert_eq!(result.is_ok(), is_accepted);
        if let Ok(connected) = result {
            UnixStream::from(connected.socket).write_all(b"x").unwrap();
            assert_eq!(guest.receive().1, b"x");
            assert_eq!(guest.receive().0.operation, operation::SHUTDOWN);
        }
    }
}

#[test]
fn nobody_there_is_a_reset() {
    let mut guest = Guest::new();
    for operation in [operation::REQUEST, operation::DATA, operation::RESPONSE, operation::CREDIT_REQUEST, 77] {
        guest.send(packet(5, operation), b"");
        assert_eq!(guest.receive().0.operation, operation::RESET, "{operation}");
    }
    for wrong in [Header { kind: 2, ..packet(5, 1) }, Header { destination: (9, 5), ..packet(5, 1) }, Header { length: 50, ..packet(5, 5) }]
    {
        guest.send(wrong, b"");
        assert_eq!(guest.receive().0.operation, operation::RESET, "{wrong:?}");
    }
}

#[test]
fn no_more_is_sent_than_the_guest_has_room_for() {
    let mut guest = Guest::new();
    let connections = guest.listen(80);
    let mut stream = guest.connect(&connections, 80);
    let sent: Vec<u8> = (0..200_000_u32).map(|index| index as u8).collect();
    let writer = sent.clone();
    let writing = std::thread::spawn(move || stream.write_all(&writer).map(|()| stream).unwrap());
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let (header, data) = guest.receive();
        assert_eq!(header.operation, operation::DATA);
        received.extend(data);
        // The guest's room is 64 KiB; it says that it has taken what it has when that is full.
        assert!(received.len() % (64 << 10) == 0 || received.len() / (64 << 10) == (received.len() - 1) / (64 << 10));
        if received.len() % (64 << 10) == 0 || received.len() == sent.len() {
            guest.send(Header { forwarded: received.len() as u32, ..packet(80, operation::CREDIT_UPDATE) }, b"");
        }
    }
    assert_eq!(received, sent);
    drop(writing.join().unwrap());
    assert_eq!(guest.receive().0.operation, operation::SHUTDOWN);
}

#[test]
fn a_guest_learns_that_there_is_room_again() {
    let mut guest = Guest::new();
    let connections = guest.listen(80);
    let mut stream = guest.connect(&connections, 80);
    let data = [7; 2048];
    let mut read = vec![0; data.len()];
    for _ in 0..64 {
        guest.send(packet(80, operation::DATA), &data);
        stream.read_exact(&mut read).unwrap();
    }
    let (header, _) = guest.receive();
    assert_eq!((header.operation, header.forwarded > 0), (operation::CREDIT_UPDATE, true));
    // One that sends more than there is room for is thrown out.
    let large = vec![0; 200 << 10];
    for _ in 0..20 {
        guest.send(packet(80, operation::DATA), &large);
    }
    while guest.receive().0.operation != operation::RESET {}
}

#[test]
fn a_guest_that_has_closed_loses_nothing_of_what_it_sent() {
    let mut guest = Guest::new();
    let connections = guest.listen(80);
    // It may reset the connection, when nobody answers its end for long enough.
    for (ends, port) in
        [[Some(NO_SEND | NO_RECEIVE), None], [Some(NO_SEND), Some(NO_SEND | NO_RECEIVE)], [Some(NO_SEND), None]].into_iter().zip(80..)
    {
        let connections = if port == 80 { &connections } else { &guest.listen(port) };
        let mut stream = guest.connect(connections, port);
        // More than a pair of sockets holds, which nobody reads yet.
        let mut sent = Vec::new();
        for part in 0..15_u8 {
            let data = vec![part; 20_000];
            guest.send(packet(port, operation::DATA), &data);
            sent.extend(data);
        }
        for flags in ends.into_iter().flatten() {
            guest.send(Header { flags, ..packet(port, operation::SHUTDOWN) }, b"");
        }
        if ends == [Some(NO_SEND), None] {
            guest.send(packet(port, operation::RESET), b"");
        } else {
            while guest.receive().0.operation != operation::RESET {}
        }
        // Its ports are free again.
        let mut other = guest.connect(connections, port);
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} of {} bytes arrived", received.len(), sent.len());
        guest.send(packet(port, operation::DATA), b"another");
        let mut said = [0; 7];
        other.read_exact(&mut said).unwrap();
        guest.send(packet(port, operation::RESET), b"");
        assert_eq!(other.read(&mut said).unwrap(), 0);
    }
}

/// A guest that has sent more than a pair of sockets holds, and is gone with a part of it still in its queue; what it sent.
fn gone(guest: &mut Guest, port: u32) -> (UnixStream, Vec<u8>) {
    let connections = guest.listen(port);
    let stream = guest.connect(&connections, port);
    let mut sent = Vec::new();
    for part in 0..15_u8 {
        let data = vec![part; 20_000];
        guest.send(packet(port, operation::DATA), &data);
        sent.extend(data);
    }
    // Nobody hears of this one.
    let last = [&Header { length: 5, ..packet(port, operation::DATA) }.bytes()[..], b"last!"].concat();
    guest.driver.memory.write_slice(&last, GuestAddress(BUFFERS)).unwrap();
    guest.driver.put_descriptor(1, 0, Descriptor(BUFFERS, last.len() as u32, 0, 0));
    guest.events.pause();
    guest.driver.offer(1, 0);
    guest.driver.write(0x14, &[0]);
    guest.events.resume();
    sent.extend(b"last!");
    (stream, sent)
}

#[test]
fn what_a_guest_sent_before_its_end_is_read_afterwards() {
    let mut guest = Guest::new();
    let (mut stream, sent) = gone(&mut guest, 80);
    let reading = std::thread::spawn(move || {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    guest.ports.finish(PATIENCE);
    let received = reading.join().unwrap();
    assert!(received == sent, "{} of {} bytes arrived", received.len(), sent.len());
}

#[test]
fn who_does_not_read_keeps_nobody_waiting_for_ever() {
    let mut guest = Guest::new();
    let (mut stream, sent) = gone(&mut guest, 80);
    guest.ports.finish(Duration::from_millis(50));
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(!received.is_empty() && received.len() < sent.len() && sent.starts_with(&received));
}

#[test]
fn what_a_driver_sent_is_read_while_the_next_one_is_there() {
    let mut guest = Guest::new();
    let (mut stream, sent) = gone(&mut guest, 80);
    guest.driver.set_up(0, &[SIZE; 3]);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} of {} bytes arrived", received.len(), sent.len());
}

#[test]
fn a_guest_that_does_not_answer_has_not_been_connected_to() {
    let mut guest = Guest::new();
    let (sender, done) = channel();
    guest.ports.connect(22, move |result| sender.send(result).unwrap());
    let (request, _) = guest.receive();
    assert_eq!(request.operation, operation::REQUEST);
    let error = done.recv_timeout(CONNECT_PATIENCE + PATIENCE).unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    // One that answers then is told that nobody waits.
    let header = Header { source: (GUEST, 22), destination: request.source, ..packet(0, operation::RESPONSE) };
    guest.send(header, b"");
    assert_eq!(guest.receive().0.operation, operation::RESET);
}

#[test]
fn a_reset_of_the_device_ends_what_is_under_way() {
    let mut guest = Guest::new();
    let connections = guest.listen(80);
    let mut stream = guest.connect(&connections, 80);
    let (sender, done) = channel();
    guest.ports.connect(22, move |result| sender.send(result).unwrap());
    guest.receive();
    guest.driver.write(0x14, &[0]);
    assert!(done.recv_timeout(PATIENCE).unwrap().is_err());
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let (sender, done) = channel();
    guest.ports.connect(22, move |result| sender.send(result).unwrap());
    assert!(done.try_recv().unwrap().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_packet_breaks_the_device(packets in proptest::collection::vec(
        (0..9_u16, 78..82_u32, 998..1001_u32, 0..70_000_u32, any::<u32>(), any::<u32>(), 0..5_u32, 0..600_usize), 0..60,
    )) {
        let mut guest = Guest::new();
        let connections = guest.listen(80);
        for (operation, port, source, length, room, forwarded, flags, data) in packets {
            let header = Header { source: (GUEST, source), length, room, forwarded, flags, ..packet(port, operation) };
            guest.driver.request(1, &[Part::Give(header.bytes()), Part::Give(vec![1; data])]);
        }
        guest.driver.write(0x14, &[0]);
        prop_assert_eq!(guest.driver.status(), 0);
        drop(connections);
    }
}
