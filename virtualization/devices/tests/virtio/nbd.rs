//! Disks of NBD servers: a real one, and one that lies.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use devices::nbd::protocol::Session;
use devices::nbd::{NbdAddress, NbdClient, NbdEvent};
use devices::virtio::{Block, Disk};
use proptest::prelude::*;

use crate::block::header;
use crate::driver::{Driver, Part, confined};

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

fn client(socket: PathBuf, name: &str, timeout: Duration) -> std::io::Result<(Arc<NbdClient>, Receiver<NbdEvent>)> {
    let (sender, events) = channel();
    let told = Box::new(move |event| drop(sender.send(event)));
    NbdClient::connect(NbdAddress::Unix(socket), name.to_owned(), timeout, told).map(|client| (client, events))
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

/// What an honest server says until it has been asked something: an export of this size.
fn greeting(size: u64) -> Vec<u8> {
    let reply = |kind: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap();
        [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &7_u32.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes(), data].concat()
    };
    let export = [&[0, 0][..], &size.to_be_bytes(), &[0, 0x25]].concat();
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
    let session = Session::begin(Said(&said), "disk").unwrap();
    assert_eq!((session.export().size, session.export().is_read_only()), (4096, true));
    for wrong in [&b"HTTP/1.1 400 Bad Request"[..], b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53", b"NBDMAGICIHAVEOPT\0\x02", b""] {
        assert!(Session::begin(Said(wrong), "disk").is_err());
    }
}

proptest! {
    #[test]
    fn nothing_that_a_server_says_breaks_it(mut said in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..100_usize) {
        let mut honest = greeting(1 << 20);
        honest.truncate(cut);
        said.splice(..0, honest);
        if let Ok(mut session) = Session::begin(Said(&said), "disk") {
            let _ = session.read(0, &mut [0; 100]);
            let _ = session.write(0, &[0; 100]);
            let _ = session.write_zeroes(0, 100, true);
        }
    }
}
