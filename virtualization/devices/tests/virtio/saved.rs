//! Devices that are saved, and go on in another process: here, as other objects over the same memory.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use devices::EventLoop;
use devices::virtio::balloon::{Balloon, BalloonTarget};
use devices::virtio::console::{Attachment, Attachments, Console, Port};
use devices::virtio::network::{Frames, Link, Network};
use devices::virtio::socket::{Socket, SocketPorts};
use devices::virtio::{Block, Disk, Entropy, VirtioDevice};
use proptest::prelude::*;
use serde_json::{Value, json};
use vm_memory::{Bytes, GuestAddress};

use crate::block::{self, SECTORS, header};
use crate::driver::{BUFFERS, Descriptor, Driver, Part, WRITE, confined, events, file};

fn disk(file: &File) -> Box<Block> {
    Box::new(Block::new(Disk::raw(file.try_clone().unwrap(), false).unwrap(), &confined()).unwrap())
}

/// A loop that stands still.
fn still() -> Arc<EventLoop> {
    let events = events();
    events.pause();
    events
}

#[test]
fn a_disk_goes_on_with_what_was_rung_and_not_yet_heard() {
    let file = file(SECTORS * 512);
    let mut driver = Driver::ready(disk(&file), 1 << 29);
    for round in 0..5_u8 {
        // More than a queue holds over all rounds, so that positions wrap around.
        for sector in 0..60 {
            assert_eq!(block::write(&mut driver, sector, vec![round; 512]), 0);
        }
        driver.function.pause();
        driver.memory.write_slice(&header(1, 61), GuestAddress(BUFFERS)).unwrap();
        driver.memory.write_slice(&[round + 100; 512], GuestAddress(BUFFERS + 16)).unwrap();
        for (index, part) in (0..).zip([Descriptor(BUFFERS, 528, 1, 1), Descriptor(BUFFERS + 528, 1, WRITE, 0)]) {
            driver.put_descriptor(0, index, part);
        }
        driver.offer(0, 0);
        let saved = driver.save();
        driver.restore(disk(&file), saved.clone()).unwrap();
        assert_eq!(driver.save(), saved, "nothing has happened yet");
        driver.function.resume();
        driver.wait(0);
        assert_eq!(block::read(&mut driver, 61, 512), (0, vec![round + 100; 512]));
        assert_eq!(block::read(&mut driver, 0, 512), (0, vec![round; 512]));
    }
    // The driver resets it as any other.
    driver.write(0x14, &[0]);
    assert_eq!(driver.status(), 0);
}

#[test]
fn a_device_that_nobody_uses_stays_one() {
    let file = file(SECTORS * 512);
    let mut driver = Driver::of(disk(&file));
    let saved = driver.save();
    driver.restore(disk(&file), saved).unwrap();
    driver.function.resume();
    driver.set_up(0, &[256]);
    assert_eq!(block::write(&mut driver, 0, vec![1; 512]), 0);
}

#[test]
fn one_that_needs_a_reset_still_does() {
    let file = file(SECTORS * 512);
    let mut driver = Driver::ready(disk(&file), 0);
    driver.set_available(0, 60_000);
    driver.ring(0);
    driver.wait_for_needs_reset();
    driver.function.pause();
    let saved = driver.save();
    driver.restore(disk(&file), saved).unwrap();
    driver.function.resume();
    assert_eq!(driver.status(), 15 | 64);
    driver.set_up(0, &[256]);
    assert_eq!(block::write(&mut driver, 0, vec![1; 512]), 0);
}

#[test]
fn the_link_goes_down_once_and_comes_back() {
    let card = |events| {
        let wires: Vec<Box<dyn Frames>> = vec![Box::new(OwnedFd::from(UnixDatagram::pair().unwrap().0))];
        let link = Link::new(wires, Box::new(|_| {})).unwrap();
        Box::new(Network::new(Arc::new(link), [2, 0, 0, 0, 0, 7], 1500, 2, events, &confined()).unwrap())
    };
    let events = still();
    let mut driver = Driver::ready(card(events.clone()), 1 << 5 | 1 << 16 | 1 << 17 | 1 << 22);
    assert_eq!(driver.read::<2>(0x2006), [1, 0]);
    events.resume();
    assert_eq!(driver.request(4, &[Part::Give(vec![4, 0, 2, 0]), Part::Room(1)]), [[0]], "two pairs are used");
    events.pause();
    let saved = driver.save();
    assert_eq!(saved["device"], json!((1500, 2)));
    driver.restore(card(events), saved.clone()).unwrap();
    assert_eq!(driver.save(), saved);
    // The address alone says nothing about the link.
    assert_eq!(driver.read::<6>(0x2000), [2, 0, 0, 0, 0, 7]);
    assert_eq!(driver.read::<2>(0x2006), [0, 0]);
    assert_eq!(driver.read::<2>(0x2006), [1, 0]);
}

#[test]
fn a_guest_is_told_that_its_connections_are_gone() {
    let socket = |events| Box::new(Socket::new(SocketPorts::new().unwrap(), events));
    let events = still();
    let mut driver = Driver::ready(socket(events.clone()), 0);
    driver.memory.write_slice(&[0xff; 8], GuestAddress(BUFFERS)).unwrap();
    driver.put_descriptor(2, 0, Descriptor(BUFFERS, 8, WRITE, 0));
    driver.offer(2, 0);
    let saved = driver.save();
    driver.restore(socket(events.clone()), saved).unwrap();
    assert_eq!(driver.used(2), 0);
    events.resume();
    assert_eq!(driver.wait(2), 4);
    assert_eq!(driver.memory.read_obj::<u64>(GuestAddress(BUFFERS)).unwrap(), 0xffff_ffff_0000_0000);
    // Once.
    driver.offer(2, 0);
    driver.request(1, &[Part::Give(vec![0; 44])]);
    assert_eq!(driver.used(2), 1);
}

