//! Serial ports whose other end is a program of the person, with QEMU confined. Those of mode Terminal are the consoles of the other tests.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, Ran, eventually, not_possible_here};

const PROMPT: &str = "guest# ";

/// A machine whose only serial port, with the guest's shell on it, is set up so.
fn machine<'h>(home: &'h Home, settings: &[&str]) -> Option<Guest<'h>> {
    let kernel = Guests::find("x86_64")?;
    let guest = home.create("Demo", kernel.arguments("q35", ""));
    home.ok(&[&["config", "set", "Demo"], settings].concat());
    Some(guest)
}

/// A home in which nothing runs without Landlock.
fn confined() -> Home {
    Home::new().with("VIVARIUM_LANDLOCK", "require")
}

fn confines(home: &Home) -> bool {
    let findings = home.json(&["doctor"]).to_string();
    let has = findings.contains("Landlock, version");
    if !has {
        not_possible_here("the kernel has no Landlock");
    }
    has
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Reads what the guest says until `text` is in it, and keeps pressing return meanwhile.
fn hear(port: &mut (impl Read + Write), text: &str) {
    let mut seen = Vec::new();
    eventually(&format!("the guest says {text:?}"), PATIENCE, || {
        let _ = port.write_all(b"\n");
        let mut buffer = [0; 4096];
        match port.read(&mut buffer) {
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&seen)),
        }
        String::from_utf8_lossy(&seen).contains(text).then_some(())
    });
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(stream)
}

#[test]
fn a_pseudo_terminal_is_told_and_leads_to_the_guest() {
    let home = confined();
    if !confines(&home) {
        return;
    }
    let Some(guest) = machine(&home, &["Serial[0].Mode", "Ptty"]) else { return };
    guest.start();
    let status = guest.status();
    let path = status["pseudo_terminals"][0]["path"].as_str().unwrap_or_else(|| panic!("{status:#}")).to_owned();
    assert!(home.ok(&["status", "Demo"]).contains(&format!("Serial port 1: {path}")));
    // It says what that opens.
    assert!(status["sandbox"]["missing"].to_string().contains("terminals"), "{status:#}");
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
    let mut terminal = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).unwrap();
    hear(&mut terminal, PROMPT);
    // A new supervisor knows it, too.
    let supervisor = guest.pid("supervisor_pid");
    acceptance::kill(supervisor);
    let status = eventually("it is taken over", PATIENCE, || Some(guest.status()).filter(|status| status["adopted"] == true));
    assert_eq!(status["pseudo_terminals"][0]["path"], path.as_str());
    guest.viv("stop", &["--force"]);
    assert!(guest.status()["pseudo_terminals"].is_null());
    assert!(!Path::new(&path).exists() || terminal.write_all(b"x").is_err());
}

#[test]
fn a_port_connects_to_a_server() {
    let home = confined();
    if !confines(&home) {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let settings = ["Serial[0].Mode", "TcpClient", "Serial[0].TcpHostAddress", "127.0.0.1", "Serial[0].TcpPort", &port];
    let Some(guest) = machine(&home, &settings) else { return };
    guest.start();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    hear(&mut peer, PROMPT);
    guest.viv("stop", &["--force"]);
}

#[test]
fn a_server_that_is_not_there_is_not_waited_for_and_connected_to_when_it_comes() {
    let home = confined();
    if !confines(&home) {
        return;
    }
    let port = free_port();
    let settings = |host: &str| {
        ["Serial[0].Mode", "TcpClient", "Serial[0].TcpHostAddress", host, "Serial[0].TcpPort", &port.to_string()].map(str::to_owned)
    };
    let here = settings("127.0.0.1");
    let Some(guest) = machine(&home, &here.each_ref().map(String::as_str)) else { return };
    guest.start();
    assert!(guest.status()["warnings"].to_string().contains("is connected once"), "{:#}", guest.status());
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // It comes back to a server that went, too.
    for _ in 0..2 {
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        hear(&mut peer, PROMPT);
    }
    guest.viv("stop", &["--force"]);

    // An address of a network for documentation (RFC 5737): nobody answers, not even that there is nobody.
    let nowhere = settings("192.0.2.1");
    home.ok(&[&["config", "set", "Demo"], nowhere.each_ref().map(String::as_str).as_slice()].concat());
    guest.start();
    guest.viv("stop", &["--force"]);
}

#[test]
fn a_port_is_a_server_that_clients_come_to_and_leave() {
    let home = confined();
    if !confines(&home) {
        return;
    }
    let port = free_port();
    let Some(guest) = machine(&home, &["Serial[0].Mode", "TcpServer", "Serial[0].TcpPort", &port.to_string()]) else { return };
    guest.start();
    hear(&mut connect(port).unwrap(), "\n");
    hear(&mut connect(port).unwrap(), PROMPT);
    guest.viv("stop", &["--force"]);
}

#[test]
fn a_guest_that_waits_for_its_client_runs_when_it_has_come_and_can_be_stopped_before() {
    let home = confined();
    if !confines(&home) {
        return;
    }
    let port = free_port();
    let number = port.to_string();
    let settings = ["Serial[0].Mode", "TcpServer", "Serial[0].TcpPort", &number, "Serial[0].WaitForConnection", "true"];
    let Some(guest) = machine(&home, &settings) else { return };
    let start = home.command(["--json", "start", "Demo", "--wait"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Before it waits for its client, it cannot be asked to stop.
    eventually("it can be stopped", PATIENCE, || (home.viv(&["stop", "Demo"]).code == 0 && guest.state() == "stopped").then_some(()));
    let failure = Ran::from(start.wait_with_output().unwrap()).failure();
    assert_eq!(failure["kind"], "cancelled", "{failure:#}");
    // Whoever does not wait need not.
    guest.viv("start", &[]);
    let told = eventually("it says what it waits for", PATIENCE, || {
        Some(guest.status()["warnings"].to_string()).filter(|told| told.contains(&number))
    });
    assert_eq!(guest.state(), "starting", "{told}");
    let mut client = eventually("QEMU listens", PATIENCE, || connect(port).ok());
    guest.becomes("running");
    hear(&mut client, PROMPT);
    guest.viv("stop", &["--force"]);
}
