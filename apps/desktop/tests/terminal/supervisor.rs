//! A supervisor without a machine: it holds the bundle's lock, says that the machine runs, and serves a serial port on which a guest answers
//! lines.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use bundle::{Bundle, BundleLock};
use desktop::engine::Engine;
use library::Machine;
use serde_json::{Value, json};

/// What the guest has said before anybody listened.
pub const SAID: &str = "Debian GNU/Linux";

pub struct Supervisor(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    bundle: PathBuf,
    process: AtomicU32,
    lock: Mutex<Option<BundleLock>>,
    listeners: Mutex<Vec<mpsc::Sender<Value>>>,
    ports: Mutex<Vec<UnixStream>>,
    heard: Mutex<Vec<u8>>,
}

impl Supervisor {
    /// Runs the machine, as far as anybody can tell.
    pub fn start(engine: &Engine, machine: &Machine) -> Self {
        let folder = engine.library().places().runtime_of(&machine.id).path().to_path_buf();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let shared = Arc::new(Shared {
            folder,
            bundle: machine.path.clone(),
            process: AtomicU32::new(10),
            lock: Mutex::new(Some(Bundle::lock(&machine.path).unwrap())),
            listeners: Mutex::default(),
            ports: Mutex::default(),
            heard: Mutex::default(),
        });
        shared.listen();
        Self(shared)
    }

    /// What was typed.
    pub fn heard(&self) -> Vec<u8> {
        self.0.heard.lock().unwrap().clone()
    }

    /// The guest says something.
    pub fn say(&self, bytes: &[u8]) {
        for port in &mut *self.0.ports.lock().unwrap() {
            let _ = port.write_all(bytes);
        }
    }

    /// Another supervisor takes over, and the first one's connections break.
    pub fn succeed(&self) {
        self.0.process.fetch_add(1, Ordering::SeqCst);
        self.0.listeners.lock().unwrap().clear();
        self.0.close_ports();
        self.0.listen();
    }

    /// The guest powers off.
    pub fn end(&self) {
        self.0.end();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    fn listen(self: &Arc<Self>) {
        for (name, with) in [("api.sock", answer as fn(UnixStream, &Self)), ("console-0.sock", guest)] {
            let path = self.folder.join(name);
            let _ = std::fs::remove_file(&path);
            let (listener, shared) = (UnixListener::bind(path).unwrap(), self.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = shared.clone();
                    std::thread::spawn(move || with(stream, &shared));
                }
            });
        }
    }

    fn status(&self) -> Value {
        json!({
            "name": "Server", "uuid": "11111111-2222-3333-4444-555555555555", "bundle": self.bundle, "state": "running", "backend": "qemu",
            "accelerator": { "name": "tcg", "why": "/dev/kvm is not there" },
            "supervisor_pid": self.process.load(Ordering::SeqCst), "backend_pid": 11,
            "sandbox": { "complete": true, "landlock_abi": 6, "seccomp": true },
            "capabilities": { "request_stop": true, "kill": true, "pause": true, "reset": true, "disposable": true, "screenshot": true, "media": true },
            "options": { "disposable": false, "paused": false }, "started_at": 1_700_000_000, "adopted": false, "warnings": [],
            "consoles": [{ "index": 0, "label": "Serial port 1" }], "displays": [], "drives": [],
        })
    }

    fn close_ports(&self) {
        for port in self.ports.lock().unwrap().drain(..) {
            let _ = port.shutdown(std::net::Shutdown::Both);
        }
    }

    fn end(&self) {
        for name in ["api.sock", "console-0.sock"] {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        let ending = json!({ "reason": "guest_shutdown", "message": "The guest powered off" });
        for listener in self.listeners.lock().unwrap().drain(..) {
            let _ = listener.send(json!({ "type": "event", "event": "ended", "ending": ending }));
        }
        self.close_ports();
        drop(self.lock.lock().unwrap().take());
    }
}

/// Answers one request.
fn answer(mut stream: UnixStream, shared: &Shared) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    if head.starts_with(b"GET /v1/events") {
        let (sender, events) = mpsc::channel();
        shared.listeners.lock().unwrap().push(sender);
        let mut status = shared.status();
        status["type"] = json!("status");
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{status}\n");
        for event in events {
            let _ = writeln!(stream, "{event}");
        }
        return;
    }
    let body = if head.starts_with(b"GET /v1/status") { shared.status().to_string() } else { String::new() };
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
}

/// The guest at its port.
fn guest(mut stream: UnixStream, shared: &Shared) {
    let _ = write!(stream, "{SAID}\r\n# ");
    shared.ports.lock().unwrap().push(stream.try_clone().unwrap());
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count > 0) {
        shared.heard.lock().unwrap().push(byte[0]);
        if byte[0] == b'\r' {
            let said = format!("\r\nanswer to {}\r\n# ", String::from_utf8_lossy(&line));
            line.clear();
            let _ = stream.write_all(said.as_bytes());
        } else {
            line.push(byte[0]);
        }
    }
}
