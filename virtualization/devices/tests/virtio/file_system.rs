//! Shared directories, with the test playing the driver on one side and the server on the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use devices::virtio::FileSystem;
use devices::virtio::file_system::{Server, Start};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::driver::{Driver, Part, events};

/// What every server of vhost-user has that does what is needed.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 29 | 1 << 28;
const REPLY_ACK: u64 = 1 << 3;
/// Requests of a frontend until its queues are served: 4 at first, 2 for all queues, 6 for each of two.
const REQUESTS: usize = 4 + 2 + 12;
/// For servers that say nothing.
pub const IMPATIENCE: Duration = Duration::from_millis(200);

/// A request as it arrives.
pub struct Request {
    pub number: u32,
    pub wants_reply: bool,
    pub body: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

pub fn word(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap())
}

/// The next request; `None` where the frontend has gone.
pub fn receive(socket: &UnixStream) -> Option<Request> {
    let mut message = vec![0; 12];
    let mut descriptors = Vec::new();
    let mut received = 0;
    while received < message.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let count = recvmsg(socket, &mut [IoSliceMut::new(&mut message[received..])], &mut control, RecvFlags::empty()).ok()?.bytes;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = part {
                descriptors.extend(more);
            }
        }
        received += count;
        if count == 0 {
            return None;
        }
        if received == 12 {
            let size = u32::from_le_bytes(message[8..12].try_into().unwrap());
            message.resize(12 + size as usize, 0);
        }
    }
    let field = |place: usize| u32::from_le_bytes(message[place..place + 4].try_into().unwrap());
    Some(Request { number: field(0), wants_reply: field(4) & 8 != 0, body: message.split_off(12), descriptors })
}

pub fn answer(socket: &mut UnixStream, request: u32, value: u64) {
    let message = [&request.to_le_bytes()[..], &5_u32.to_le_bytes(), &8_u32.to_le_bytes(), &value.to_le_bytes()].concat();
    // The frontend may have gone.
    let _ = socket.write_all(&message);
}

/// What a server knows of a queue.
#[derive(Default)]
struct Ring {
    used: u64,
    available: u64,
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
}

/// What a server was told.
#[derive(Default)]
struct Told {
    features: u64,
    /// The memory's file, and where in it address 0 is.
    memory: Option<(File, u64)>,
    rings: BTreeMap<u64, Ring>,
    enabled: usize,
}

impl Told {
    /// Takes requests, `most` of them, until both queues are enabled; `false` where it ended before.
    fn take(&mut self, socket: &mut UnixStream, most: usize) -> bool {
        for _ in 0..most {
            let Some(request) = receive(socket) else { return false };
            let Request { number, wants_reply, body, mut descriptors } = request;
            let index = || u64::from(body[0]);
            match number {
                1 => answer(socket, number, FEATURES),
                15 => answer(socket, number, REPLY_ACK),
                2 => self.features = word(&body, 0),
                5 => {
                    assert_eq!((body[0], descriptors.len(), word(&body, 8)), (1, 1, 0));
                    self.memory = Some((descriptors.remove(0).into(), word(&body, 32)));
                }
                9 => {
                    let ring = self.rings.entry(index()).or_default();
                    (ring.used, ring.available) = (word(&body, 16), word(&body, 24));
                }
                12 => self.rings.entry(index()).or_default().kick = descriptors.pop(),
                13 => self.rings.entry(index()).or_default().call = descriptors.pop(),
                18 => self.enabled += 1,
                _ => {}
            }
            if wants_reply {
                answer(socket, number, 0);
            }
            if self.enabled == 2 {
                return true;
            }
        }
        false
    }

    /// Waits for a chain of a queue and says that 77 bytes were written to it.
    fn serve(&self, queue: u64) {
        let ring = &self.rings[&queue];
        poll(&mut [PollFd::new(ring.kick.as_ref().unwrap(), PollFlags::IN)], None).unwrap();
        let (memory, start) = self.memory.as_ref().unwrap();
        let mut index = [0; 2];
        memory.read_exact_at(&mut index, start + ring.available + 2).unwrap();
        assert_eq!(index, [1, 0]);
        memory.write_all_at(&[0, 0, 0, 0, 77, 0, 0, 0], start + ring.used + 4).unwrap();
        memory.write_all_at(&index, start + ring.used + 2).unwrap();
        rustix::io::write(ring.call.as_ref().unwrap(), &1_u64.to_ne_bytes()).unwrap();
    }
}

/// A server on a thread.
struct Fake(Option<JoinHandle<()>>);

impl Server for Fake {
    fn end(self: Box<Self>) -> Option<String> {
        Some("goodbye".to_owned())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.0.take().unwrap().join().unwrap();
    }
}

fn start(serve: impl Fn(UnixStream) + Clone + Send + 'static) -> Start {
    // Who asks may be a vCPU, which starts no threads.
    let (orders, inbox) = channel::<(UnixStream, Sender<JoinHandle<()>>)>();
    std::thread::spawn(move || {
        for (there, started) in inbox {
            let serve = serve.clone();
            started.send(std::thread::spawn(move || serve(there))).unwrap();
        }
    });
    Box::new(move || {
        let ((here, there), (sender, started)) = (UnixStream::pair()?, channel());
        orders.send((there, sender)).unwrap();
        Ok((here.into(), Box::new(Fake(Some(started.recv().unwrap())))))
    })
}

/// A device with such a server, and why its server went.
fn device(start: Start) -> io::Result<(Box<FileSystem>, Receiver<String>)> {
    patient(start, IMPATIENCE)
}

