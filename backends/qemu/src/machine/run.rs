//! One life of a QEMU: from its process to its ending.

use super::ending::Evidence;
use super::record::Record;
use super::{Shared, record};
use crate::command_line::descriptor_set;
use machine::lifecycle::{Observation, Operation};
use machine::{Ending, Error, ErrorKind, Event, IoDirection, Result, State, StopMethod};
use qmp::{Notice, commands, types};
use sandbox::{Exit, Process};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

/// How long QEMU may take until it greets. Its own work takes well under a second; a disk that must spin up, longer.
pub const GREETING: Duration = Duration::from_secs(60);
/// How long events may follow after the process has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How much of the log's end is looked at, in bytes.
const LOG_KEPT: u64 = 64 << 10;

/// One life of a QEMU.
pub struct Run {
    /// The process.
    pub process: Arc<Process>,
    /// QMP.
    pub qmp: qmp::Client,
    /// What a new supervisor would need.
    pub record: Mutex<Record>,
    /// Where the record is.
    pub record_path: PathBuf,
    /// Between QEMU's display and its viewers, once there has been one.
    pub relay: tokio::sync::Mutex<Option<qemu_display::Relay>>,
    /// Held while a connection is handed to SPICE.
    pub exchange: tokio::sync::Mutex<()>,
    /// Console connections that were made before the guest ran, so that nothing it says is lost.
    pub consoles: Mutex<BTreeMap<usize, UnixStream>>,
    /// What speaks for its ending.
    pub evidence: Mutex<Evidence>,
    /// Set once, when it has ended.
    pub ended: watch::Sender<Option<Ending>>,
    /// The log of this run.
    pub log: PathBuf,
}

impl Run {
    /// The record.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The evidence.
    pub fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The drive that a block node belongs to.
    fn drive_of_node(&self, node: &str) -> Option<String> {
        let record = self.record();
        let mut drives = record.drives.iter();
        drives.find(|(_, state)| state.nodes.iter().any(|name| name == node)).map(|(drive, _)| drive.clone())
    }

    /// Writes the record anew, after a change.
    pub fn save_record(&self) {
        if let Err(error) = self.record().write(&self.record_path) {
            tracing::warn!(%error, "Cannot record the running machine; it could not be taken over as it is");
        }
    }

    /// Waits for the ending.
    pub async fn ending(&self) -> Ending {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(ending) = ended.borrow_and_update().clone() {
                return ending;
            }
            if ended.changed().await.is_err() {
                return Ending::new(machine::EndReason::BackendDied, "The machine is gone");
            }
        }
    }

    /// A command, with its failure in the machine's words.
    ///
    /// # Errors
    /// What QEMU says.
    pub async fn execute<C: qmp::Command>(&self, what: &str, command: C) -> Result<C::Return> {
        self.qmp.execute(command).await.map_err(|error| refused(what, error))
    }
}

/// What QEMU said to a command, as an error of the machine.
pub fn refused(what: &str, error: qmp::Error) -> Error {
    let kind = match error {
        qmp::Error::Timeout { .. } | qmp::Error::NoGreeting { .. } => ErrorKind::Timeout,
        _ => ErrorKind::Backend,
    };
    Error::new(kind, format!("Cannot {what}")).with_source(error)
}

/// Watches a run to its end and tells what happens. Returns when the ending has been told.
pub async fn watch(shared: Arc<Shared>, run: Arc<Run>, mut events: qmp::Events) {
    let mut exited = exit_of(run.process.clone());
    let mut connected = true;
    loop {
        tokio::select! {
            notice = events.next(), if connected => match notice {
                Some(notice) => on_notice(&shared, &run, notice).await,
                None => connected = false,
            },
            exit = &mut exited => {
                run.evidence().exit = Some(exit.unwrap_or(Exit::Unknown));
                break;
            }
        }
        if !connected && run.process.is_alive().unwrap_or(false) {
            // It is on its way out, or has lost its monitor.
            tokio::select! {
                exit = &mut exited => {
                    run.evidence().exit = Some(exit.unwrap_or(Exit::Unknown));
                    break;
                }
                () = tokio::time::sleep(Duration::from_secs(5)) => {
                    shared.warn("QEMU's monitor no longer answers; the guest runs on, and `stop --kill` ends it");
                    run.evidence().exit = Some((&mut exited).await.unwrap_or(Exit::Unknown));
                    break;
                }
            }
        }
    }
    while connected && let Ok(Some(notice)) = tokio::time::timeout(LAST_WORDS, events.next()).await {
        on_notice(&shared, &run, notice).await;
    }
    conclude(&shared, &run);
}

/// How the process ended. A thread waits for it, asleep in the kernel.
fn exit_of(process: Arc<Process>) -> oneshot::Receiver<Exit> {
    let (sender, receiver) = oneshot::channel();
    let waiting = std::thread::Builder::new().name("qemu-exit".into()).stack_size(64 << 10).spawn(move || {
        let exit = process.wait(None).ok().flatten().unwrap_or(Exit::Unknown);
        let _ = sender.send(exit);
    });
    if let Err(error) = waiting {
        tracing::error!(%error, "Cannot wait for QEMU's end");
    }
    receiver
}

fn conclude(shared: &Shared, run: &Run) {
    let ending = {
        let files = run.record().files.clone();
        let mut evidence = run.evidence();
        evidence.log = end_of_log(&run.log, &files);
        evidence.conclude()
    };
    tracing::info!(reason = ?ending.reason, "{}", ending.message);
    let _ = std::fs::remove_file(&run.record_path);
    shared.end(&ending);
    run.ended.send_replace(Some(ending));
}

