//! Machines with disks of NBD servers, which come and go.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

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

/// A kernel that is no program but a queue in which a sector is asked for: its descriptors, what is available, and what is used.
fn queue() -> (tempfile::NamedTempFile, [u64; 3]) {
    const START: u64 = 0x10_0000;
    let mut segment = vec![0; 0x6000];
    // The request's header and its room for data and answer: address, length, flags (1: more, 2: to be written), next.
    for (index, (place, length, flags)) in [(0x4000, 16_u32, 1_u16), (0x5000, 512, 3), (0x4800, 1, 2)].into_iter().enumerate() {
        let next = index as u16 + 1;
        let descriptor = [&(START + place).to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat();
        segment[0x1000 + index * 16..][..16].copy_from_slice(&descriptor);
    }
    segment[0x2002] = 1;
    (kernel_with(&segment), [0x1000, 0x2000, 0x3000].map(|place| START + place))
}

#[test]
fn a_machine_stops_while_a_vcpu_waits_for_a_server_that_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (asked, requests) = channel();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(&greeting()).unwrap();
        let (mut said, mut more) = (Vec::<u8>::new(), [0; 1024]);
        while let Ok(count @ 1..) = connection.read(&mut more) {
            said.extend(&more[..count]);
            // A request, which gets no answer.
            if said.windows(4).any(|word| word == b"\x25\x60\x95\x13") {
                let _ = asked.send(());
            }
        }
    });
    let (kernel, places) = queue();
    let Setup { hypervisor, machine, mut events, kernel: _kernel } = machine_with(|configuration| {
        let export = NbdAttachment::new(format!("nbd+unix:///disk?socket={}", socket.display())).timeout(Duration::from_secs(60));
        configuration.storage_devices = vec![VirtioBlockDevice::new(export).into()];
        configuration.boot_loader = Some(LinuxBootLoader::new(kernel.path()).into());
    });
    machine.start().wait().unwrap();
    // The disk is in the first slot after the bridge, and its registers at the beginning of the window.
    let register = |place: u64, value: &[u8]| hypervisor.then(Step::Write(layout::PCI_WINDOW + place, value.to_vec()));
    hypervisor.then(Step::Write(layout::PCI_CONFIGURATION + (1 << 15) + 4, vec![6, 0]));
    register(0x14, &[3]);
    register(0x08, &1_u32.to_le_bytes());
    register(0x0c, &1_u32.to_le_bytes());
    register(0x14, &[11]);
    for (place, address) in [0x20, 0x28, 0x30].into_iter().zip(places) {
        register(place, &address.to_le_bytes());
    }
    register(0x1c, &[1, 0]);
    register(0x14, &[15]);
    register(0x3000, &[0, 0]);
    requests.recv_timeout(Duration::from_secs(10)).unwrap();
    // The vCPU resets the disk, which waits for the end of what is under way.
    hypervisor.then(port_write(layout::PANIC_PORT, 1));
    register(0x14, &[0]);
    while !matches!(events.next().unwrap(), Event::GuestPanicked) {}
    let begun = Instant::now();
    machine.stop().wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    server.join().unwrap();
}
