//! A supervisor that runs nothing: it holds the lock, serves the API on the socket, and ends when it is told to.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bundle::{Bundle, BundleLock};
use library::{Library, Machine};
use machine::{BackendKind, Capabilities, EndReason, Ending, Event, StartOptions, State, StopMethod};
use supervisor_api::wire::{LastRun, Status, StopRequest, StreamItem};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;

/// A machine that "runs".
pub struct Supervisor {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    status: Mutex<Status>,
    events: broadcast::Sender<Event>,
    lock: Mutex<Option<BundleLock>>,
    socket: PathBuf,
    last_run: PathBuf,
    /// What ends it.
    ends_on: Vec<StopMethod>,
    /// Every request, as method and target.
    heard: Mutex<Vec<String>>,
}

impl Supervisor {
    pub fn start(library: &Library, machine: &Machine, ends_on: &[StopMethod]) -> Self {
        let lock = Bundle::lock(&machine.path).unwrap();
        Self::serve(library, machine, ends_on, Some(lock))
    }

    /// Serves only; the lock is somebody else's.
    pub fn serve(library: &Library, machine: &Machine, ends_on: &[StopMethod], lock: Option<BundleLock>) -> Self {
        let runtime = library.places().runtime_of(&machine.id);
        std::fs::create_dir_all(runtime.path()).unwrap();
        let socket = runtime.api_socket();
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let status = Status {
            name: machine.name.clone(),
            uuid: machine.uuid.unwrap(),
            bundle: machine.path.clone(),
            state: State::Running,
            backend: BackendKind::Fake,
            accelerator: None,
            supervisor_pid: Some(std::process::id()),
            backend_pid: None,
            sandbox: None,
            capabilities: Capabilities::default(),
            options: StartOptions { disposable: true, paused: false },
            started_at: Some(1),
            adopted: false,
            consoles: Vec::new(),
            pseudo_terminals: Vec::new(),
            display_socket: None,
            displays: Vec::new(),
            drives: Vec::new(),
            warnings: Vec::new(),
            last_run: None,
        };
        let shared = Arc::new(Shared {
            status: Mutex::new(status),
            events: broadcast::channel(64).0,
            lock: Mutex::new(lock),
            socket,
            last_run: library.places().last_run_of(&machine.id),
            ends_on: ends_on.to_vec(),
            heard: Mutex::new(Vec::new()),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = serving.clone();
                tokio::spawn(async move { drop(answer(&shared, stream).await) });
            }
        });
        Self { shared, task }
    }

    pub fn set_state(&self, state: State) {
        let from = std::mem::replace(&mut self.shared.status.lock().unwrap().state, state);
        let _ = self.shared.events.send(Event::StateChanged { from, to: state });
    }

    /// The guest powers off.
    pub fn end(&self) {
        self.shared.end(EndReason::GuestShutdown);
        self.task.abort();
    }

    /// The supervisor dies and leaves its socket; returns the lock, which a backend would still hold.
    pub fn die(self) -> Option<BundleLock> {
        self.task.abort();
        self.shared.lock.lock().unwrap().take()
    }

    pub fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().unwrap().clone()
    }
}

impl Shared {
    fn end(&self, reason: EndReason) {
        let ending = Ending::new(reason, "It is over");
        std::fs::create_dir_all(self.last_run.parent().unwrap()).unwrap();
        let run = LastRun { started_at: Some(1), ended_at: Some(2), ending: ending.clone() };
        std::fs::write(&self.last_run, serde_json::to_vec(&run).unwrap()).unwrap();
        let _ = std::fs::remove_file(&self.socket);
        let _ = self.events.send(Event::Ended { ending });
        drop(self.lock.lock().unwrap().take());
    }
}

async fn answer(shared: &Shared, stream: UnixStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let target = request.rsplit_once(' ').map_or(request.as_str(), |(target, _)| target).to_owned();
    shared.heard.lock().unwrap().push(target.clone());
    match target.as_str() {
        "GET /v1/status" => {
            let body = serde_json::to_string(&*shared.status.lock().unwrap()).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await
        }
        "GET /v1/events" => {
            let mut events = shared.events.subscribe();
            let first = StreamItem::Status(Box::new(shared.status.lock().unwrap().clone()));
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned();
            stream.write_all((head + &line(&first)).as_bytes()).await?;
            while let Ok(event) = events.recv().await {
                let last = matches!(event, Event::Ended { .. });
                stream.write_all(line(&StreamItem::Event(event)).as_bytes()).await?;
                if last {
                    break;
                }
            }
            Ok(())
        }
        _ => {
            if target == "POST /v1/stop" {
                let StopRequest { method } = serde_json::from_slice(&body).unwrap();
                if shared.ends_on.contains(&method) {
                    shared.end(if method == StopMethod::Request { EndReason::GuestShutdown } else { EndReason::Forced });
                }
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await
        }
    }
}

fn line(item: &StreamItem) -> String {
    serde_json::to_string(item).unwrap() + "\n"
}
