//! A supervisor without a machine behind it: holds the bundle's lock, answers the API, and serves a serial port that answers lines.

use crate::home::Home;
use bundle::{Bundle, BundleLock};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// What the port has printed before anybody attached.
pub const REPLAY: &str = "Debian GNU/Linux\r\n# ";

/// The picture of the display.
pub const PICTURE: &[u8] = b"\x89PNG, or so";

pub struct FakeSupervisor {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    name: String,
    bundle: PathBuf,
    pid: AtomicU32,
    /// Whether the guest minds the power button.
    obedient: bool,
    lock: Mutex<Option<BundleLock>>,
    requests: Mutex<Vec<String>>,
    listeners: Mutex<Vec<Sender<Value>>>,
    ports: Mutex<Vec<UnixStream>>,
}

impl FakeSupervisor {
    /// Takes a machine over, as if it ran.
    pub fn start(home: &Home, name: &str, obedient: bool) -> Self {
        let machines = home.json(&["list"]);
        let machine = machines.as_array().unwrap().iter().find(|machine| machine["name"] == name).unwrap();
        let bundle = PathBuf::from(machine["path"].as_str().unwrap());
        let folder = home.machines().join(".state/run").join(machine["id"].as_str().unwrap());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let shared = Arc::new(Shared {
            lock: Mutex::new(Some(Bundle::lock(&bundle).unwrap())),
            folder,
            name: name.to_owned(),
            bundle,
            pid: AtomicU32::new(10),
            obedient,
            requests: Mutex::default(),
            listeners: Mutex::default(),
            ports: Mutex::default(),
        });
        let supervisor = Self { shared };
        supervisor.listen();
        supervisor
    }

    fn listen(&self) {
        for (name, with) in [("api.sock", answer as fn(UnixStream, &Shared)), ("console-0.sock", guest)] {
            let path = self.shared.folder.join(name);
            let _ = std::fs::remove_file(&path);
            serve(UnixListener::bind(path).unwrap(), &self.shared, with);
        }
    }

    /// Another supervisor takes over, and the first one's connections break.
    pub fn succeed(&self) {
        self.shared.pid.fetch_add(1, Ordering::SeqCst);
        self.listen();
        self.shared.close_ports();
    }

    /// What was asked so far, as `POST /v1/pause`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Ends the machine.
    pub fn end(&self) {
        self.shared.end();
    }
}

impl Drop for FakeSupervisor {
    fn drop(&mut self) {
        self.shared.end();
    }
}

fn serve(listener: UnixListener, shared: &Arc<Shared>, with: fn(UnixStream, &Shared)) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { return };
            std::thread::spawn(move || with(stream, &shared));
        }
    });
}

impl Shared {
    fn status(&self) -> Value {
        json!({
            "name": self.name, "uuid": "11111111-2222-3333-4444-555555555555", "bundle": self.bundle, "state": "running", "backend": "qemu",
            "accelerator": { "name": "tcg", "why": "/dev/kvm is not there" },
            "supervisor_pid": self.pid.load(Ordering::SeqCst), "backend_pid": 11, "sandbox": { "complete": true, "landlock_abi": 6, "seccomp": true },
            "capabilities": { "request_stop": true, "kill": true, "pause": true, "reset": true, "disposable": true, "screenshot": true, "media": true },
            "options": { "disposable": false, "paused": false }, "started_at": 1_700_000_000, "adopted": false,
            "warnings": [{ "kind": "accelerator", "message": "QEMU.Hypervisor: /dev/kvm is not there" }],
            "consoles": [{ "index": 0, "label": "serial 0" }], "displays": [{ "index": 0, "device": "virtio-vga" }], "drives": [],
        })
    }

    fn close_ports(&self) {
        for port in self.ports.lock().unwrap().drain(..) {
            let _ = port.shutdown(std::net::Shutdown::Both);
        }
    }

    fn end(&self) {
        let _ = std::fs::remove_file(self.folder.join("api.sock"));
        let _ = std::fs::remove_file(self.folder.join("console-0.sock"));
        let ended =
            json!({ "type": "event", "event": "ended", "ending": { "reason": "guest_shutdown", "message": "The guest powered off" } });
        for listener in self.listeners.lock().unwrap().drain(..) {
            let _ = listener.send(ended.clone());
        }
        self.close_ports();
        drop(self.lock.lock().unwrap().take());
    }
}

/// Answers one request.
fn answer(mut stream: UnixStream, shared: &Shared) {
    let Some((request, body)) = read_request(&mut stream) else { return };
    shared.requests.lock().unwrap().push(request.clone());
    match request.as_str() {
        "GET /v1/status" => respond(&mut stream, "200 OK", shared.status().to_string().as_bytes()),
        "GET /v1/events" => events(stream, shared),
        "GET /v1/displays/0/screenshot" => respond(&mut stream, "200 OK", PICTURE),
        "GET /v1/command" => {
            let warning = json!({ "kind": "configuration", "message": "a warning" });
            let line = json!({ "program": "qemu", "arguments": ["-S"], "shell": "qemu \\\n  -S", "warnings": [warning] });
            respond(&mut stream, "200 OK", line.to_string().as_bytes());
        }
        "POST /v1/stop" => {
            respond(&mut stream, "204 No Content", b"");
            if shared.obedient || !body.contains("request") {
                shared.end();
            }
        }
        "POST /v1/resume" => {
            let refusal = json!({ "kind": "wrong_state", "message": "Cannot resume: the machine is running" });
            respond(&mut stream, "409 Conflict", refusal.to_string().as_bytes());
        }
        _ => respond(&mut stream, "204 No Content", b""),
    }
}

fn read_request(stream: &mut UnixStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().parse::<usize>().unwrap()));
    while bytes.len() < end + length.unwrap_or(0) {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
    let mut words = head.split_whitespace();
    let request = format!("{} {}", words.next()?, words.next()?);
    Some((request, String::from_utf8_lossy(&bytes[end..]).into_owned()))
}

fn respond(stream: &mut UnixStream, status: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn events(mut stream: UnixStream, shared: &Shared) {
    let (sender, receiver): (_, Receiver<Value>) = channel();
    shared.listeners.lock().unwrap().push(sender);
    let mut status = shared.status();
    status["type"] = json!("status");
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{status}\n");
    // Ends when the sender is dropped after the last event.
    for event in receiver {
        let _ = writeln!(stream, "{event}");
    }
}

/// A guest on the serial port: answers each line, and asks for the next.
fn guest(mut stream: UnixStream, shared: &Shared) {
    shared.ports.lock().unwrap().push(stream.try_clone().unwrap());
    let _ = stream.write_all(REPLAY.as_bytes());
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count > 0) {
        match byte[0] {
            b'\r' | b'\n' => {
                let said = format!("\r\nanswer to {}\r\n# ", String::from_utf8_lossy(&line));
                line.clear();
                let _ = stream.write_all(said.as_bytes());
            }
            byte => line.push(byte),
        }
    }
}
