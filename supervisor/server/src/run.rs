//! The life of a supervisor, from taking the locks to recording how the machine ended.
//!
//! 1. Leave the session of whoever started it; take the machine's runtime folder and lock it: one supervisor per machine.
//! 2. Lock the bundle. Where another holds it while nobody supervises, a QEMU runs on alone: that is for [`adopt`].
//! 3. Read the bundle, serve the API, start the machine, say so on standard output.
//! 4. Wait for the ending; write it down; leave nothing behind.

use crate::api;
use crate::console::{Console, REPLAY};
use crate::debug_log;
use crate::exchange;
use crate::logs;
use crate::pictures::Pictures;
use crate::session::{MediaRecord, Session, now};
use backend_qemu::machine::{QemuMachine, Record, Setup, Supervision};
use bundle::qemu::DirectoryShareMode;
use bundle::registry::{FORMAT_KEY, HostFile, Registry};
use bundle::{Bundle, BundleLock, Configuration, LockError, Origin, legacy};
use futures::StreamExt;
use machine::exchange::{ClipboardPolicy, ExchangeFolder};
use machine::{Ending, Error, ErrorKind, Event, EventStream, Medium, Result, StartOptions, VirtualMachine, Warning, WarningKind};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervisor_api::wire::{Failure, LastRun, StartMessage};
use supervisor_api::{Places, Runtime, Settings};
use tokio::net::UnixListener;
use uuid::Uuid;

/// Starts the machine in a bundle and supervises it until it ends.
pub async fn start(bundle: &Path, options: StartOptions) -> ExitCode {
    let report = Report::default();
    match Supervisor::prepare(bundle) {
        Ok(supervisor) => supervisor.start(options, report).await,
        Err(error) => report.failed(&error),
    }
}

/// Takes over a machine whose supervisor died.
pub async fn adopt(bundle: &Path) -> ExitCode {
    let report = Report::default();
    match Supervisor::prepare(bundle) {
        Ok(supervisor) => supervisor.adopt(report).await,
        Err(error) => report.failed(&error),
    }
}

/// What is said on standard output until the machine runs, or does not. Then the output is closed: whoever waited is free to go.
#[derive(Clone, Default)]
struct Report {
    closed: Arc<Mutex<bool>>,
}

impl Report {
    fn say(&self, message: &StartMessage) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*closed {
            let line = serde_json::to_string(message).unwrap_or_default();
            // Nobody may listen any more, which is no reason to stop.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
        }
    }

    fn failed(&self, error: &Error) -> ExitCode {
        tracing::error!("{}", error.chain());
        self.say(&StartMessage::Failed(Failure::from(error)));
        ExitCode::FAILURE
    }
}

/// What a supervisor holds before and while its machine runs.
struct Supervisor {
    bundle: PathBuf,
    id: String,
    places: Places,
    settings: Settings,
    runtime: Runtime,
    /// Locked as long as this process lives.
    _own: File,
}

impl Supervisor {
    fn prepare(bundle: &Path) -> Result<Self> {
        // A closing terminal must not reach the machine. Fails only where this is a session of its own already.
        let _ = rustix::process::setsid();
        let bundle = bundle.canonicalize().map_err(|error| file("find the bundle", bundle, error))?;
        let places = Places::from_environment().map_err(|error| Error::new(ErrorKind::File, error.to_string()))?;
        let id = bundle::bundle_id(&bundle).map_err(|error| file("identify the bundle", &bundle, error))?;
        let runtime = places.runtime_of(&id);
        runtime.create().map_err(|error| {
            let message = error.to_string();
            let failed = Error::new(ErrorKind::File, message);
            match std::error::Error::source(&error) {
                Some(source) => failed.with_source(source.to_string()),
                None => failed,
            }
        })?;
        let own = take_lock(&runtime)?;
        let settings = Settings::read(&places.state);
        Ok(Self { bundle, id, places, settings, runtime, _own: own })
    }

