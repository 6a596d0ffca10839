//! A machine that QEMU runs: launched confined, driven over QMP.
//!
//! [`Setup`] says what there is; [`Setup::plan`] makes a [`Plan`] of it; [`QemuMachine`] launches the plan and is the
//! [`machine::VirtualMachine`] from then on. QEMU holds the bundle's lock as long as it lives and listens on sockets that were made for it,
//! so that a new supervisor can take over from one that died: [`QemuMachine::adopt`].

mod ending;
mod exchange;
mod files;
mod images;
mod launch;
mod media;
mod record;
mod run;
mod serial;
mod setup;
mod viewers;

pub use launch::Terms;
pub use record::Record;
pub(crate) use setup::missing;
pub use setup::{Plan, Setup, refusal, shown};

use crate::command_line::{Options, descriptor_set};
use async_trait::async_trait;
use bundle::qemu::{Drive as ConfiguredDrive, ImageType, SerialMode};
use ending::Evidence;
use machine::display::Viewer;
use machine::lifecycle::{Lifecycle, Observation, Operation};
use machine::{
    Accelerator, Backend, BackendKind, Capabilities, CommandLine, Console, ConsoleStream, Display, Drive, DriveKind, EndReason, Ending,
    Error, ErrorKind, Event, EventSender, EventStream, Identity, Medium, PseudoTerminal, Result, Screenshot, StartOptions, State,
    StopMethod, VirtualMachine,
};
use qmp::{commands, types};
use record::{DriveState, Port};
use run::Run;
use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// Largest picture that is read back, in bytes: 16384 × 16384 pixels of three bytes would be larger.
const MAX_PICTURE: u64 = 256 << 20;

/// How a machine is supervised, apart from what it is.
#[derive(Debug)]
pub struct Supervision {
    /// The program that confines itself and becomes QEMU.
    pub launcher: PathBuf,
    /// What to do where the kernel has no Landlock.
    pub landlock: sandbox::Requirement,
    /// Where to write what a new supervisor would need.
    pub record: PathBuf,
    /// The bundle's lock, which QEMU inherits.
    pub lock: OwnedFd,
}

/// What the machine's object and its tasks share.
pub struct Shared {
    identity: Identity,
    setup: Setup,
    supervision: Supervision,
    lifecycle: Mutex<Lifecycle>,
    run: Mutex<Option<Arc<Run>>>,
    /// The last plan that was launched, and how.
    launched: Mutex<Option<(CommandLine, Accelerator, machine::Sandbox)>>,
    events: EventSender,
    /// Held by whoever talks QEMU into another state, so that two do not at once. A stop does not wait for it.
    turn: tokio::sync::Mutex<()>,
    /// Held by a start until it has come to its end, also when a stop displaces it.
    starting: tokio::sync::Mutex<()>,
    /// The guest is ready and waits for what is to connect to it. None of its instructions has run, so it cannot be asked to stop.
    held_back: AtomicBool,
    /// Wakes a start that a stop displaces.
    displaced: tokio::sync::Notify,
    progress: Box<dyn Fn(&str) + Send + Sync>,
}

/// A machine that QEMU runs.
#[derive(Clone)]
pub struct QemuMachine(Arc<Shared>);

impl QemuMachine {
    /// A stopped machine. `progress` hears of what takes long while it starts.
    pub fn new(setup: Setup, supervision: Supervision, progress: Box<dyn Fn(&str) + Send + Sync>) -> Self {
        let information = &setup.configuration.information;
        Self(Arc::new(Shared {
            identity: Identity { name: information.name.clone(), uuid: information.uuid },
            setup,
            supervision,
            lifecycle: Mutex::new(Lifecycle::new(State::Stopped)),
            run: Mutex::new(None),
            launched: Mutex::new(None),
            events: EventSender::new(),
            turn: tokio::sync::Mutex::new(()),
            starting: tokio::sync::Mutex::new(()),
            held_back: AtomicBool::new(false),
            displaced: tokio::sync::Notify::new(),
            progress,
        }))
    }

