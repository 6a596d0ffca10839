//! The network card.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use devices::virtio::Network;
use devices::virtio::network::{FrameStream, Frames, Link};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, NEXT, Part, WRITE, confined, events};
use crate::hostile::Plenty;

const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 7];
const HEADER: usize = 12;

/// The link of a card, and what is told when its other end goes.
pub fn link(wires: Vec<Box<dyn Frames>>) -> (Arc<Link>, Receiver<std::io::Error>) {
    let (sender, gone) = channel();
    (Arc::new(Link::new(wires, Box::new(move |error| drop(sender.send(error)))).unwrap()), gone)
}

pub fn device(link: &Arc<Link>, pairs: u16) -> Box<Network> {
    Box::new(Network::new(link.clone(), ADDRESS, 9000, pairs, events(), &confined()).unwrap())
}

fn card(wire: Box<dyn Frames>) -> Driver {
    Driver::ready(device(&link(vec![wire]).0, 1), 1 << 5)
}

fn datagrams() -> (Driver, UnixDatagram) {
    let (here, there) = UnixDatagram::pair().unwrap();
    (card(Box::new(OwnedFd::from(here))), there)
}

pub fn send(driver: &mut Driver, frame: &[u8]) {
    driver.request(1, &[Part::Give(vec![0; HEADER]), Part::Give(frame.to_vec())]);
}

/// Gives the card room for frames of this size, in this many buffers.
pub fn make_room(driver: &mut Driver, count: u16, size: u32) {
    for index in 0..count {
        driver.put_descriptor(0, index, Descriptor(BUFFERS + 0x1_0000 + u64::from(index) * u64::from(size), size, WRITE, 0));
        driver.offer(0, index);
    }
}

pub fn received(driver: &Driver, index: u64, size: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + length];
    driver.memory.read_slice(&mut bytes, GuestAddress(BUFFERS + 0x1_0000 + index * size)).unwrap();
    assert_eq!(bytes[..HEADER], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    bytes.split_off(HEADER)
}

#[test]
fn it_says_what_it_is() {
    let (driver, _there) = datagrams();
    assert_eq!(driver.read::<12>(0x2000), [2, 0, 0, 0, 0, 7, 1, 0, 1, 0, 0x28, 0x23]);
}

#[test]
fn frames_go_both_ways() {
    let (mut driver, there) = datagrams();
    send(&mut driver, b"from the guest");
    let mut frame = [0; 100];
    let length = there.recv(&mut frame).unwrap();
    assert_eq!(&frame[..length], b"from the guest");
    // One that is there before the guest has room, and one after.
    there.send(b"first").unwrap();
    make_room(&mut driver, 2, 2048);
    there.send(b"second").unwrap();
    assert_eq!(driver.wait(0), 12 + 6);
    assert_eq!(received(&driver, 0, 2048, 5), b"first");
    assert_eq!(received(&driver, 1, 2048, 6), b"second");
}

#[test]
fn frames_on_a_stream_are_cut_as_they_were() {
    let (here, mut there) = UnixStream::pair().unwrap();
    let mut driver = card(Box::new(FrameStream::new(here.into())));
    let frame: Vec<u8> = (0..60_000_u32).map(|place| (place % 251) as u8).collect();
    let writer = frame.clone();
    let reading = std::thread::spawn(move || {
        // More than the socket holds at once.
        for _ in 0..20 {
            let mut length = [0; 4];
            there.read_exact(&mut length).unwrap();
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            there.read_exact(&mut frame).unwrap();
            assert_eq!(frame, writer);
        }
        there
    });
    (0..20).for_each(|_| send(&mut driver, &frame));
    let mut there = reading.join().unwrap();
    make_room(&mut driver, 3, 2048);
    let both = [&[0, 0, 0, 3][..], b"one", &[0, 0, 0, 5], b"three", &[0, 0, 0, 2]].concat();
    for byte in both {
        there.write_all(&[byte]).unwrap();
    }
    there.write_all(b"xy").unwrap();
    assert_eq!(driver.wait(0), 12 + 2);
    assert_eq!((received(&driver, 0, 2048, 3), received(&driver, 1, 2048, 5)), (b"one".to_vec(), b"three".to_vec()));
}

