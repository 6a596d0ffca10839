//! The console.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use devices::virtio::console::{Attachment, Attachments, Console, Port};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, NEXT, Part, WRITE, confined};

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer.into())
}

fn attachment(input: Option<File>, output: Option<File>) -> Attachment {
    Attachment { input: input.map(Arc::new), output: output.map(Arc::new) }
}

const ROOM: u64 = BUFFERS + 0x2_0000;

/// Gives a queue one buffer of this many bytes.
fn make_room(driver: &mut Driver, queue: u16, size: u32) {
    driver.put_descriptor(queue, 0, Descriptor(ROOM + u64::from(queue) * 0x1000, size, WRITE, 0));
    driver.offer(queue, 0);
}

/// What the device put into the last such buffer.
fn received(driver: &Driver, queue: u16) -> Vec<u8> {
    let mut bytes = vec![0; driver.wait(queue) as usize];
    driver.memory.read_slice(&mut bytes, GuestAddress(ROOM + u64::from(queue) * 0x1000)).unwrap();
    bytes
}

fn next(driver: &mut Driver, queue: u16, size: u32) -> Vec<u8> {
    make_room(driver, queue, size);
    received(driver, queue)
}

fn control(driver: &mut Driver, port: u32, event: u16, value: u16) {
    driver.request(3, &[Part::Give([&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat())]);
}

#[test]
fn one_port_is_a_console_at_once() {
    let ((input, mut keyboard), (mut screen, output)) = (pipe(), pipe());
    let console = Console::single(attachment(Some(input), Some(output)), &confined()).unwrap();
    let mut driver = Driver::ready(Box::new(console), 0);
    driver.request(1, &[Part::Give(b"login: ".to_vec()), Part::Give(vec![b'x'; 5000])]);
    let mut said = vec![0; 5007];
    screen.read_exact(&mut said).unwrap();
    assert_eq!(&said[..8], b"login: x");
    // Before there is room, and after; more than fits.
    keyboard.write_all(b"root\n").unwrap();
    assert_eq!(next(&mut driver, 0, 3), b"roo");
    assert_eq!(next(&mut driver, 0, 100), b"t\n");
    make_room(&mut driver, 0, 100);
    keyboard.write_all(b"ls\n").unwrap();
    assert_eq!(received(&driver, 0), b"ls\n");
    // It goes on after a reset.
    driver.write(0x14, &[0]);
    driver.set_up(0, &[64, 64]);
    keyboard.write_all(b"again").unwrap();
    assert_eq!(next(&mut driver, 0, 100), b"again");
}

#[test]
fn an_input_that_is_a_file_is_read_to_its_end() {
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(&[b'a'; 300]).unwrap();
    input.rewind().unwrap();
    let console = Console::single(attachment(Some(input), None), &confined()).unwrap();
    let mut driver = Driver::ready(Box::new(console), 0);
    assert_eq!(next(&mut driver, 0, 200).len(), 200);
    assert_eq!(next(&mut driver, 0, 200).len(), 100);
}

#[test]
fn ports_are_named_and_opened() {
    let ((input, mut host), (mut heard, output)) = (pipe(), pipe());
    let (sender, opened) = channel();
    let ports = vec![
        Port { number: 0, name: None, is_console: true },
        Port { number: 2, name: Some("org.example.agent".to_owned()), is_console: false },
    ];
    let attachments = Arc::new(Attachments::new([(2, attachment(Some(input), Some(output)))]));
    let console =
        Console::multiple(ports, attachments, 3, Box::new(move |port, is_open| sender.send((port, is_open)).unwrap()), &confined())
            .unwrap();
    let mut driver = Driver::ready(Box::new(console), 1 << 1);
    assert_eq!(driver.read::<4>(0x2004), 3_u32.to_le_bytes());
    host.write_all(b"early").unwrap();
    control(&mut driver, u32::MAX, 0, 1);
    assert_eq!(next(&mut driver, 2, 64), [0, 0, 0, 0, 1, 0, 1, 0]);
    assert_eq!(next(&mut driver, 2, 64), [2, 0, 0, 0, 1, 0, 1, 0]);
    control(&mut driver, 0, 3, 1);
    assert_eq!(next(&mut driver, 2, 64), [0, 0, 0, 0, 4, 0, 1, 0]);
    assert_eq!(next(&mut driver, 2, 64), [0, 0, 0, 0, 6, 0, 1, 0]);
    control(&mut driver, 2, 3, 1);
    assert_eq!(next(&mut driver, 2, 64), [&[2, 0, 0, 0, 7, 0, 1, 0][..], b"org.example.agent"].concat());
    assert_eq!(next(&mut driver, 2, 64), [2, 0, 0, 0, 6, 0, 1, 0]);
    // Port 2 has queues 6 and 7; nothing comes before it is open.
    make_room(&mut driver, 6, 100);
    driver.request(7, &[Part::Give(b"to the host".to_vec())]);
    let mut said = [0; 11];
    heard.read_exact(&mut said).unwrap();
    assert_eq!(driver.used(6), 0);
    control(&mut driver, 2, 6, 1);
    assert_eq!(opened.recv_timeout(Duration::from_secs(10)), Ok((2, true)));
    assert_eq!(received(&driver, 6), b"early");
    control(&mut driver, 2, 6, 0);
    assert_eq!(opened.recv_timeout(Duration::from_secs(10)), Ok((2, false)));
    // Ports that are not there.
    for port in [1, 3, u32::MAX] {
        control(&mut driver, port, 3, 1);
        control(&mut driver, port, 6, 1);
    }
    assert!(opened.try_recv().is_err());
    assert_eq!(driver.status() & 64, 0);
}

#[test]
fn a_port_can_be_attached_to_something_else() {
    let ((input, mut host), (mut heard, output)) = (pipe(), pipe());
    let attachments = Arc::new(Attachments::new([]));
    let ports = vec![Port { number: 0, name: None, is_console: false }];
    let console = Console::multiple(ports, attachments.clone(), 1, Box::new(|_, _| {}), &confined()).unwrap();
    let mut driver = Driver::ready(Box::new(console), 1 << 1);
    control(&mut driver, 0, 6, 1);
    driver.request(1, &[Part::Give(b"to nobody".to_vec())]);
    make_room(&mut driver, 0, 100);
    host.write_all(b"first").unwrap();
    attachments.set(0, attachment(Some(input), Some(output)));
    assert_eq!(received(&driver, 0), b"first");
    driver.request(1, &[Part::Give(b"to somebody".to_vec())]);
    let mut said = [0; 11];
    heard.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"to somebody");
    // An input that has ended is no end for the next one.
    drop(host);
    let (input, mut host) = pipe();
    make_room(&mut driver, 0, 100);
    attachments.set(0, attachment(Some(input), None));
    host.write_all(b"second").unwrap();
    assert_eq!(received(&driver, 0), b"second");
    // What was set while no driver was there is what the next one has.
    driver.write(0x14, &[0]);
    let (input, mut host) = pipe();
    attachments.set(0, attachment(Some(input), None));
    driver.set_up(1 << 1, &[64; 4]);
    control(&mut driver, 0, 6, 1);
    host.write_all(b"third").unwrap();
    assert_eq!(next(&mut driver, 0, 100), b"third");
}

