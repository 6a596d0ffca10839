//! A network card whose queues another process serves, with the test playing the driver on one side and that process on the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use devices::virtio::network::{Backend, Link};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;

use crate::driver::Driver;
use crate::file_system::{IMPATIENCE, Request, answer, receive, word};
use crate::network::{PATIENCE, device, is_up, link, make_room, received, send};

/// Version 1, the protocol's features, and buffers that can be merged: what passt has, which lacks some that other devices need.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 15;
/// What the driver takes: an address, buffers that can be merged.
const TAKEN: u64 = 1 << 5 | 1 << 15;
/// Requests until the queues are served: 4 at first, 2 for both queues, 6 for each.
const REQUESTS: usize = 4 + 2 + 12;

/// What a backend tells the test.
#[derive(Debug, PartialEq)]
enum Seen {
    Features(u64),
    /// A queue begins here.
    Base(u64, u64),
    /// A queue ends.
    Ended(u64),
    Frame(Vec<u8>),
}

#[derive(Default)]
struct Ring {
    places: [u64; 3],
    next: u16,
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
    enabled: bool,
}

/// A process that serves queues: what the guest sends it tells, and uses at once.
struct Fake {
    socket: UnixStream,
    memory: Option<(File, u64)>,
    rings: BTreeMap<u64, Ring>,
    seen: Sender<Seen>,
}

impl Fake {
    /// Does so many requests; true where there could be more.
    fn serve(&mut self, most: usize) -> bool {
        for _ in 0..most {
            loop {
                let transmit = self.rings.get(&1).filter(|ring| ring.enabled).and_then(|ring| ring.kick.as_ref());
                let mut waited = vec![PollFd::new(&self.socket, PollFlags::IN)];
                waited.extend(transmit.map(|kick| PollFd::new(kick, PollFlags::IN)));
                poll(&mut waited, None).unwrap();
                if waited.iter().skip(1).any(|kick| kick.revents().contains(PollFlags::IN)) {
                    self.transmit();
                } else if !waited[0].revents().is_empty() {
                    break;
                }
            }
            let Some(request) = receive(&self.socket) else { return false };
            self.carry_out(request);
        }
        true
    }

    fn carry_out(&mut self, Request { number, wants_reply, body, mut descriptors }: Request) {
        let (seen, socket) = (&self.seen, &mut self.socket);
        // The test may have seen enough.
        let tell = |what| drop(seen.send(what));
        let index = body.first().copied().map_or(0, u64::from);
        let ring = self.rings.entry(index).or_default();
        match number {
            1 => answer(socket, number, FEATURES),
            15 => answer(socket, number, 1 << 3),
            2 => tell(Seen::Features(word(&body, 0))),
            5 => self.memory = Some((descriptors.remove(0).into(), word(&body, 32))),
            9 => ring.places = [8, 16, 24].map(|place| word(&body, place)),
            10 => {
                ring.next = body[4].into();
                tell(Seen::Base(index, body[4].into()));
            }
            11 => {
                ring.enabled = false;
                tell(Seen::Ended(index));
                answer(socket, number, index | u64::from(ring.next) << 32);
            }
            12 => ring.kick = descriptors.pop(),
            13 => ring.call = descriptors.pop(),
            18 => ring.enabled = true,
            _ => {}
        }
        if wants_reply {
            answer(socket, number, 0);
        }
    }

    fn transmit(&mut self) {
        let (memory, start) = self.memory.as_ref().unwrap();
        let read = |place: u64, bytes: &mut [u8]| memory.read_exact_at(bytes, start + place).unwrap();
        let half = |place: u64| {
            let mut bytes = [0; 2];
            read(place, &mut bytes);
            u16::from_le_bytes(bytes)
        };
        let ring = self.rings.get_mut(&1).unwrap();
        rustix::io::read(ring.kick.as_ref().unwrap(), &mut [0; 8]).unwrap();
        let [descriptors, used, available] = ring.places;
        while ring.next != half(available + 2) {
            let slot = u64::from(ring.next % 256);
            let head = half(available + 4 + slot * 2);
            let (mut packet, mut index) = (Vec::new(), head);
            loop {
                let mut descriptor = [0; 16];
                read(descriptors + u64::from(index) * 16, &mut descriptor);
                let mut part = vec![0; word(&descriptor, 8) as usize & 0xffff_ffff];
                read(word(&descriptor, 0), &mut part);
                packet.extend(part);
                if descriptor[12] & 1 == 0 {
                    break;
                }
                index = u16::from_le_bytes([descriptor[14], descriptor[15]]);
            }
            let element = [u32::from(head).to_le_bytes(), [0; 4]].concat();
            memory.write_all_at(&element, start + used + 4 + slot * 8).unwrap();
            ring.next = ring.next.wrapping_add(1);
            memory.write_all_at(&ring.next.to_le_bytes(), start + used + 2).unwrap();
            rustix::io::write(ring.call.as_ref().unwrap(), &1_u64.to_ne_bytes()).unwrap();
            drop(self.seen.send(Seen::Frame(packet.split_off(12))));
        }
    }
}