#[test]
fn a_port_stays_open_and_a_message_is_not_lost() {
    let pipe = || {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (File::from(reader), File::from(writer))
    };
    let console = |input: File, output: File| {
        let attachment = Attachment { input: Some(Arc::new(input)), output: Some(Arc::new(output)) };
        let attachments = Arc::new(Attachments::new([(1, attachment)]));
        let port = Port { number: 1, name: None, is_console: false };
        Box::new(Console::multiple(vec![port], attachments, 2, Box::new(|_, _| {}), &confined()).unwrap())
    };
    let mut driver = Driver::ready(console(pipe().0, pipe().1), 1 << 1);
    let message = |port: u32, event: u16| [&port.to_le_bytes()[..], &event.to_le_bytes(), &1_u16.to_le_bytes()].concat();
    driver.request(3, &[Part::Give(message(1, 6))]);
    // The guest asks for ports, and has no room for the answer yet.
    driver.request(3, &[Part::Give(message(u32::MAX, 0))]);
    driver.function.pause();
    let saved = driver.save();
    let ((input, mut host), (mut heard, output)) = (pipe(), pipe());
    driver.restore(console(input, output), saved).unwrap();
    driver.function.resume();
    driver.put_descriptor(2, 0, Descriptor(BUFFERS + 0x1000, 64, WRITE, 0));
    driver.offer(2, 0);
    assert_eq!(driver.wait(2), 8);
    let mut answer = [0; 8];
    driver.memory.read_slice(&mut answer, GuestAddress(BUFFERS + 0x1000)).unwrap();
    assert_eq!(answer, [1, 0, 0, 0, 1, 0, 1, 0]);
    host.write_all(b"in").unwrap();
    driver.put_descriptor(4, 0, Descriptor(BUFFERS + 0x2000, 64, WRITE, 0));
    driver.offer(4, 0);
    assert_eq!(driver.wait(4), 2);
    driver.request(5, &[Part::Give(b"out".to_vec())]);
    let mut said = [0; 3];
    heard.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"out");
}

#[test]
fn a_balloon_has_what_it_had() {
    let events = still();
    let target = Arc::new(BalloonTarget::default());
    let mut driver = Driver::ready(Box::new(Balloon::new(target.clone(), events.clone())), 0);
    target.set(300);
    driver.write(0x2004, &200_u32.to_le_bytes());
    let saved = driver.save();
    let target = Arc::new(BalloonTarget::default());
    driver.restore(Box::new(Balloon::new(target.clone(), events)), saved).unwrap();
    assert_eq!((target.wanted(), target.actual()), (300, 200));
    assert_eq!(driver.read::<8>(0x2000), [44, 1, 0, 0, 200, 0, 0, 0]);
}

#[test]
fn what_was_another_device_is_refused() {
    let file = file(SECTORS * 512);
    let mut driver = Driver::ready(disk(&file), 0);
    driver.function.pause();
    let saved = driver.save();
    let error = driver.restore(Box::new(Entropy::new(still())), saved.clone()).unwrap_err();
    assert_eq!(error.to_string(), "it was another device");
    for (change, reason) in [
        (("/driver_features", json!(1 << 5)), "the guest uses what the device does not have"),
        (("/queues/0/used", json!(u64::MAX)), "a queue is not"),
        (("/queues/0/descriptors", json!(1_u64 << 40)), "a queue is not in memory"),
        (("/queues/0/size", json!(3)), "a queue is not set up right"),
        (("/interrupts/entries", json!([])), "another number of interrupts"),
        (("/queues", json!(7)), "invalid type"),
    ] {
        let mut other = saved.clone();
        *other.pointer_mut(change.0).unwrap() = change.1;
        let error = driver.restore(disk(&file), other).unwrap_err();
        assert!(error.to_string().contains(reason), "{change:?}: {error}", change = change.0);
    }
    driver.restore(disk(&file), saved).unwrap();
}

fn devices() -> Vec<Box<dyn VirtioDevice>> {
    let port = Port { number: 1, name: None, is_console: false };
    vec![
        disk(&file(SECTORS * 512)),
        Box::new(Entropy::new(still())),
        Box::new(Balloon::new(Arc::default(), still())),
        Box::new(Socket::new(SocketPorts::new().unwrap(), still())),
        Box::new(Console::multiple(vec![port], Arc::default(), 2, Box::new(|_, _| {}), &confined()).unwrap()),
    ]
}

/// All numbers and truth values in a state.
fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| leaves(element, found)),
        Value::Object(fields) => fields.values_mut().for_each(|field| leaves(field, found)),
        leaf => found.push(leaf),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_state_is_too_absurd(kind in 0..5_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0..64_u32), 1..6)) {
        let mut driver = Driver::ready(devices().remove(kind), 0);
        driver.function.pause();
        let mut saved = driver.save();
        let mut places = Vec::new();
        leaves(&mut saved, &mut places);
        for (place, value, shift) in changes {
            let place = place.index(places.len());
            *places[place] = if places[place].is_boolean() { json!(value & 1 == 1) } else { json!(value >> shift) };
        }
        if driver.restore(devices().remove(kind), saved).is_ok() {
            driver.function.resume();
            // Elsewhere than at its place, or switched off, is what a guest may have done with a function.
            if driver.answers() {
                driver.write(0x14, &[0]);
                prop_assert_eq!(driver.status(), 0);
            }
        }
    }
}