/// Offers a port's output a chain of this many bytes: the same memory over and over.
fn offer(driver: &mut Driver, queue: u16, bytes: u64) {
    let part = 1 << 20;
    for index in 0..(bytes / part) as u16 {
        let more = if u64::from(index) + 1 < bytes / part { NEXT } else { 0 };
        driver.put_descriptor(queue, index, Descriptor(BUFFERS, part as u32, more, index + 1));
    }
    driver.offer(queue, 0);
}

#[test]
fn a_reset_waits_for_no_reader() {
    let (reader, output) = pipe();
    let console = Console::single(attachment(None, Some(output)), &confined()).unwrap();
    let mut driver = Driver::ready(Box::new(console), 0);
    offer(&mut driver, 1, 60 << 20);
    // The pipe is full, and its reader slow, who comes back again and again before it is given up.
    let mut page = vec![0; 4096];
    (&reader).read_exact(&mut page).unwrap();
    let begun = Instant::now();
    driver.write(0x14, &[0]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(driver.status(), 0);
}

#[test]
fn what_is_read_slowly_arrives_and_the_rest_too_after_a_save() {
    let (mut reader, output) = pipe();
    let output = Arc::new(output);
    let console = || Box::new(Console::single(Attachment { input: None, output: Some(output.clone()) }, &confined()).unwrap());
    let mut driver = Driver::ready(console(), 0);
    let sent: Vec<u8> = (0..300_000_u32).map(|index| (index / 1000) as u8).collect();
    driver.memory.write_slice(&sent, GuestAddress(BUFFERS)).unwrap();
    driver.put_descriptor(1, 0, Descriptor(BUFFERS, 300_000, 0, 0));
    driver.offer(1, 0);
    let mut received = vec![0; sent.len()];
    reader.read_exact(&mut received[..100_000]).unwrap();
    driver.function.pause();
    let saved = driver.save();
    driver.restore(console(), saved).unwrap();
    driver.function.resume();
    reader.read_exact(&mut received[100_000..]).unwrap();
    assert!(received == sent);
    driver.wait(1);
}

#[test]
fn what_nobody_reads_is_lost_and_what_comes_later_is_not() {
    let (mut reader, output) = pipe();
    let console = Console::single(attachment(None, Some(output)), &confined()).unwrap();
    let mut driver = Driver::ready(Box::new(console), 0);
    offer(&mut driver, 1, 60 << 20);
    driver.wait(1);
    let mut held = vec![0; usize::try_from(rustix::io::ioctl_fionread(&reader).unwrap()).unwrap()];
    reader.read_exact(&mut held).unwrap();
    driver.request(1, &[Part::Give(b"later".to_vec())]);
    let mut said = [0; 5];
    reader.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"later");
}

#[test]
fn what_has_no_room_goes_to_another_attachment() {
    let attachments = Arc::new(Attachments::new([]));
    let ports = vec![Port { number: 0, name: None, is_console: false }];
    let console = Console::multiple(ports, attachments.clone(), 1, Box::new(|_, _| {}), &confined()).unwrap();
    let (full, output) = pipe();
    attachments.set(0, attachment(None, Some(output)));
    let mut driver = Driver::ready(Box::new(console), 1 << 1);
    offer(&mut driver, 1, 1 << 20);
    driver.until("there is something to read", |_| rustix::io::ioctl_fionread(&full).unwrap() > 0);
    let (mut reader, output) = pipe();
    attachments.set(0, attachment(None, Some(output)));
    reader.read_exact(&mut vec![0; 700_000]).unwrap();
}