type Plugged = (Arc<Link>, Receiver<std::io::Error>, Receiver<Seen>);

/// A link to a backend that does this.
fn plugged(patience: Duration, run: impl FnOnce(Fake) + Send + 'static) -> std::io::Result<Plugged> {
    let (here, there) = UnixStream::pair().unwrap();
    let (sender, seen) = channel();
    std::thread::spawn(move || run(Fake { socket: there, memory: None, rings: BTreeMap::new(), seen: sender }));
    let (link, gone) = link(vec![Box::new(Backend::new(here.into(), patience)?)]);
    Ok((link, gone, seen))
}

fn honest() -> Plugged {
    plugged(PATIENCE, |mut fake| while fake.serve(100) {}).unwrap()
}

fn wait_for(seen: &Receiver<Seen>, wanted: &Seen) {
    while seen.recv_timeout(PATIENCE).unwrap() != *wanted {}
}

#[test]
fn a_backend_serves_the_queues_until_something_else_is_plugged_in() {
    let (link, gone, seen) = honest();
    let driver = Driver::of(device(&link, 1));
    driver.write(0x00, &0_u32.to_le_bytes());
    assert_eq!(u32::from_le_bytes(driver.read(0x04)) & (1 << 28 | 1 << 29), 0, "what the backend lacks is not offered");
    drop(driver);
    let mut driver = Driver::ready(device(&link, 1), TAKEN);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Features(1 << 32 | 1 << 30 | 1 << 15)));
    assert!(is_up(&driver));
    make_room(&mut driver, 3, 2048);
    for word in ["one", "two"] {
        send(&mut driver, word.as_bytes());
        wait_for(&seen, &Seen::Frame(word.into()));
    }
    // A driver that begins anew has the same one.
    driver = driver.on_vcpu(|driver| driver.set_up(TAKEN, &[256, 256]));
    wait_for(&seen, &Seen::Ended(1));
    make_room(&mut driver, 3, 2048);
    send(&mut driver, b"three");
    wait_for(&seen, &Seen::Frame(b"three".to_vec()));

    let (here, there) = UnixDatagram::pair().unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    link.replace(vec![Box::new(OwnedFd::from(here))]).unwrap();
    wait_for(&seen, &Seen::Ended(1));
    send(&mut driver, b"four");
    let mut frame = [0; 100];
    assert_eq!((there.recv(&mut frame).unwrap(), &frame[..4]), (4, &b"four"[..]));
    there.send(b"and back").unwrap();
    driver.until("the frame arrives", |driver| driver.used(0) == 1);
    assert_eq!(received(&driver, 0, 2048, 8), b"and back");
    assert_eq!(driver.status() & 64, 0);
    assert!(gone.try_recv().is_err());
}

#[test]
fn a_saved_card_is_where_its_backend_was_and_goes_on_with_or_without_one() {
    let (link, _gone, seen) = honest();
    let mut driver = Driver::ready(device(&link, 1), TAKEN);
    make_room(&mut driver, 3, 2048);
    for _ in 0..2 {
        send(&mut driver, b"before");
    }
    driver.function.pause();
    let saved = driver.save();
    assert_eq!([&saved["queues"][0]["next"], &saved["queues"][1]["next"]], [&json!((0, 0)), &json!((2, 2))]);
    while seen.try_recv().is_ok() {}
    driver.function.resume();
    wait_for(&seen, &Seen::Base(1, 2));
    send(&mut driver, b"after");
    wait_for(&seen, &Seen::Frame(b"after".to_vec()));

    driver.function.pause();
    let saved = driver.save();
    let (here, there) = UnixDatagram::pair().unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    let other = crate::network::link(vec![Box::new(OwnedFd::from(here))]).0;
    driver.restore(device(&other, 1), saved).unwrap();
    driver.function.resume();
    send(&mut driver, b"elsewhere");
    let mut frame = [0; 100];
    assert_eq!(there.recv(&mut frame).unwrap(), 9);
    there.send(b"and back").unwrap();
    driver.until("the frame arrives", |driver| driver.used(0) == 1);
    assert_eq!(received(&driver, 0, 2048, 8), b"and back");
}

