//! Machines with disks of NBD servers, which come and go.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

/// What a server says until it is asked for something: an export of 1 MiB that can be flushed.
fn greeting() -> Vec<u8> {
    let reply = |kind: u8, data: &[u8]| {
        [&[0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0, kind, 0, 0, 0, data.len() as u8][..], data].concat()
    };
    [b"NBDMAGICIHAVEOPT\0\x03", &reply(3, &[0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 5])[..], &reply(1, &[])].concat()
}

#[test]
fn a_server_that_is_there_and_one_that_is_not_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (end, ends) = channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(&greeting()).unwrap();
        // It answers nothing, and goes when it is told to, with its listener.
        ends.recv().unwrap_err();
    });
    let Setup { machine, mut events, kernel: _kernel, .. } = machine_with(|configuration| {
        let export = NbdAttachment::new(format!("nbd+unix:///disk?socket={}", socket.display())).timeout(Duration::from_millis(300));
        configuration.storage_devices = vec![VirtioBlockDevice::new(export).into()];
    });
    machine.start().wait().unwrap();
    let (_, event) = states_until_event(&mut events);
    assert!(matches!(event, Event::StorageConnected { device: 0 }), "{event:?}");

    // A state is kept when what the guest wrote is, and so not now.
    machine.pause().wait().unwrap();
    drop(end);
    server.join().unwrap();
    let error = machine.save_machine_state_to(folder.path().join("state")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Save);
    let (_, event) = states_until_event(&mut events);
    let Event::StorageDisconnected { device: 0, error } = event else { panic!("{event:?}") };
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(std::error::Error::source(&*error).is_some(), "{error}");
    machine.stop().wait().unwrap();
    let error = machine.start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("nbd+unix:///disk"), "{error}");
}