/// The last words of a log: a guest can make QEMU write much. Files have the names that people know, not those of descriptor sets.
pub fn end_of_log(path: &Path, files: &BTreeMap<u32, PathBuf>) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_KEPT)))?;
        let mut bytes = Vec::new();
        file.take(LOG_KEPT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let mut text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    // The highest first, for `/dev/fdset/12` begins with `/dev/fdset/1`.
    for (set, path) in files.iter().rev() {
        text = text.replace(&descriptor_set(set), &path.to_string_lossy());
    }
    text
}

async fn on_notice(shared: &Arc<Shared>, run: &Arc<Run>, notice: Notice) {
    let event = match notice {
        Notice::Event { event, .. } => event,
        Notice::Missed(count) => {
            shared.events.send(Event::Missed { count });
            return;
        }
    };
    match event {
        qmp::Event::Stop | qmp::Event::Resume => {
            // In a task of its own: an operation that is under way waits for events while it holds the turn.
            tokio::spawn(synchronise(shared.clone(), run.clone()));
        }
        qmp::Event::Reset(reset) => shared.events.send(Event::GuestReset { by_guest: reset.guest }),
        qmp::Event::Shutdown(shutdown) => run.evidence().shutdown = Some(shutdown.reason),
        qmp::Event::GuestPanicked(panicked) => {
            run.evidence().panicked = true;
            let message = panicked.info.and_then(|info| serde_json::to_string(&info).ok());
            shared.events.send(Event::GuestPanicked { message });
        }
        qmp::Event::BlockIoError(error) => {
            let drive = error.node_name.and_then(|node| run.drive_of_node(&node)).unwrap_or(error.device);
            shared.events.send(Event::IoError {
                drive,
                direction: if error.operation == types::IoOperationType::Read { IoDirection::Read } else { IoDirection::Write },
                reason: if error.nospace == Some(true) { "No space left on the host's disk".into() } else { error.reason },
                paused: error.action == types::BlockErrorAction::Stop,
            });
        }
        qmp::Event::DeviceTrayMoved(moved) => {
            let drive = run.record().drives.iter().find_map(|(drive, state)| {
                (state.device.as_deref() == Some(moved.id.as_str())).then(|| (drive.clone(), state.medium.is_some()))
            });
            if let Some((drive, has_medium)) = drive {
                shared.events.send(Event::MediumChanged { drive, inserted: has_medium && !moved.tray_open });
            }
        }
        _ => {}
    }
}

/// Brings the state into line with QEMU's, where no operation is under way that will.
async fn synchronise(shared: Arc<Shared>, run: Arc<Run>) {
    let _turn = shared.turn.lock().await;
    if shared.state().is_transitional() {
        return;
    }
    let Ok(status) = run.qmp.execute(commands::QueryStatus::default()).await else { return };
    shared.change(|lifecycle| {
        lifecycle.observe(if status.running { Observation::Ran } else { Observation::Halted });
    });
}

impl Shared {
    /// Tells of the ending, whatever was under way.
    pub fn end(&self, ending: &Ending) {
        self.change(|lifecycle| match lifecycle.under_way() {
            Some(operation @ (Operation::Stop | Operation::Start)) => {
                lifecycle.finish(operation, operation == Operation::Stop);
            }
            _ if ending.reason.is_failure() => {
                lifecycle.observe(Observation::Failed);
            }
            _ => {
                lifecycle.observe(Observation::Ended);
            }
        });
        self.set_run(None);
        self.events.send(Event::Ended { ending: ending.clone() });
    }

    /// Something that a person should know.
    pub fn warn(&self, message: &str) {
        tracing::warn!("{message}");
        self.events.send(Event::Warning { message: message.into() });
    }
}

/// Ends a run without asking the guest, and waits until it has ended.
///
/// # Errors
/// Where even killing does not help.
pub async fn end(run: &Run, method: StopMethod) -> Result<()> {
    run.evidence().asked.get_or_insert(method);
    if method == StopMethod::Kill {
        run.evidence().asked = Some(method);
        let _ = run.process.signal(sandbox::Signal::KILL);
    } else {
        // The reply may not come: it is ending.
        let _ = tokio::time::timeout(Duration::from_secs(10), run.qmp.execute(commands::Quit::default())).await;
        for (patience, signal) in [(20, sandbox::Signal::TERM), (10, sandbox::Signal::KILL)] {
            if tokio::time::timeout(Duration::from_secs(patience), run.ending()).await.is_ok() {
                return Ok(());
            }
            let _ = run.process.signal(signal);
        }
    }
    tokio::time::timeout(Duration::from_secs(30), run.ending()).await.map(drop).map_err(|_| {
        let pid = run.process.pid();
        Error::new(ErrorKind::Timeout, format!("QEMU (process {pid}) does not end even when it is killed"))
            .with_hint("it waits for the kernel, usually for a disk or network file system that does not answer")
    })
}

/// Connects to the consoles.
pub async fn connect_consoles(ports: &[record::Port]) -> BTreeMap<usize, UnixStream> {
    let mut consoles = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        match UnixStream::connect(&port.socket).await {
            Ok(stream) => {
                consoles.insert(index, stream);
            }
            Err(error) => tracing::warn!(%error, serial = port.serial, "Cannot connect to a console"),
        }
    }
    consoles
}

/// Whether a state lets commands be sent to a run.
pub const fn usable(state: State) -> bool {
    matches!(state, State::Running | State::Paused)
}