/// The guest goes on, with a cable that is not plugged in.
fn assert_unplugged(driver: &mut Driver) {
    driver.until("the cable is unplugged", |driver| !is_up(driver));
    send(driver, b"to nobody");
    assert_eq!(driver.status(), 15);
}

#[test]
fn a_backend_may_hang_up_or_fall_silent_at_every_point() {
    for (requests, stays) in (0..=REQUESTS).flat_map(|requests| [(requests, false), (requests, true)]) {
        // One that hangs up has all the time that it needs; one that falls silent may be too slow before that, where the computer is busy.
        let made = plugged(if stays { IMPATIENCE } else { PATIENCE }, move |mut fake| {
            fake.serve(requests);
            while stays && receive(&fake.socket).is_some() {}
        });
        let Ok((link, gone, _seen)) = made else {
            assert!(stays || requests <= 4, "a backend that does {requests} requests is refused");
            continue;
        };
        let mut driver = Driver::ready(device(&link, 1), TAKEN);
        if stays && requests == REQUESTS {
            // It is found out when it is to stop.
            driver = driver.on_vcpu(|driver| driver.set_up(TAKEN, &[256, 256]));
        }
        gone.recv_timeout(PATIENCE).unwrap();
        assert_unplugged(&mut driver);
    }
}

#[test]
fn one_that_speaks_unasked_or_lacks_what_is_needed_is_no_backend() {
    let (link, gone, _seen) = plugged(PATIENCE, |mut fake| {
        fake.serve(REQUESTS);
        fake.socket.write_all(b"hello").unwrap();
        while receive(&fake.socket).is_some() {}
    })
    .unwrap();
    let mut driver = Driver::ready(device(&link, 1), TAKEN);
    assert!(gone.recv_timeout(PATIENCE).unwrap().to_string().contains("without being asked"));
    assert_unplugged(&mut driver);
    for (features, protocol) in [(FEATURES & !(1 << 15), 8), (FEATURES & !(1 << 32), 8), (FEATURES, 0)] {
        let refused = plugged(PATIENCE, move |mut fake| {
            while let Some(request) = receive(&fake.socket) {
                match request.number {
                    1 => answer(&mut fake.socket, 1, features),
                    15 => answer(&mut fake.socket, 15, protocol),
                    _ => {}
                }
            }
        });
        assert!(refused.is_err(), "{features:#x} {protocol}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_breaks_the_card(
        requests in 0..REQUESTS, rubbish in proptest::collection::vec(any::<u8>(), 0..64), is_answer: bool, begins_anew: bool,
    ) {
        let made = plugged(IMPATIENCE, move |mut fake| {
            fake.serve(requests);
            let header = if is_answer { [1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0].to_vec() } else { Vec::new() };
            let _ = fake.socket.write_all(&[header, rubbish].concat());
        });
        if let Ok((link, _gone, _seen)) = made {
            let mut driver = Driver::ready(device(&link, 1), TAKEN);
            if begins_anew {
                driver = driver.on_vcpu(|driver| driver.set_up(TAKEN, &[256, 256]));
            }
            assert_unplugged(&mut driver);
        }
    }
}

#[test]
fn a_card_that_agreed_to_more_is_not_given_one() {
    // What the framework relies on: such a card was saved with an attachment of another kind.
    let (here, _there) = UnixDatagram::pair().unwrap();
    let plain = link(vec![Box::new(OwnedFd::from(here))]).0;
    let mut driver = Driver::ready(device(&plain, 1), TAKEN | 1 << 29);
    driver.function.pause();
    let saved = driver.save();
    let (link, ..) = honest();
    assert!(driver.restore(device(&link, 1), saved).is_err());
}
