//! Disks of NBD servers: a real one, and one that lies.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use devices::nbd::protocol;
use devices::nbd::{Elsewhere, NbdAddress, NbdClient, NbdEvent};
use devices::virtio::{Block, Disk};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::block::header;
use crate::driver::{BUFFERS, Descriptor, Driver, NEXT, Part, WRITE, confined};

const PATIENCE: Duration = Duration::from_secs(10);

/// `qemu-nbd`, ended with this.
struct Server(Child);

impl Server {
    fn start(image: &Path, socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let mut server = Command::new("qemu-nbd");
        server.args(["--format=raw", "--persistent", "--discard=unmap", "--export-name=disk", "--socket"]).arg(socket).arg(image);
        let server = Self(server.stdin(Stdio::null()).spawn().expect("qemu-nbd, which cargo xtask setup installs"));
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A thread that is not confined, as those that serve disks are.
fn elsewhere() -> Elsewhere {
    let (jobs, inbox) = channel::<Box<dyn FnOnce() + Send>>();
    std::thread::spawn(move || inbox.into_iter().for_each(|job| job()));
    Box::new(move |job| drop(jobs.send(job)))
}

fn client(socket: PathBuf, name: &str, timeout: Duration) -> std::io::Result<(Arc<NbdClient>, Receiver<NbdEvent>)> {
    let (sender, events) = channel();
    let told = Box::new(move |event| drop(sender.send(event)));
    NbdClient::connect(NbdAddress::Unix(socket), name.to_owned(), timeout, elsewhere(), told).map(|client| (client, events))
}

fn driver(client: &Arc<NbdClient>) -> Driver {
    Driver::ready(Box::new(Block::new(Disk::nbd(client.clone(), false).unwrap(), &confined()).unwrap()), 0)
}

fn write(driver: &mut Driver, sector: u64, data: &[u8]) -> u8 {
    driver.request(0, &[Part::Give(header(1, sector)), Part::Give(data.to_vec()), Part::Room(1)])[0][0]
}

fn read(driver: &mut Driver, sector: u64) -> (Vec<u8>, u8) {
    let answers = driver.request(0, &[Part::Give(header(0, sector)), Part::Room(512), Part::Room(1)]);
    (answers[0].clone(), answers[1][0])
}

#[test]
fn a_disk_survives_its_server_s_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (image, socket) = (folder.path().join("disk.raw"), folder.path().join("socket"));
    std::fs::write(&image, vec![7; 1 << 20]).unwrap();
    let server = Server::start(&image, &socket);
    let error = client(socket.clone(), "another", PATIENCE).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

    let (client, events) = client(socket.clone(), "disk", PATIENCE).unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(NbdEvent::Connected)));
    assert_eq!(client.export().size, 1 << 20);
    let mut driver = driver(&client);
    assert_eq!(driver.read::<8>(0x2000), 2048_u64.to_le_bytes());
    assert_eq!(read(&mut driver, 5), (vec![7; 512], 0));
    assert_eq!(write(&mut driver, 5, &[9; 1024]), 0);
    assert_eq!(driver.request(0, &[Part::Give(header(4, 0)), Part::Room(1)])[0], [0]);
    assert_eq!(std::fs::read(&image).unwrap()[5 * 512..7 * 512], [9; 1024]);
    for (kind, flags) in [(13_u32, 1_u32), (13, 0), (11, 0)] {
        let range = [&10_u64.to_le_bytes()[..], &4_u32.to_le_bytes(), &flags.to_le_bytes()].concat();
        assert_eq!(driver.request(0, &[Part::Give(header(kind, 0)), Part::Give(range), Part::Room(1)])[0], [0]);
        assert_eq!(std::fs::read(&image).unwrap()[10 * 512..14 * 512], [0; 2048]);
    }

    // Away, and there again: what is asked meanwhile waits.
    drop(server);
    let again = std::thread::spawn({
        let (image, socket) = (image.clone(), socket.clone());
        move || Server::start(&image, &socket)
    });
    assert_eq!(write(&mut driver, 6, &[3; 512]), 0);
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(NbdEvent::Connected)));
    assert_eq!(read(&mut driver, 6), (vec![3; 512], 0));

    // An export of another size is another disk.
    drop(again.join().unwrap());
    std::fs::write(&image, vec![7; 2 << 20]).unwrap();
    let _server = Server::start(&image, &socket);
    assert_eq!(read(&mut driver, 6).1, 1);
    let Ok(NbdEvent::Failed(error)) = events.recv_timeout(PATIENCE) else { panic!("it went on") };
    assert!(error.to_string().contains("another one"), "{error}");
    assert_eq!(write(&mut driver, 6, &[3; 512]), 1);
    assert_eq!(driver.status() & 64, 0);
}