/// Offers the card packets in this many chains, of which it hears at once. Every fourth chain is no packet. Each has its header in a part of
/// its own, and its frame, filled with its number, in two.
fn send_at_once(driver: &mut Driver, count: u16, size: u32, header: impl Fn(u16) -> [u8; HEADER]) {
    for number in 0..count {
        let place = BUFFERS + u64::from(number) * 0x1000;
        driver.memory.write_slice(&header(number), GuestAddress(place)).unwrap();
        driver.memory.write_slice(&vec![number as u8; size as usize], GuestAddress(place + 64)).unwrap();
        let (first, half) = (number * 3, size / 2);
        let more = if number % 4 == 3 { 0 } else { NEXT };
        driver.put_descriptor(1, first, Descriptor(place, HEADER as u32, more, first + 1));
        driver.put_descriptor(1, first + 1, Descriptor(place + 64, half, NEXT, first + 2));
        driver.put_descriptor(1, first + 2, Descriptor(place + 64 + u64::from(half), size - half, 0, 0));
    }
    driver.offer_all(1, (0..count).map(|number| number * 3));
}

/// Headers of packets that ask for nothing.
fn plain(_number: u16) -> [u8; HEADER] {
    [0; HEADER]
}

#[test]
fn packets_that_were_offered_at_once_arrive_whole_and_in_their_order() {
    let (mut driver, there) = datagrams();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    send_at_once(&mut driver, 60, 1001, plain);
    for number in (0..60_u8).filter(|number| number % 4 != 3) {
        let mut frame = [0; 2000];
        let length = there.recv(&mut frame).unwrap();
        assert_eq!(frame[..length], [number; 1001]);
    }
    driver.wait(1);
}

#[test]
fn a_stream_that_takes_only_a_part_gets_the_rest_when_it_has_room() {
    let (here, mut there) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&here, 1).unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut driver = card(Box::new(FrameStream::new(here.into())));
    send_at_once(&mut driver, 80, 3001, plain);
    for number in (0..80_u8).filter(|number| number % 4 != 3) {
        let mut length = [0; 4];
        there.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        there.read_exact(&mut frame).unwrap();
        assert_eq!(frame, [number; 3001]);
    }
    driver.wait(1);
}

#[test]
fn a_packet_that_asks_for_something_keeps_its_place_among_others() {
    let (here, there) = UnixDatagram::pair().unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    let (link, _gone) = link(Plenty::wire(true));
    let device = device(&link, 1);
    link.replace(vec![Box::new(OwnedFd::from(here))]).unwrap();
    let mut driver = Driver::ready(device, 1 << 5 | 1 << 0);
    // A checksum over all of the frame, at its second byte, of which there is none yet.
    let header = |number: u16| if number % 5 == 1 { [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0] } else { [0; HEADER] };
    send_at_once(&mut driver, 20, 100, header);
    for number in (0..20_u8).filter(|number| number % 4 != 3) {
        let mut frame = [0; 200];
        let length = there.recv(&mut frame).unwrap();
        assert_eq!((length, frame[0], frame[99]), (100, number, number));
        let is_changed = frame[..100] != [number; 100];
        assert_eq!(is_changed, number % 5 == 1, "{number}");
    }
    driver.wait(1);
}

pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn is_up(driver: &Driver) -> bool {
    driver.read::<2>(0x2006) == [1, 0]
}

#[test]
fn a_wire_that_ends_or_lies_is_unplugged_and_another_one_plugged_in() {
    let (here, mut there) = UnixStream::pair().unwrap();
    let (link, gone) = link(vec![Box::new(FrameStream::new(here.into()))]);
    let mut driver = Driver::ready(device(&link, 1), 1 << 5);
    assert!(is_up(&driver));
    there.write_all(&[0xff; 8]).unwrap();
    assert!(gone.recv_timeout(PATIENCE).unwrap().to_string().contains("a frame of"));
    assert!(!is_up(&driver));
    // What is sent now is lost.
    send(&mut driver, b"to nobody");
    for ends in [true, false] {
        let (here, there) = UnixDatagram::pair().unwrap();
        there.set_read_timeout(Some(PATIENCE)).unwrap();
        link.replace(vec![Box::new(OwnedFd::from(here))]).unwrap();
        assert!(is_up(&driver));
        send(&mut driver, b"to somebody");
        let mut frame = [0; 100];
        assert_eq!(there.recv(&mut frame).unwrap(), 11);
        make_room(&mut driver, 1, 2048);
        there.send(b"and back").unwrap();
        assert_eq!(driver.wait(0), 12 + 8);
        if ends {
            let (here, there) = UnixStream::pair().unwrap();
            link.replace(vec![Box::new(FrameStream::new(here.into()))]).unwrap();
            drop(there);
            gone.recv_timeout(PATIENCE).unwrap();
            assert!(!is_up(&driver));
        }
    }
    link.replace(Vec::new()).unwrap();
    assert!(!is_up(&driver));
    assert!(gone.try_recv().is_err());
    assert_eq!(driver.status() & 64, 0);
}