    async fn start(self, options: StartOptions, report: Report) -> ExitCode {
        let prepared = async {
            let lock = self.lock_bundle()?;
            self.clean();
            let mut opened = open(&self.bundle)?;
            let notes = bring_over(&mut opened, &self.registry())?;
            logs::rotate(&self.logs()).map_err(|error| file("make room for logs in", &self.logs(), error))?;
            let progress = report.clone();
            let (setup, supervision) = self.describe(opened.configuration, lock)?;
            let suspended = setup.entry.suspended;
            let exchange = self.exchange(&setup, &supervision);
            let machine = QemuMachine::new(
                setup,
                supervision,
                Box::new(move |message| progress.say(&StartMessage::Progress { message: message.into() })),
            );
            let events = machine.events();
            let notes = notes.into_iter().map(|note| WarningKind::Migration.says(note)).collect();
            let session = self.serve(machine.clone(), options, None, notes).await?;
            session.serve_exchange(exchange);
            Ok::<_, Error>((machine, events, session, suspended))
        };
        let (machine, events, session, suspended) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return report.failed(&error),
        };
        report.say(&StartMessage::Accepted);
        if let Err(error) = machine.start(options).await {
            let code = report.failed(&error);
            self.record_end(&session, &Ending::new(machine::EndReason::StartFailed, error.chain()));
            self.clean();
            return code;
        }
        for attached in [self.attach_consoles(&machine, &[]).await, self.serve_viewers(&session)] {
            if let Err(error) = attached {
                tracing::error!("{}", error.chain());
            }
        }
        begin_exchange(&session);
        report.say(&StartMessage::Running);
        report.close();
        if suspended && !options.disposable {
            self.forget_suspension(session.status().uuid);
        }
        self.until_the_end(session, events).await
    }

    /// A machine that was started anew has left behind what it was suspended with: going back there would undo what it writes from now on.
    fn forget_suspension(&self, uuid: Uuid) {
        if let Err(error) = self.registry().update(uuid, &self.bundle, |entry| entry.suspended = false) {
            tracing::warn!(%error, "The machine still counts as suspended");
        }
    }

    async fn adopt(self, report: Report) -> ExitCode {
        let adopted = async {
            // Held by the QEMU that runs on; where nobody holds it there is nothing to adopt.
            let lock = match BundleLock::acquire(&self.bundle) {
                Err(LockError::Held { .. }) => self.open_bundle_folder()?,
                Ok(_) => return Err(Error::new(ErrorKind::WrongState, "The machine is not running")),
                Err(error) => return Err(Error::new(ErrorKind::File, error.to_string())),
            };
            // The machine is what it was started as, whatever has become of the bundle's configuration.
            let failed =
                |error: String| Error::new(ErrorKind::Backend, "The record of the running machine cannot be read").with_source(error);
            let record = Record::read(&self.runtime.backend_record()).map_err(|error| failed(error.to_string()))?;
            let loaded = Configuration::read(record.configuration.as_bytes(), "").map_err(|error| failed(error.to_string()))?;
            let (setup, supervision) = self.describe(loaded.configuration, lock)?;
            let exchange = self.exchange(&setup, &supervision);
            let machine = QemuMachine::adopt(&record, setup, supervision).await?;
            let warnings = match open(&self.bundle) {
                Ok(_) => Vec::new(),
                Err(error) => {
                    vec![WarningKind::Bundle.says(format!("The bundle's configuration can no longer be read: {}", error.chain()))]
                }
            };
            let events = machine.events();
            let _ = std::fs::remove_file(self.runtime.api_socket());
            let session = self.serve(machine.clone(), record.options, Some(record.started_at), warnings).await?;
            let said: Vec<Vec<u8>> = machine.console_logs().iter().map(|log| logs::tail(log, REPLAY as u64)).collect();
            self.attach_consoles(&machine, &said).await?;
            self.serve_viewers(&session)?;
            session.serve_exchange(exchange);
            begin_exchange(&session);
            Ok((events, session))
        };
        match adopted.await {
            Ok((events, session)) => {
                tracing::info!("Took over a running machine");
                report.say(&StartMessage::Accepted);
                report.say(&StartMessage::Running);
                report.close();
                self.until_the_end(session, events).await
            }
            Err(error) => report.failed(&error),
        }
    }

    /// A descriptor in the lock's place: what is adopted holds the lock itself.
    fn open_bundle_folder(&self) -> Result<std::os::fd::OwnedFd> {
        File::open(&self.bundle).map(Into::into).map_err(|error| file("open the bundle", &self.bundle, error))
    }

    fn lock_bundle(&self) -> Result<std::os::fd::OwnedFd> {
        match BundleLock::acquire(&self.bundle) {
            Ok(lock) => Ok(lock.into_fd()),
            Err(LockError::Held { .. }) if self.runtime.backend_record().exists() => {
                Err(Error::new(ErrorKind::WrongState, "The machine is already running, without a supervisor")
                    .with_hint("`viv status` takes it over"))
            }
            Err(LockError::Held { .. }) => Err(Error::new(ErrorKind::WrongState, "The machine is in use by another program")
                .with_hint("it is being changed, cloned or exported; try again when that is done")),
            Err(error) => Err(Error::new(ErrorKind::File, error.to_string())),
        }
    }

    fn logs(&self) -> PathBuf {
        self.places.logs_of(&self.id)
    }

    fn registry(&self) -> Registry {
        Registry::new(self.places.registry())
    }

    fn describe(&self, configuration: Configuration, lock: std::os::fd::OwnedFd) -> Result<(Setup, Supervision)> {
        let setup = setup(&self.bundle, configuration, &self.id, &self.places, &self.runtime, &self.settings)?;
        let launcher = sandbox::find_launcher().map_err(|error| Error::new(ErrorKind::Missing, error.to_string()))?;
        let record = self.runtime.backend_record();
        Ok((setup, Supervision { launcher, landlock: self.settings.landlock, record, lock }))
    }

    /// What is exchanged with the guest, as the configuration and the person here want it.
    fn exchange(&self, setup: &Setup, supervision: &Supervision) -> exchange::Setup {
        let sharing = &setup.configuration.sharing;
        let chosen = setup.entry.clipboard_policy.as_deref().and_then(|word| serde_json::from_value(word.into()).ok());
        let usual = if sharing.clipboard_sharing { ClipboardPolicy::Both } else { ClipboardPolicy::Off };
        let folder = setup.entry.shared_directories.first().filter(|_| sharing.directory_share_mode == DirectoryShareMode::WebDav);
        let (registry, uuid, bundle) = (self.registry(), setup.configuration.information.uuid, self.bundle.clone());
        exchange::Setup {
            start: Box::new(exchange::Program {
                launcher: supervision.launcher.clone(),
                landlock: supervision.landlock,
                log: self.logs().join("exchange.log"),
            }),
            usb: exchange::usb::Bus::default(),
            spool: self.runtime.path().join("exchange"),
            policy: chosen.unwrap_or(usual),
            folder: folder.map(|folder| ExchangeFolder {
                path: folder.path.clone(),
                read_only: sharing.directory_share_read_only || folder.read_only,
            }),
            remember: Box::new(move |policy| {
                let changed = registry.update(uuid, &bundle, |entry| entry.clipboard_policy = Some(policy.name().to_owned()));
                if let Err(error) = changed {
                    tracing::warn!(%error, "The clipboard's policy will be another at the next start");
                }
            }),
            linger: exchange::LINGER,
        }
    }

    async fn serve(
        &self,
        machine: QemuMachine,
        options: StartOptions,
        started_at: Option<u64>,
        warnings: Vec<Warning>,
    ) -> Result<Arc<Session>> {
        let socket = self.runtime.api_socket();
        let listener = UnixListener::bind(&socket).map_err(|error| {
            file("listen on", &socket, error)
                .with_hint("its file system may have no sockets; set XDG_STATE_HOME, or VIVARIUM_HOME, to a folder on another")
        })?;
        let media = RememberedMedia { registry: self.registry(), uuid: machine.identity().uuid, bundle: self.bundle.clone() };
        let machine: Arc<dyn VirtualMachine> = Arc::new(machine);
        // Nothing is written into a bundle that is not understood.
        let unreadable = started_at.is_some() && !warnings.is_empty();
        let pictures = Pictures::new(&self.bundle, self.settings.screenshots, options.disposable || unreadable);
        let session = Arc::new(Session::new(machine, Box::new(media), pictures, self.bundle.clone(), options, started_at, warnings));
        let router = api::router(session.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        if let Err(error) = logs::keep_bounded(&self.logs()) {
            tracing::warn!(%error, "The logs of this run can grow without bound");
        }
        Ok(session)
    }

    async fn attach_consoles(&self, machine: &QemuMachine, said: &[Vec<u8>]) -> Result<()> {
        for console in machine.consoles() {
            let stream = machine.open_console(console.index).await?;
            let before = said.get(console.index).map(Vec::as_slice).unwrap_or_default();
            let socket = self.runtime.console_socket(console.index);
            let _ = std::fs::remove_file(&socket);
            Console::attach(stream, before).serve(&socket).map_err(|error| file("listen on", &socket, error))?;
        }
        Ok(())
    }

    fn serve_viewers(&self, session: &Session) -> Result<()> {
        let socket = self.runtime.display_socket();
        session.serve_viewers(&socket).map_err(|error| file("listen on", &socket, error))
    }

    async fn until_the_end(self, session: Arc<Session>, mut events: EventStream) -> ExitCode {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        let ending = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Ended { ending }) => break ending,
                    Some(event) => tracing::info!(?event, "event"),
                    None => return ExitCode::FAILURE,
                },
                () = hung_up(&mut hangup) => tracing::info!("Whoever started this has gone; the machine runs on"),
            }
        };
        self.record_end(&session, &ending);
        self.clean();
        // The last item of the event stream must reach who listens before the process is gone.
        tokio::time::sleep(Duration::from_millis(50)).await;
        ExitCode::SUCCESS
    }

    fn record_end(&self, session: &Session, ending: &Ending) {
        let run = LastRun { started_at: Some(session.started_at()), ended_at: Some(now()), ending: ending.clone() };
        let path = self.places.last_run_of(&self.id);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let temporary = path.with_extension("new");
            std::fs::write(&temporary, serde_json::to_vec_pretty(&run)?)?;
            std::fs::rename(&temporary, &path)
        });
        if let Err(error) = written {
            tracing::error!(%error, "Cannot record how the machine ended");
        }
        if !session.status().options.disposable
            && let Some(command) = session.command_line()
            && let Err(error) = debug_log::leave(&self.bundle, &command, &self.logs().join("backend.log"))
        {
            tracing::warn!(%error, "The bundle gets no log of this run");
        }
        // Backup programs look at the folder's time to see that the machine has changed.
        if !session.status().options.disposable
            && let Ok(folder) = File::open(&self.bundle)
        {
            let _ = folder.set_modified(std::time::SystemTime::now());
        }
    }

    /// Removes what only a running machine needs. The folder stays: removing it would let two supervisors lock two folders.
    fn clean(&self) {
        let _ = std::fs::remove_file(self.runtime.backend_record());
        let _ = std::fs::remove_dir_all(scratch(&self.places, &self.id));
        for folder in [self.runtime.path().to_path_buf(), self.runtime.backend()] {
            for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok) {
                if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Starts what the guest may need at any time. The machine runs without it.
fn begin_exchange(session: &Arc<Session>) {
    let session = session.clone();
    tokio::spawn(async move {
        if let Ok(exchange) = session.exchange()
            && let Err(error) = exchange.begin().await
        {
            tracing::warn!("The guest cannot reach its folder: {}", error.chain());
        }
    });
}

/// How long a supervisor may take to leave after its machine has ended.
const LEAVING: Duration = Duration::from_secs(5);

/// Locks the machine's runtime folder. One that is just leaving is waited for: after its machine's end it serves no API any more, and one
/// that was killed answers no more.
fn take_lock(runtime: &Runtime) -> Result<File> {
    let own = File::open(runtime.path()).map_err(|error| file("open", runtime.path(), error))?;
    if rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(own);
    }
    let running = || Error::new(ErrorKind::WrongState, "The machine is already running");
    let answers = std::os::unix::net::UnixStream::connect(runtime.api_socket()).is_ok();
    let patience = if answers { LEAVING / 10 } else { LEAVING };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let locked = rustix::fs::flock(&own, FlockOperation::LockExclusive).map(|()| own);
        let _ = sender.send(locked);
    });
    receiver.recv_timeout(patience).map_err(|_| running())?.map_err(|error| file("lock", runtime.path(), error.into()))
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn scratch(places: &Places, id: &str) -> PathBuf {
    places.disposable().join(id)
}