    /// Takes over a QEMU whose supervisor died.
    ///
    /// # Errors
    /// Where the process is gone, or its monitor does not answer.
    pub async fn adopt(record: &Record, setup: Setup, supervision: Supervision) -> Result<Self> {
        let gone = |what: &str| Error::new(ErrorKind::Backend, format!("Cannot take over the running machine: {what}"));
        let process = sandbox::Process::open(record.process)
            .map_err(|error| gone("its process cannot be watched").with_source(error))?
            .ok_or_else(|| gone("its process has ended"))?;
        let machine = Self::new(setup, supervision, Box::new(|_| {}));
        let shared = &machine.0;
        let qmp = connect(&record.qmp, &process).await.map_err(|error| {
            let pid = process.pid();
            error.with_hint(format!("end it with `kill {pid}` (its disks are closed properly), then start the machine again"))
        })?;
        let events = qmp.events();
        let status = qmp.execute(commands::QueryStatus::default()).await.map_err(|error| run::refused("ask for the state", error))?;
        let launched = (record.command_line.clone(), record.accelerator.clone(), record.sandbox.clone());
        *shared.launched.lock().unwrap_or_else(PoisonError::into_inner) = Some(launched);
        let run = shared.begin_run(process, qmp, record.clone(), true).await;
        shared.change(|lifecycle| *lifecycle = Lifecycle::new(if status.running { State::Running } else { State::Paused }));
        tokio::spawn(run::watch(shared.clone(), run, events));
        Ok(machine)
    }

    /// What each console's log holds, by console.
    pub fn console_logs(&self) -> Vec<PathBuf> {
        self.0.current_run().map(|run| run.record().consoles.iter().map(|port| port.log.clone()).collect()).unwrap_or_default()
    }
}

/// Connects to a QMP socket, or says why the process behind it did not answer.
async fn connect(socket: &std::path::Path, process: &sandbox::Process) -> Result<qmp::Client> {
    let options = qmp::Options { greeting_timeout: run::GREETING, ..qmp::Options::default() };
    qmp::Client::connect_with(socket, options).await.map_err(|error| {
        let pid = process.pid();
        let silent = matches!(error, qmp::Error::NoGreeting { .. });
        let message = format!("QEMU (process {pid}) was started and its monitor does not answer");
        Error::new(if silent { ErrorKind::Timeout } else { ErrorKind::Backend }, message).with_source(error)
    })
}

fn stopped_meanwhile() -> Error {
    Error::new(ErrorKind::Cancelled, "The machine was stopped while it was being started")
}

impl Shared {
    fn state(&self) -> State {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Changes the lifecycle and tells of the new state.
    fn change<T>(&self, change: impl FnOnce(&mut Lifecycle) -> T) -> T {
        let mut lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lifecycle.state();
        let result = change(&mut lifecycle);
        let to = lifecycle.state();
        if from != to {
            self.events.send(Event::StateChanged { from, to });
        }
        result
    }

    fn begin(&self, operation: Operation) -> Result<()> {
        Ok(self.change(|lifecycle| lifecycle.begin(operation)).map(drop)?)
    }

    fn under_way(&self) -> Option<Operation> {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner).under_way()
    }