#[test]
fn a_frame_is_put_into_as_many_buffers_as_it_needs() {
    let (here, there) = UnixDatagram::pair().unwrap();
    let (link, _gone) = link(vec![Box::new(OwnedFd::from(here))]);
    let mut driver = Driver::ready(device(&link, 1), 1 << 5 | 1 << 15);
    let frame: Vec<u8> = (0..250).collect();
    make_room(&mut driver, 2, 100);
    there.send(&frame).unwrap();
    there.send(b"second").unwrap();
    send(&mut driver, b"served after what came before");
    assert_eq!(driver.used(0), 0, "there is no room for all of it yet");
    for index in 2..5 {
        driver.put_descriptor(0, index, Descriptor(BUFFERS + 0x1_0000 + u64::from(index) * 100, 100, WRITE, 0));
        driver.offer(0, index);
    }
    driver.until("both frames arrive", |driver| driver.used(0) == 4);
    assert_eq!([0, 1, 2, 3].map(|index| driver.used_element(0, index)), [(0, 100), (1, 100), (2, 62), (3, 18)]);
    let mut bytes = vec![0; 400];
    driver.memory.read_slice(&mut bytes, GuestAddress(BUFFERS + 0x1_0000)).unwrap();
    assert_eq!(bytes[10..12], [3, 0]);
    assert_eq!(bytes[12..262], frame);
    assert_eq!((&bytes[310..312], &bytes[312..318]), (&[1, 0][..], &b"second"[..]));
    // One for which the whole queue has no room is lost.
    driver.write(0x14, &[0]);
    driver.set_up(1 << 5 | 1 << 15, &[2, 2]);
    make_room(&mut driver, 2, 20);
    there.send(&frame).unwrap();
    driver.until("the buffers come back", |driver| driver.used(0) == 2);
    assert_eq!([0, 1].map(|index| driver.used_element(0, index).1), [0, 0]);
}

#[test]
fn several_pairs_send_and_the_guest_says_how_many_it_uses() {
    let pairs: Vec<(UnixDatagram, UnixDatagram)> = (0..2).map(|_| UnixDatagram::pair().unwrap()).collect();
    let (here, there): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let wires = here.into_iter().map(|end| Box::new(OwnedFd::from(end)) as Box<dyn Frames>).collect();
    let (link, _gone) = link(wires);
    let mut driver = Driver::of(device(&link, 2));
    driver.set_up(1 << 5 | 1 << 17 | 1 << 22, &[16; 5]);
    assert_eq!(driver.read::<2>(0x2008), [2, 0]);
    let room = |driver: &mut Driver| {
        driver.put_descriptor(2, 0, Descriptor(BUFFERS + 0x1_0000, 2048, WRITE, 0));
        driver.offer(2, 0);
    };
    room(&mut driver);
    there[1].send(b"early").unwrap();
    let frame = [vec![0; HEADER], b"second pair".to_vec()].concat();
    driver.request(3, &[Part::Give(frame)]);
    let mut bytes = [0; 100];
    assert_eq!(there[1].recv(&mut bytes).unwrap(), 11);
    assert_eq!(driver.used(2), 0, "the pair is not in use");
    let command = |driver: &mut Driver, bytes: &[u8]| driver.request(4, &[Part::Give(bytes.to_vec()), Part::Room(1)])[0][0];
    for wrong in [&[4, 0, 0, 0][..], &[4, 0, 3, 0], &[4, 0, 1], &[4, 1, 1, 0], &[0, 0, 1, 0], &[]] {
        assert_eq!(command(&mut driver, wrong), 1, "{wrong:?}");
    }
    assert_eq!(command(&mut driver, &[4, 0, 2, 0]), 0);
    assert_eq!(driver.wait(2), 12 + 5);
    assert_eq!(driver.status() & 64, 0);
}

#[test]
fn what_is_no_frame_is_left_out() {
    let (mut driver, there) = datagrams();
    driver.request(1, &[Part::Give(vec![0; 5])]);
    driver.request(1, &[Part::Give(vec![0; HEADER])]);
    driver.request(1, &[Part::Room(50)]);
    // One for which the guest's buffer is too small.
    make_room(&mut driver, 2, 16);
    there.send(&[1; 100]).unwrap();
    there.send(b"fits").unwrap();
    assert_eq!(driver.wait(0), 16);
    send(&mut driver, b"still here");
    let mut frame = [0; 100];
    assert_eq!(there.recv(&mut frame).unwrap(), 10);
}