/// What an honest server says until it has been asked something: an export of this size, with discards and flushes.
#[test]
fn what_is_more_than_is_asked_for_at_once_is_asked_for_in_parts() {
    const PARTS: u16 = 10;
    let folder = tempfile::tempdir().unwrap();
    let (image, socket) = (folder.path().join("disk.raw"), folder.path().join("socket"));
    std::fs::write(&image, vec![0; 16 << 20]).unwrap();
    let _server = Server::start(&image, &socket);
    let (client, _events) = client(socket, "disk", PATIENCE).unwrap();
    let mut driver = driver(&client);
    let data: Vec<u8> = (0..1_u32 << 20).map(|index| (index / 511) as u8).collect();
    let place = BUFFERS + 0x1000;
    driver.memory.write_slice(&data, GuestAddress(place)).unwrap();
    for (kind, flags) in [(1, NEXT), (0, NEXT | WRITE)] {
        driver.memory.write_slice(&header(kind, 3), GuestAddress(BUFFERS)).unwrap();
        driver.put_descriptor(0, 0, Descriptor(BUFFERS, 16, NEXT, 1));
        // The same memory, over and over.
        (1..=PARTS).for_each(|index| driver.put_descriptor(0, index, Descriptor(place, 1 << 20, flags, index + 1)));
        driver.put_descriptor(0, PARTS + 1, Descriptor(BUFFERS + 16, 1, WRITE, 0));
        driver.offer(0, 0);
        let written = driver.wait(0);
        assert_eq!(driver.memory.read_obj::<u8>(GuestAddress(BUFFERS + 16)).unwrap(), 0);
        if kind == 0 {
            assert_eq!(written, 1 + (u32::from(PARTS) << 20));
        } else {
            let on_disk = std::fs::read(&image).unwrap();
            let start = 3 * 512;
            assert!(on_disk[start..start + (usize::from(PARTS) << 20)].chunks(1 << 20).all(|part| part == data));
            assert!(on_disk[start + (usize::from(PARTS) << 20)..].iter().all(|byte| *byte == 0));
            driver.memory.write_slice(&vec![0; 1 << 20], GuestAddress(place)).unwrap();
        }
    }
    let mut read = vec![0; 1 << 20];
    driver.memory.read_slice(&mut read, GuestAddress(place)).unwrap();
    assert!(read == data);
}

fn greeting(size: u64) -> Vec<u8> {
    greeting_with(size, 0x25)
}

/// The same, with these flags.
fn greeting_with(size: u64, flags: u8) -> Vec<u8> {
    let reply = |kind: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap();
        [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &7_u32.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes(), data].concat()
    };
    let export = [&[0, 0][..], &size.to_be_bytes(), &[0, flags]].concat();
    [b"NBDMAGICIHAVEOPT\0\x03", &reply(3, &export)[..], &reply(1, &[])].concat()
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let silent = std::thread::spawn(move || {
        // Every connection gets a greeting and no answer; the last one says that it is enough.
        let mut connections = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            if connection.write_all(&greeting(1 << 20)).is_err() {
                return;
            }
            connections.push(connection);
            if connections.len() == 2 {
                return;
            }
        }
    });
    let (client, events) = client(socket, "disk", Duration::from_millis(200)).unwrap();
    let mut driver = driver(&client);
    assert_eq!(read(&mut driver, 0).1, 1);
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(NbdEvent::Connected)));
    assert!(events.iter().take(10).any(|event| matches!(event, NbdEvent::Failed(_))));
    // Without another wait.
    assert_eq!(read(&mut driver, 0).1, 1);
    silent.join().unwrap();
}

#[test]
fn the_end_of_a_machine_does_not_wait_for_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (asked, is_asked) = channel();
    let silent = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(&greeting(1 << 20)).unwrap();
        // The answer to the greeting: flags, an option with its name; then a request.
        let mut said = [0; 4 + 16 + 4 + 4 + 4 + 28];
        connection.read_exact(&mut said).unwrap();
        asked.send(()).unwrap();
        let _ = connection.read(&mut said);
    });
    let (client, _events) = client(socket, "disk", Duration::from_secs(3600)).unwrap();
    let reading = std::thread::spawn({
        let client = client.clone();
        move || read(&mut driver(&client), 0).1
    });
    is_asked.recv_timeout(PATIENCE).unwrap();
    client.end();
    assert_eq!(reading.join().unwrap(), 1);
    silent.join().unwrap();
}

/// What a client says in the greeting: flags, an option with the export's name and a wish.
const GREETED: usize = 4 + 16 + 12;

/// A request as it arrives at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    flags: u16,
    kind: u16,
    number: u64,
    place: u64,
    length: usize,
}