    fn current_run(&self) -> Option<Arc<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_run(&self, run: Option<Arc<Run>>) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run;
    }

    /// The run, where commands can be sent to it now.
    fn usable(&self, what: &str) -> Result<Arc<Run>> {
        let state = self.state();
        self.current_run().filter(|_| run::usable(state)).ok_or_else(|| {
            Error::new(ErrorKind::WrongState, format!("Cannot {what} a machine that is {state}; it must be running or paused"))
        })
    }

    async fn begin_run(&self, process: sandbox::Process, qmp: qmp::Client, record: Record, started: bool) -> Arc<Run> {
        let consoles = run::connect_consoles(&record.consoles).await;
        let run = Arc::new(Run {
            process: Arc::new(process),
            qmp,
            record: Mutex::new(record),
            record_path: self.supervision.record.clone(),
            relay: tokio::sync::Mutex::default(),
            exchange: tokio::sync::Mutex::default(),
            consoles: Mutex::new(consoles),
            evidence: Mutex::new(Evidence { started, ..Evidence::default() }),
            ended: watch::channel(None).0,
            log: self.log(),
        });
        self.set_run(Some(run.clone()));
        run
    }

    fn log(&self) -> PathBuf {
        self.setup.logs.join("backend.log")
    }

    /// Everything between the request and the running guest. On failure nothing is left running.
    async fn start(self: Arc<Self>, options: StartOptions) -> Result<()> {
        let _starting = self.starting.lock().await;
        self.not_displaced()?;
        self.held_back.store(false, Ordering::Release);
        // It comes up while the machine is planned.
        let launcher = sandbox::Launcher::start(&self.supervision.launcher).map_err(|error| launch::launch_failed("QEMU", &error))?;
        let options_of_plan = Options { disposable: options.disposable, ..Options::default() };
        let mut plan = self.unless_displaced(self.setup.plan(options_of_plan, true, &*self.progress)).await?;
        (self.progress)("Starting QEMU");
        let lock = self
            .supervision
            .lock
            .try_clone()
            .map_err(|error| Error::new(ErrorKind::Backend, "Cannot hand the bundle's lock to QEMU").with_source(error))?;
        let program = self.supervision.launcher.clone();
        let terms = Terms { launcher, program, landlock: self.supervision.landlock, log: self.log(), lock };
        let configuration = self.configuration_text()?;
        let launched = self.unless_displaced(launch::launch(&mut plan, terms)).await?;
        let command_line = shown(&plan);
        let accelerator = Accelerator { name: plan.accelerator.accelerator.name().to_owned(), why: plan.accelerator.why.clone() };
        *self.launched.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((command_line.clone(), accelerator.clone(), launched.sandbox.clone()));
        let record = Record {
            process: launched.process.identity(),
            qmp: plan.command_line.sockets.qmp.clone(),
            consoles: ports(&plan),
            pseudo_terminals: Vec::new(),
            drives: self.drive_states(&plan),
            files: plan.command_line.set_files(),
            started_at: now(),
            options,
            accelerator,
            sandbox: launched.sandbox,
            command_line,
            configuration,
        };
        // From here on a new supervisor could take over.
        if let Err(error) = record.write(&self.supervision.record) {
            let _ = launched.process.signal(sandbox::Signal::KILL);
            return Err(Error::new(ErrorKind::File, "Cannot record the running machine").with_source(error));
        }
        let qmp = match self.unless_displaced(connect(&record.qmp, &launched.process)).await {
            Ok(qmp) => qmp,
            Err(error) => return Err(self.never_greeted(&launched.process, &record.files, error)),
        };
        let events = qmp.events();
        let run = self.begin_run(launched.process, qmp, record, false).await;
        tokio::spawn(run::watch(self.clone(), run.clone(), events));
        let begun = self.unless_displaced(self.let_run(&run, &plan, options)).await;
        if let Err(error) = begun {
            // It may have died of it; then its own words say more.
            if let Ok(ending) = tokio::time::timeout(std::time::Duration::from_secs(2), run.ending()).await {
                return Err(if error.kind() == ErrorKind::Cancelled { error } else { died(&ending) });
            }
            run.evidence().asked = Some(StopMethod::Kill);
            let _ = run.process.signal(sandbox::Signal::KILL);
            run.ending().await;
            return Err(error);
        }
        run.evidence().started = true;
        Ok(())
    }

    /// From a QEMU that answers to a guest that runs, or is to stand before its first instruction.
    async fn let_run(&self, run: &Run, plan: &Plan, options: StartOptions) -> Result<()> {
        let terminals = serial::pseudo_terminals(run, &plan.command_line.pseudo_terminals).await?;
        if !terminals.is_empty() {
            run.record().pseudo_terminals = terminals;
            run.save_record();
        }
        if options.paused {
            return Ok(());
        }
        self.held_back.store(true, Ordering::Release);
        serial::connected(run, &plan.command_line.awaited, &*self.progress).await?;
        self.held_back.store(false, Ordering::Release);
        run.execute("let the guest run", commands::Cont::default()).await.map(drop)
    }

    fn configuration_text(&self) -> Result<String> {
        let text = bundle::Configuration::Qemu(self.setup.configuration.clone()).to_xml();
        let failed = |error: String| Error::new(ErrorKind::Configuration, "Cannot record the configuration").with_source(error);
        String::from_utf8(text.map_err(|error| failed(error.to_string()))?).map_err(|error| failed(error.to_string()))
    }

    /// What comes of `step`, which may hang, unless a stop comes first.
    async fn unless_displaced<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        // It hears of every stop from here on.
        let displaced = self.displaced.notified();
        self.not_displaced()?;
        tokio::select! {
            () = displaced => Err(stopped_meanwhile()),
            outcome = step => outcome,
        }
    }

    /// A stop came in between.
    fn not_displaced(&self) -> Result<()> {
        if self.under_way() == Some(Operation::Start) { Ok(()) } else { Err(stopped_meanwhile()) }
    }

    /// QEMU ended, or hangs, or says what cannot be understood, before it greeted.
    fn never_greeted(&self, process: &sandbox::Process, files: &BTreeMap<u32, PathBuf>, error: Error) -> Error {
        // One that dies closes its monitor a moment before it is gone.
        let dying = !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Cancelled);
        let exit = process.wait(Some(std::time::Duration::from_secs(if dying { 2 } else { 0 }))).ok().flatten();
        if exit.is_none() && process.is_alive().unwrap_or(false) {
            let _ = process.signal(sandbox::Signal::KILL);
            let _ = process.wait(Some(std::time::Duration::from_secs(10)));
            let _ = std::fs::remove_file(&self.supervision.record);
            return error.with_hint(format!("QEMU was killed; its log is {}", self.log().display()));
        }
        let _ = std::fs::remove_file(&self.supervision.record);
        died(&Evidence { exit, log: run::end_of_log(&self.log(), files), ..Evidence::default() }.conclude())
    }

    fn drive_states(&self, plan: &Plan) -> BTreeMap<String, DriveState> {
        let medium = |id: &str| {
            let inserted = plan.command_line.drives.iter().any(|drive| drive.identifier == id && !drive.empty);
            let external = self.setup.entry.external_drives.get(id).filter(|_| inserted);
            external.map(|file| Medium { path: images::shown(&file.path), read_only: file.read_only })
        };
        let names = plan.command_line.drives.iter();
        names
            .map(|names| {
                let device = names.device.clone().filter(|_| names.removable);
                let sets = names.sets.iter().map(|set| (*set).into()).collect();
                let state = DriveState { device, medium: medium(&names.identifier), nodes: names.nodes.clone(), sets };
                (names.identifier.clone(), state)
            })
            .collect()
    }

    fn drive(&self, drive: &ConfiguredDrive) -> Option<Drive> {
        let kind = match drive.image_type {
            ImageType::Disk if drive.interface == bundle::qemu::DriveInterface::Floppy => DriveKind::Floppy,
            ImageType::Disk => DriveKind::Disk,
            ImageType::Cd => DriveKind::Cd,
            ImageType::None => return None,
            _ => DriveKind::Other,
        };
        let id = drive.identifier.clone();
        let own = drive.image_name.as_ref().map(|name| self.setup.bundle.join("Data").join(name.as_str()));
        let (device, medium) = match self.current_run() {
            Some(run) => run.record().drives.get(&id).map_or((None, None), |state| (state.device.clone(), state.medium.clone())),
            None => {
                let external = self.setup.entry.external_drives.get(&id);
                (None, external.map(|file| Medium { path: file.path.clone(), read_only: file.read_only }))
            }
        };
        let removable = drive.has_changeable_medium() && (device.is_some() || self.current_run().is_none());
        Some(Drive {
            id,
            kind,
            interface: drive.interface.as_str().to_owned(),
            removable,
            read_only: drive.read_only || kind == DriveKind::Cd,
            medium: own.or_else(|| medium.map(|medium| medium.path)),
        })
    }

    fn drives(&self) -> Vec<Drive> {
        self.setup.configuration.drives.iter().filter_map(|drive| self.drive(drive)).collect()
    }
}