fn patient(start: Start, patience: Duration) -> io::Result<(Box<FileSystem>, Receiver<String>)> {
    let (sender, gone) = channel();
    let sender = Mutex::new(sender);
    let told = Arc::new(move |error: io::Error| drop(sender.lock().unwrap().send(error.to_string())));
    let device = FileSystem::new("shared", start, patience, told, events())?;
    Ok((Box::new(device), gone))
}

/// A device whose server does nothing but to agree.
pub fn agreeable() -> Box<FileSystem> {
    let serve = |mut socket: UnixStream| {
        Told::default().take(&mut socket, usize::MAX);
        while receive(&socket).is_some() {}
    };
    patient(start(serve), Duration::from_secs(10)).unwrap().0
}

/// Serves one request of the second queue and stays until the frontend goes.
fn honest(mut socket: UnixStream) {
    let mut told = Told::default();
    if told.take(&mut socket, usize::MAX) {
        assert_eq!(told.features, FEATURES & !(1 << 29 | 1 << 28));
        told.serve(1);
    }
    assert!(receive(&socket).is_none(), "the frontend asks for something more");
}

#[test]
fn a_server_is_given_memory_and_queues_and_every_driver_has_its_own() {
    let (device, gone) = device(start(honest)).unwrap();
    let mut driver = Driver::ready(device, 0);
    let configuration: [u8; 40] = driver.read(0x2000);
    assert_eq!(&configuration[..7], b"shared\0");
    assert_eq!(configuration[36..], [1, 0, 0, 0]);
    driver.request(1, &[Part::Give(vec![1; 40]), Part::Room(80)]);
    assert_eq!(driver.wait(1), 77);
    for _ in 0..3 {
        driver = driver.on_vcpu(|driver| driver.set_up(0, &[128, 1024]));
        driver.request(1, &[Part::Give(vec![1; 40]), Part::Room(80)]);
        assert_eq!(driver.status(), 15);
    }
    drop(driver);
    assert!(gone.try_recv().is_err(), "nothing has failed");
}

#[test]
fn a_server_that_goes_takes_only_its_device_along_and_the_next_driver_has_another() {
    let (device, gone) = device(start(|mut socket| {
        let mut told = Told::default();
        if told.take(&mut socket, usize::MAX) {
            told.serve(1);
        }
    }))
    .unwrap();
    let mut driver = Driver::ready(device, 0);
    for round in 0..3 {
        if round > 0 {
            driver = driver.on_vcpu(|driver| driver.set_up(0, &[128, 1024]));
        }
        driver.request(1, &[Part::Give(vec![1; 40]), Part::Room(80)]);
        driver.wait_for_needs_reset();
        assert_eq!(gone.recv().unwrap(), "it ended; the last that it said: goodbye");
    }
}

#[test]
fn a_server_may_hang_up_or_fall_silent_at_every_point() {
    for (requests, stays) in (0..REQUESTS).flat_map(|requests| [(requests, false), (requests, true)]) {
        let serve = move |mut socket: UnixStream| {
            Told::default().take(&mut socket, requests);
            while stays && receive(&socket).is_some() {}
        };
        let Ok((device, gone)) = device(start(serve)) else {
            assert!(requests <= 4, "a server that does {requests} requests is refused");
            continue;
        };
        let driver = Driver::ready(device, 0);
        driver.wait_for_needs_reset();
        gone.recv().unwrap();
    }
}

#[test]
fn a_server_that_speaks_unasked_is_ended() {
    let (device, gone) = device(start(|mut socket| {
        if Told::default().take(&mut socket, usize::MAX) {
            socket.write_all(b"hello").unwrap();
        }
        while receive(&socket).is_some() {}
    }))
    .unwrap();
    let driver = Driver::ready(device, 0);
    driver.wait_for_needs_reset();
    assert!(gone.recv().unwrap().contains("without being asked"));
}

#[test]
fn a_server_that_cannot_do_what_is_needed_is_refused() {
    for (features, protocol) in [(FEATURES & !(1 << 32), REPLY_ACK), (0, REPLY_ACK), (FEATURES, 0), (1 << 30, u64::MAX)] {
        let refused = device(start(move |mut socket| {
            while let Some(request) = receive(&socket) {
                match request.number {
                    1 => answer(&mut socket, 1, features),
                    15 => answer(&mut socket, 15, protocol),
                    _ => {}
                }
            }
        }));
        assert!(refused.err().unwrap().to_string().contains("goodbye"));
    }
    // One that refuses what it is told later.
    let (device, gone) = device(start(|mut socket| {
        Told::default().take(&mut socket, 4);
        while let Some(request) = receive(&socket) {
            answer(&mut socket, request.number, u64::from(request.number == 5));
        }
    }))
    .unwrap();
    let driver = Driver::ready(device, 0);
    assert_eq!(driver.status() & 64, 64);
    assert!(gone.recv().unwrap().contains("refused request 5"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_makes_the_device_panic_or_hang(
        requests in 0..REQUESTS, rubbish in proptest::collection::vec(any::<u8>(), 0..64), is_answer: bool,
    ) {
        let serve = move |mut socket: UnixStream| {
            Told::default().take(&mut socket, requests);
            let header = if is_answer { [1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0].to_vec() } else { Vec::new() };
            let _ = socket.write_all(&[header, rubbish.clone()].concat());
        };
        if let Ok((device, _)) = device(start(serve)) {
            Driver::ready(device, 0).wait_for_needs_reset();
        }
    }
}