/// The next request, without its data; `None` where the client has gone.
fn asked(connection: &mut impl Read) -> Option<Asked> {
    let mut bytes = [0; 28];
    connection.read_exact(&mut bytes).ok()?;
    let long = |place: usize| u64::from_be_bytes(bytes[place..place + 8].try_into().unwrap());
    let (flags, kind) = (u16::from_be_bytes([bytes[4], bytes[5]]), u16::from_be_bytes([bytes[6], bytes[7]]));
    let asked = Asked { flags, kind, number: long(8), place: long(16), length: (long(20) & 0xffff_ffff) as usize };
    if kind == 1 {
        connection.read_exact(&mut vec![0; asked.length]).ok()?;
    }
    Some(asked)
}

fn reply(error: u32, number: u64, data: &[u8]) -> Vec<u8> {
    [&0x6744_6698_u32.to_be_bytes()[..], &error.to_be_bytes(), &number.to_be_bytes(), data].concat()
}

/// A server that greets, and then does this with each of its connections.
fn server(flags: u8, serve: impl Fn(UnixStream) + Send + 'static) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let greeted = connection.write_all(&greeting_with(1 << 20, flags)).and_then(|()| connection.read_exact(&mut [0; GREETED]));
            if greeted.is_ok() {
                serve(connection);
            }
        }
    });
    (folder, socket)
}

#[test]
fn a_server_is_found_by_its_host_s_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(&greeting(1 << 20)).unwrap();
        connection.read_exact(&mut [0; GREETED]).unwrap();
        let asked = asked(&mut connection).unwrap();
        connection.write_all(&reply(0, asked.number, &vec![7; asked.length])).unwrap();
        // Until the client says goodbye.
        self::asked(&mut connection).map(|last| last.kind)
    });
    let connect =
        || NbdClient::connect(NbdAddress::Tcp("localhost".to_owned(), port), "disk".to_owned(), PATIENCE, elsewhere(), Box::new(|_| ()));
    let client = connect().unwrap();
    let mut bytes = [0; 700];
    client.read(5, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 700]);
    drop(client);
    assert_eq!(serving.join().unwrap(), Some(2));
    assert_eq!(connect().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn requests_are_under_way_together_and_answered_in_any_order() {
    const COUNT: u16 = 8;
    let (_folder, socket) = server(0x25, |mut connection| {
        let mut under_way: Vec<Asked> = (0..COUNT).map_while(|_| asked(&mut connection)).collect();
        // The last one first.
        while let Some(asked) = under_way.pop() {
            let data = vec![(asked.place / 512) as u8; asked.length];
            connection.write_all(&reply(0, asked.number, &data)).unwrap();
        }
        while let Some(asked) = asked(&mut connection) {
            connection.write_all(&reply(0, asked.number, &[])).unwrap();
        }
    });
    let (client, _events) = client(socket, "disk", PATIENCE).unwrap();
    let mut driver = driver(&client);
    for number in 0..COUNT {
        let (head, buffer) = (number * 3, BUFFERS + u64::from(number) * 4096);
        driver.memory.write_slice(&header(0, u64::from(number) + 1), GuestAddress(buffer)).unwrap();
        driver.put_descriptor(0, head, Descriptor(buffer, 16, NEXT, head + 1));
        driver.put_descriptor(0, head + 1, Descriptor(buffer + 512, 512, NEXT | WRITE, head + 2));
        driver.put_descriptor(0, head + 2, Descriptor(buffer + 1024, 1, WRITE, 0));
        driver.offer(0, head);
    }
    driver.wait(0);
    for number in 0..COUNT {
        let mut read = [0; 513];
        driver.memory.read_slice(&mut read, GuestAddress(BUFFERS + u64::from(number) * 4096 + 512)).unwrap();
        assert_eq!(read, [&[number as u8 + 1; 512][..], &[0]].concat()[..]);
    }
    assert_eq!(write(&mut driver, 6, &[3; 512]), 0);
}

#[test]
fn what_is_flushed_was_answered_and_writes_last_without_a_flush_where_nobody_flushes() {
    // What the server can, whether the guest flushes, and the kinds and flags of what the server is asked for: a write, with access to the
    // medium forced or not, a flush.
    let flushed = vec![(1, 0), (3, 0)];
    let cases = [(0x05, true, flushed.clone()), (0x05, false, flushed), (0x09, true, vec![(1, 1)])];
    for (flags, flushes, expected) in cases {
        let (sender, seen) = channel();
        let (_folder, socket) = server(flags, move |mut connection| {
            while let Some(asked) = asked(&mut connection).filter(|asked| asked.kind != 2) {
                sender.send((asked.kind, asked.flags)).unwrap();
                connection.write_all(&reply(0, asked.number, &[])).unwrap();
            }
        });
        let (client, _events) = client(socket, "disk", PATIENCE).unwrap();
        let block = Block::new(Disk::nbd(client, false).unwrap(), &confined()).unwrap();
        let mut driver = Driver::ready(Box::new(block), if flushes { 1 << 9 } else { 0 });
        assert_eq!(write(&mut driver, 5, &[9; 512]), 0);
        if flushes {
            assert_eq!(driver.request(0, &[Part::Give(header(4, 0)), Part::Room(1)])[0], [0]);
        }
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected, "{flags:#x}");
    }
}