fn died(ending: &Ending) -> Error {
    let error = Error::new(ErrorKind::Backend, ending.message.clone());
    if ending.log.len() > 1 { error.with_source(ending.log.join("\n")) } else { error }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn ports(plan: &Plan) -> Vec<Port> {
    let serials = plan.command_line.sockets.serials.iter();
    serials.map(|port| Port { serial: port.serial, socket: port.path.clone(), log: port.log.clone() }).collect()
}

#[async_trait]
impl VirtualMachine for QemuMachine {
    fn identity(&self) -> Identity {
        self.0.identity.clone()
    }

    fn backend(&self) -> Backend {
        let launched = self.0.launched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pid = self.0.current_run().map(|run| run.process.pid());
        let (accelerator, sandbox) = launched.map(|(_, accelerator, sandbox)| (accelerator, sandbox)).unzip();
        Backend { kind: BackendKind::Qemu, accelerator, pid, sandbox }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            request_stop: true,
            kill: true,
            pause: true,
            reset: true,
            disposable: true,
            screenshot: !self.0.setup.configuration.displays.is_empty(),
            media: self.0.drives().iter().any(|drive| drive.removable),
            viewers: self.0.shows_viewers(),
            exchange: self.0.exchange_capabilities(),
        }
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn events(&self) -> EventStream {
        self.0.events.subscribe()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let launched = self.0.launched.lock().unwrap_or_else(PoisonError::into_inner);
        launched.as_ref().map(|(command_line, ..)| command_line.clone())
    }

    async fn start(&self, options: StartOptions) -> Result<()> {
        self.0.begin(Operation::Start)?;
        let shared = self.0.clone();
        // A task of its own: who asked may go away, the start goes on to its end.
        let started = tokio::spawn(async move {
            let outcome = shared.clone().start(options).await;
            if let Err(error) = &outcome {
                if shared.under_way() == Some(Operation::Start) {
                    shared.end(&Ending::new(EndReason::StartFailed, error.to_string()));
                }
                return outcome;
            }
            shared.change(|lifecycle| lifecycle.finish(Operation::Start, true));
            if options.paused {
                shared.change(|lifecycle| lifecycle.observe(Observation::Halted));
            }
            outcome
        });
        started.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Backend, "Starting the machine failed").with_source(error)))
    }

    async fn stop(&self, method: StopMethod) -> Result<()> {
        let unasked = method == StopMethod::Request && self.0.state() == State::Starting && self.0.held_back.load(Ordering::Acquire);
        let method = if unasked { StopMethod::Force } else { method };
        if method == StopMethod::Request {
            self.0.begin(Operation::RequestStop)?;
            let run = self.0.usable("shut down")?;
            run.evidence().asked.get_or_insert(method);
            return run.execute("ask the guest to power off", commands::SystemPowerdown::default()).await.map(drop);
        }
        self.0.begin(Operation::Stop)?;
        let shared = self.0.clone();
        let stopped = tokio::spawn(async move {
            // A start that hangs is told, and takes back what it has begun.
            shared.displaced.notify_waiters();
            let _started = if shared.current_run().is_none() { Some(shared.starting.lock().await) } else { None };
            if let Some(run) = shared.current_run() {
                let outcome = run::end(&run, method).await;
                if outcome.is_err() {
                    shared.change(|lifecycle| lifecycle.finish(Operation::Stop, false));
                }
                return outcome;
            }
            if shared.under_way() == Some(Operation::Stop) {
                let reason = if method == StopMethod::Kill { EndReason::Killed } else { EndReason::Forced };
                shared.end(&Ending::new(reason, "The machine was stopped before QEMU ran"));
            }
            Ok(())
        });
        stopped.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Backend, "Stopping the machine failed").with_source(error)))
    }

    async fn pause(&self) -> Result<()> {
        self.0.operate(Operation::Pause, "pause the guest", commands::Stop::default()).await
    }

    async fn resume(&self) -> Result<()> {
        self.0.operate(Operation::Resume, "resume the guest", commands::Cont::default()).await
    }

    async fn reset(&self) -> Result<()> {
        self.0.operate(Operation::Reset, "reset the machine", commands::SystemReset::default()).await
    }

    fn consoles(&self) -> Vec<Console> {
        let serials = self.0.setup.configuration.serials.iter().enumerate();
        let terminals = serials.filter(|(_, serial)| serial.mode == SerialMode::Terminal);
        terminals.enumerate().map(|(index, (serial, _))| Console { index, label: format!("Serial port {}", serial + 1) }).collect()
    }

    fn pseudo_terminals(&self) -> Vec<PseudoTerminal> {
        self.0.current_run().map(|run| run.record().pseudo_terminals.clone()).unwrap_or_default()
    }

    async fn open_console(&self, index: usize) -> Result<Box<dyn ConsoleStream>> {
        let run = self.0.usable("attach to a console of")?;
        let stored = run.consoles.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
        if let Some(stream) = stored {
            return Ok(Box::new(stream));
        }
        let socket = run.record().consoles.get(index).map(|port| port.socket.clone());
        let socket = socket.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("The machine has no console {index}")))?;
        let stream = UnixStream::connect(&socket)
            .await
            .map_err(|error| Error::new(ErrorKind::Backend, format!("Cannot attach to console {index}")).with_source(error))?;
        Ok(Box::new(stream))
    }

    fn displays(&self) -> Vec<Display> {
        let displays = self.0.setup.configuration.displays.iter().enumerate();
        displays.map(|(index, display)| Display { index, device: display.hardware.clone() }).collect()
    }

    async fn screenshot(&self, display: usize) -> Result<Screenshot> {
        let run = self.0.usable("photograph")?;
        if display >= self.0.setup.configuration.displays.len() {
            return Err(Error::new(ErrorKind::NotFound, format!("The machine has no display {display}")));
        }
        let failed = |error: std::io::Error| Error::new(ErrorKind::Backend, "Cannot make room for a picture").with_source(error);
        let memory = rustix::fs::memfd_create("screenshot", rustix::fs::MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let mut picture = std::fs::File::from(memory);
        // QEMU wants a descriptor that can only be written to.
        let path = format!("/proc/self/fd/{}", picture.as_raw_fd());
        let writer = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
        let add = commands::AddFd { opaque: Some("screenshot".into()), ..commands::AddFd::default() };
        let added = run.qmp.execute_with_fd(add, writer.as_fd()).await.map_err(|error| run::refused("hand QEMU a file", error))?;
        let mut dump = commands::Screendump::new(descriptor_set(added.fdset_id));
        dump.format = Some(types::ImageFormat::Png);
        if display > 0 {
            dump.device = Some(format!("display{display}"));
        }
        let dumped = run.execute("photograph the display", dump).await;
        let _ = run.qmp.execute(commands::RemoveFd::new(added.fdset_id)).await;
        dumped?;
        let mut png = Vec::new();
        picture.rewind().and_then(|()| picture.take(MAX_PICTURE + 1).read_to_end(&mut png)).map_err(failed)?;
        if png.len() as u64 > MAX_PICTURE {
            return Err(Error::new(ErrorKind::Backend, format!("The picture is larger than {} MiB", MAX_PICTURE >> 20)));
        }
        Ok(Screenshot { png })
    }

    async fn viewer(&self) -> Result<Arc<dyn Viewer>> {
        viewers::viewer(&*self.0.watchable()?).await
    }

    async fn attach_viewer(&self, connection: OwnedFd) -> Result<()> {
        viewers::attach(&*self.0.watchable()?, connection).await
    }

    async fn attach_exchange(&self, connection: OwnedFd) -> Result<()> {
        exchange::attach(&*self.0.exchanging()?, connection).await
    }

    fn drives(&self) -> Vec<Drive> {
        self.0.drives()
    }

    async fn insert(&self, drive: &str, medium: Medium) -> Result<String> {
        let run = self.0.usable("change a medium of")?;
        let _turn = self.0.turn.lock().await;
        media::insert(&self.0.events, &run, &self.0.drives(), drive, medium).await
    }

    async fn eject(&self, drive: &str, force: bool) -> Result<()> {
        let run = self.0.usable("eject a medium of")?;
        let _turn = self.0.turn.lock().await;
        media::eject(&self.0.events, &run, &self.0.drives(), drive, force).await
    }
}

impl Shared {
    /// An operation that is one command.
    async fn operate<C: qmp::Command + Send + 'static>(self: &Arc<Self>, operation: Operation, what: &'static str, command: C) -> Result<()>
    where
        C::Return: Send,
    {
        let turn = self.turn.lock().await;
        self.begin(operation)?;
        let shared = self.clone();
        let Some(run) = self.current_run() else {
            return Err(Error::new(ErrorKind::WrongState, "The machine is not running"));
        };
        let outcome = run.execute(what, command).await.map(drop);
        shared.change(|lifecycle| lifecycle.finish(operation, outcome.is_ok()));
        drop(turn);
        outcome
    }
}