/// Brings a bundle of UTM before 4.0 into the present form: what a run leaves in `Data/` would stand in the way of `Images/` becoming it.
/// Whoever calls holds the bundle's lock. Returns what a person should know about it.
fn bring_over(opened: &mut Bundle, registry: &Registry) -> Result<Vec<String>> {
    if opened.origin() != Origin::V4 {
        opened.save().map_err(|error| {
            Error::new(ErrorKind::File, "The machine is of an old format, and its bundle cannot be brought over")
                .with_source(error)
                .with_hint("import it: `viv import` takes a copy")
        })?;
    }
    match legacy::hand_over_view_state(opened.path(), registry, opened.configuration.uuid()) {
        Ok(state) => Ok(state.map(|state| state.notes()).unwrap_or_default()),
        Err(error) => {
            tracing::warn!(%error, "Cannot take over how the machine's windows were");
            Ok(Vec::new())
        }
    }
}

/// Opens a bundle.
///
/// # Errors
/// One that cannot be read.
pub fn open(bundle: &Path) -> Result<Bundle> {
    Bundle::open(bundle).map_err(|error| {
        let failed = Error::new(ErrorKind::Configuration, error.to_string());
        match std::error::Error::source(&error) {
            Some(source) => failed.with_source(source.to_string()),
            None => failed,
        }
        .with_hint("`viv inspect` names every problem")
    })
}