#[test]
fn a_server_that_means_no_good_is_given_up_and_nobody_hangs() {
    type Wrong = fn(&mut UnixStream, Asked) -> std::io::Result<()>;
    let wrongs: [(&str, Wrong); 6] = [
        ("garbage", |connection, _| connection.write_all(&[0x55; 64])),
        ("another request's answer", |connection, asked| connection.write_all(&reply(0, asked.number + 1, &[0; 512]))),
        ("too little, and then nothing", |connection, asked| connection.write_all(&reply(0, asked.number, &[0; 100]))),
        ("half of the data", |connection, asked| {
            connection.write_all(&reply(0, asked.number, &[0; 100]))?;
            connection.shutdown(std::net::Shutdown::Both)
        }),
        ("a byte now and then", |connection, asked| {
            for byte in reply(0, asked.number, &[0; 512]) {
                connection.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }),
        ("that it is about to end", |connection, asked| connection.write_all(&reply(108, asked.number, &[]))),
    ];
    for (what, wrong) in wrongs {
        let (_folder, socket) = server(0x25, move |mut connection| {
            while let Some(asked) = asked(&mut connection).filter(|asked| asked.kind != 2) {
                if wrong(&mut connection, asked).is_err() {
                    break;
                }
            }
        });
        let (client, events) = client(socket, "disk", Duration::from_millis(200)).unwrap();
        let mut driver = driver(&client);
        assert_eq!(read(&mut driver, 5).1, 1, "{what}");
        assert!(events.try_iter().any(|event| matches!(event, NbdEvent::Failed(_))), "{what}");
        assert_eq!(write(&mut driver, 5, &[0; 512]), 1, "{what}");
        assert_eq!(driver.status() & 64, 0, "{what}");
    }
}

#[test]
fn errors_of_a_server_are_the_request_s_and_no_other_s() {
    // Among them ones that mean to try again, which no server may say.
    let (_folder, socket) = server(0x65, |mut connection| {
        let mut errors = [5, 4, 11, 22, u32::MAX, 95].into_iter();
        while let Some(asked) = asked(&mut connection) {
            let error = errors.next().unwrap_or(0);
            let data = vec![1; if error == 0 && asked.kind == 0 { asked.length } else { 0 }];
            connection.write_all(&reply(error, asked.number, &data)).unwrap();
        }
    });
    let (client, events) = client(socket, "disk", PATIENCE).unwrap();
    let mut driver = driver(&client);
    for _ in 0..5 {
        assert_eq!(read(&mut driver, 5).1, 1);
    }
    // Giving room back is advice, which cannot fail.
    let range = [&10_u64.to_le_bytes()[..], &4_u32.to_le_bytes(), &0_u32.to_le_bytes()].concat();
    assert_eq!(driver.request(0, &[Part::Give(header(11, 0)), Part::Give(range), Part::Room(1)])[0], [0]);
    assert_eq!(read(&mut driver, 5), (vec![1; 512], 0));
    assert_eq!(events.try_iter().filter(|event| !matches!(event, NbdEvent::Connected)).count(), 0);
}

/// A server that has said all this beforehand.
struct Said<'a>(&'a [u8]);

impl Read for Said<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Said<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_server_of_the_old_kind_is_understood_and_one_that_is_none_is_not() {
    let unsupported = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &[0, 0, 0, 7, 0x80, 0, 0, 1, 0, 0, 0, 0]].concat();
    let said = [b"NBDMAGICIHAVEOPT\0\x01", &unsupported[..], &4096_u64.to_be_bytes(), &[0, 3], &[0; 124]].concat();
    let export = protocol::begin(&mut Said(&said), "disk").unwrap();
    assert_eq!((export.size, export.is_read_only()), (4096, true));
    for wrong in [&b"HTTP/1.1 400 Bad Request"[..], b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53", b"NBDMAGICIHAVEOPT\0\x02", b""] {
        assert!(protocol::begin(&mut Said(wrong), "disk").is_err());
    }
}

proptest! {
    #[test]
    fn nothing_that_a_server_says_breaks_it(mut said in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..100_usize) {
        let mut honest = greeting(1 << 20);
        honest.truncate(cut);
        said.splice(..0, honest);
        let mut said = Said(&said);
        if protocol::begin(&mut said, "disk").is_ok() {
            while protocol::reply(&mut said).is_ok() {}
        }
    }
}
