//! A guest on the network, through each of the ways there are without rights.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, eventually, program};

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn machine<'h>(home: &'h Home, forward: Option<u16>) -> Option<Guest<'h>> {
    let kernel = Guests::find("x86_64")?;
    let mut arguments = kernel.arguments("q35", "vivarium.net");
    arguments.push("--no-display".to_owned());
    if let Some(port) = forward {
        arguments.extend(["--forward".to_owned(), format!("{port}:7")]);
    }
    Some(home.create("Demo", arguments))
}

/// Address and a connection out.
fn talks(guest: &Guest<'_>) {
    guest.start();
    guest.up();
    let addresses = guest.run("ip -4 -o addr show");
    assert!(addresses.contains("10.0.2.15/"), "{addresses}");

    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let server = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut question = String::new();
        BufReader::new(peer.try_clone().unwrap()).read_line(&mut question).unwrap();
        writeln!(peer, "heard {}", question.trim()).unwrap();
    });
    // The guest listens until it has its answer: some releases of passt repeat bytes to a guest that has said its last.
    let heard = guest.run(&format!("(echo a guest; sleep 20) | nc 10.0.2.2 {server} | head -n 1"));
    assert_eq!(heard, "heard a guest");
    answering.join().unwrap();
}

/// A connection in, through the forwarded port.
fn answers_on(guest: &Guest<'_>, port: u16) {
    guest.run("{ while true; do echo welcome to the guest | nc -l -p 7; done > /dev/null 2>&1 & }");
    let said = eventually("the guest answers on its forwarded port", PATIENCE, || {
        let peer = TcpStream::connect(("127.0.0.1", port)).ok()?;
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut line = String::new();
        BufReader::new(peer).read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line)
    });
    assert_eq!(said, "welcome to the guest\n");
}

#[test]
fn with_passt() {
    if program("passt").is_none() {
        return acceptance::skip("passt is not installed");
    }
    let home = Home::new();
    let Some(guest) = machine(&home, None) else { return };
    assert!(home.ok(&["command", "Demo"]).contains("passt"));
    talks(&guest);
    guest.viv("stop", &["--timeout", "240"]);
}

#[test]
fn a_forwarded_port_leads_into_the_guest() {
    let home = Home::new();
    let port = free_port();
    let Some(guest) = machine(&home, Some(port)) else { return };
    talks(&guest);
    answers_on(&guest, port);
    guest.viv("stop", &["--timeout", "240"]);
    eventually("the port is free again", PATIENCE, || TcpListener::bind(("127.0.0.1", port)).ok());
}

#[test]
fn with_what_qemu_brings() {
    let Some(qemu) = acceptance::emulator("x86_64") else { return };
    let home = Home::new();
    // Only what is needed is on this path, and passt is not.
    let folder = home.path().join("path");
    fs::create_dir(&folder).unwrap();
    for file in [Some(qemu), program("qemu-img")].into_iter().flatten() {
        std::os::unix::fs::symlink(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    let home = home.with("PATH", &folder);
    let Some(guest) = machine(&home, None) else { return };
    assert!(!home.ok(&["command", "Demo"]).contains("passt"));
    talks(&guest);
    guest.viv("stop", &["--timeout", "240"]);
}
