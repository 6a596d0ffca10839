//! What an NBD server says: whatever it is, the client neither panics nor hangs nor takes all memory, with one request under way or several.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use devices::nbd::{NbdAddress, NbdClient};
use libfuzzer_sys::fuzz_target;

/// A server that has said everything beforehand.
struct Server {
    socket: PathBuf,
    says: Arc<Mutex<Vec<u8>>>,
    _folder: tempfile::TempDir,
}

fn server() -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let says: Arc<Mutex<Vec<u8>>> = Arc::default();
    let said = Arc::clone(&says);
    std::thread::spawn(move || {
        let mut last = None;
        while let Ok((mut connection, _)) = listener.accept() {
            // It is less than there is room for. Whoever has gone does not hear it.
            let _ = connection.write_all(&said.lock().expect("what it says"));
            let _ = connection.shutdown(Shutdown::Write);
            // Open for as long as anybody may want to be heard.
            drop(last.replace(connection));
        }
    });
    Server { socket, says, _folder: folder }
}

fuzz_target!(|input: &[u8]| {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(server);
    // Most of the inputs get past the greeting for nothing: an export of 1 MiB that can be asked for everything.
    let mut greeting = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    for (kind, information) in [(3_u8, &[0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0x6d][..]), (1, &[])] {
        greeting.extend(
            [&[0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0, kind, 0, 0, 0, information.len() as u8], information].concat(),
        );
    }
    *server.says.lock().expect("what it says") = match input.split_first() {
        Some((0..32, rest)) => rest.to_vec(),
        Some((32..64, rest)) => [&greeting[..18], rest].concat(),
        Some((_, rest)) => [&greeting[..], rest].concat(),
        None => return,
    };
    let (address, patience) = (NbdAddress::Unix(server.socket.clone()), Duration::from_millis(20));
    let Ok(client) = NbdClient::connect(address, "disk".to_owned(), patience, Box::new(|job| job()), Box::new(|_| ())) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| client.read(512, &mut [0; 1024]));
        scope.spawn(|| client.write(0, &[7; 700]).and_then(|()| client.flush()));
        let _ = client.read(0, &mut [0; 24]).and_then(|()| client.discard(0, 1 << 40)).and_then(|()| client.write_zeroes(0, 1 << 12, true));
    });
    client.end();
});
