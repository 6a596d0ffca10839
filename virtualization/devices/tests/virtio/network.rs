//! The network card.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;

use devices::EventLoop;
use devices::virtio::{FrameStream, Frames, Network};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, Part, WRITE};

const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 7];
const HEADER: usize = 12;

fn card(wire: Box<dyn Frames>) -> Driver {
    Driver::ready(Box::new(Network::new(wire, ADDRESS, 9000, Arc::new(EventLoop::new("test").unwrap()))), 1 << 5)
}

fn datagrams() -> (Driver, UnixDatagram) {
    let (here, there) = UnixDatagram::pair().unwrap();
    (card(Box::new(OwnedFd::from(here))), there)
}

fn send(driver: &mut Driver, frame: &[u8]) {
    driver.request(1, &[Part::Give(vec![0; HEADER]), Part::Give(frame.to_vec())]);
}

/// Gives the card room for frames of this size, in this many buffers.
fn make_room(driver: &mut Driver, count: u16, size: u32) {
    for index in 0..count {
        driver.put_descriptor(0, index, Descriptor(BUFFERS + 0x1_0000 + u64::from(index) * u64::from(size), size, WRITE, 0));
        driver.offer(0, index);
    }
}

fn received(driver: &Driver, index: u64, size: u64, length: usize) -> Vec<u8> {
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
    let frame = vec![3; 60_000];
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

#[test]
fn a_wire_that_ends_or_lies_needs_a_reset() {
    let (here, there) = UnixStream::pair().unwrap();
    let driver = card(Box::new(FrameStream::new(here.into())));
    drop(there);
    driver.wait_for_needs_reset();
    let (here, mut there) = UnixStream::pair().unwrap();
    let driver = card(Box::new(FrameStream::new(here.into())));
    there.write_all(&[0xff; 8]).unwrap();
    driver.wait_for_needs_reset();
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