/// What the backend needs to know of a bundle.
///
/// # Errors
/// A bundle of a kind that this computer cannot run; a registry that cannot be read.
pub fn setup(
    bundle: &Path,
    configuration: Configuration,
    id: &str,
    places: &Places,
    runtime: &Runtime,
    settings: &Settings,
) -> Result<Setup> {
    let bundle = bundle.to_path_buf();
    let Configuration::Qemu(configuration) = configuration else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "The machine is made for Apple's Virtualization framework, which cannot be run here yet",
        )
        .with_hint("make a machine with `viv create --backend qemu` and import its disk"));
    };
    let (entry, problems) = Registry::new(places.registry())
        .read(configuration.information.uuid, &bundle)
        .map_err(|error| file("read the registry in", &places.registry(), error))?;
    for problem in problems {
        tracing::warn!("{}: {}", problem.key_path, problem.message);
    }
    Ok(Setup {
        bundle,
        configuration,
        entry,
        runtime: runtime.backend(),
        logs: places.logs_of(id),
        scratch: scratch(places, id),
        cache: places.cache.clone(),
        directories: qemu_directories(),
        sound_by_host: settings.sound_by_host,
    })
}

/// Where QEMU is looked for before the `PATH`.
pub fn qemu_directories() -> Vec<PathBuf> {
    std::env::var_os("VIVARIUM_QEMU_PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// Media are remembered in the registry, so that they are there at the next start.
struct RememberedMedia {
    registry: Registry,
    uuid: Uuid,
    bundle: PathBuf,
}

impl MediaRecord for RememberedMedia {
    fn record(&self, drive: &str, medium: Option<(&Medium, &str)>) {
        let changed = self.registry.update(self.uuid, &self.bundle, |entry| {
            match medium {
                Some((medium, format)) => {
                    let mut file = HostFile::new(medium.path.clone(), medium.read_only);
                    file.extra.insert(FORMAT_KEY.into(), format.into());
                    entry.external_drives.insert(drive.into(), file);
                }
                None => {
                    entry.external_drives.remove(drive);
                }
            };
        });
        if let Err(error) = changed {
            tracing::warn!(%error, drive, "The medium will not be there at the next start");
        }
    }
}

fn file(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::File, format!("Cannot {what} {}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_of_an_old_format_is_brought_over_before_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("Antique.utm");
        std::fs::create_dir_all(bundle.join("Images")).unwrap();
        std::fs::write(bundle.join("Images/efi_vars.fd"), "variables").unwrap();
        let text = "<plist version=\"1.0\"><dict><key>ConfigurationVersion</key><integer>2</integer><key>System</key><dict>\
            <key>Architecture</key><string>x86_64</string><key>Target</key><string>q35</string><key>Memory</key><integer>512</integer>\
            </dict></dict></plist>";
        std::fs::write(bundle.join("config.plist"), text).unwrap();
        let windows = "<plist version=\"1.0\"><dict><key>DisplayScale</key><real>1.5</real><key>Suspended</key><true/>\
            <key>SharedDirectoryPath</key><string>/etc</string></dict></plist>";
        std::fs::write(bundle.join("view.plist"), windows).unwrap();
        let registry = Registry::new(folder.path().join("registry"));
        let notes = bring_over(&mut open(&bundle).unwrap(), &registry).unwrap().join("\n");
        assert!(notes.contains("/etc") && notes.contains("suspended"), "{notes}");
        assert!(bundle.join("Data/efi_vars.fd").is_file() && !bundle.join("Images").exists());
        let opened = open(&bundle).unwrap();
        assert_eq!(opened.origin(), Origin::V4);
        let (entry, _) = registry.read(opened.configuration.uuid(), &bundle).unwrap();
        assert!(entry.suspended && entry.window_settings["0"].scale == 1.5);
        // Whoever made the bundle chose this path.
        assert!(entry.shared_directories.is_empty());
        assert_eq!(std::fs::read_to_string(bundle.join("view.plist.migrated")).unwrap(), windows);
        assert!(!bundle.join("view.plist").exists());
        assert_eq!(bring_over(&mut open(&bundle).unwrap(), &registry).unwrap(), Vec::<String>::new());
    }
}
