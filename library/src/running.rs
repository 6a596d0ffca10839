//! Running machines: their supervisor is asked, started, or found again.

use bundle::Bundle;
use machine::{Ending, StartOptions, State};
use supervisor_api::launch::{self, LaunchError};
use supervisor_api::wire::{Failure, LastRun, Status};
use supervisor_api::{Client, ClientError, Events};

use crate::holder::{self, Holder};
use crate::library::{GRACE, blocking};
use crate::{Activity, Error, ErrorKind, Library, Machine, Result, scan, stopped};

/// The largest record of a last run that is read.
const MAX_RECORD: u64 = 1 << 20;

impl Library {
    /// Everything there is to know about a machine now. A running one's supervisor is asked; one that runs without a supervisor is adopted
    /// first; of a stopped one the status is put together from its bundle, with how its last run ended.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] where the configuration cannot be read, [`crate::ErrorKind::Supervisor`] where it runs and nobody answers.
    pub async fn status(&self, machine: &Machine) -> Result<Status> {
        // Between the two questions a machine may end, or its supervisor die: then the second time tells which.
        for _ in 0..2 {
            let Some(client) = self.client(machine).await? else { break };
            match client.status().await {
                // A supervisor on its way out: what it leaves says how the machine ended.
                Ok(status) if status.state == State::Stopped && self.is_free_soon(machine).await? => {}
                Ok(status) => return Ok(status),
                Err(ClientError::Absent { .. }) => {}
                Err(error) => return Err(from_client(error)),
            }
        }
        self.until_left(machine).await?;
        stopped::status(self, machine)
    }

    /// A client of the machine's supervisor; `None` where the machine does not run. One that runs without a supervisor is adopted first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where somebody else uses the bundle, [`crate::ErrorKind::Supervisor`] where the machine runs and
    /// nobody answers.
    pub async fn client(&self, machine: &Machine) -> Result<Option<Client>> {
        if machine.id.is_empty() || !self.is_locked(machine)? {
            return Ok(None);
        }
        let runtime = self.places().runtime_of(&machine.id);
        let client = Client::new(runtime.api_socket());
        if answers(&client).await? {
            return Ok(Some(client));
        }
        let holder = holder::find(&machine.path);
        // A record may be of an earlier boot; then whoever holds the lock now does not run the machine.
        let is_other = holder.as_ref().is_some_and(|holder| !holder.is_machine());
        if !runtime.backend_record().exists() || is_other {
            if self.is_free_soon(machine).await? {
                return Ok(None);
            }
            // What held it may have become a running machine meanwhile.
            if answers(&client).await? {
                return Ok(Some(client));
            }
            return Err(in_use(machine, holder));
        }
        let log = self.supervisor_log(machine);
        let adopted = match launch::adopt(&machine.path, &log) {
            Ok(starting) => starting.finish(|message| tracing::debug!(message, "adopting")).await,
            Err(error) => Err(error),
        };
        match adopted {
            Ok(()) => Ok(Some(client)),
            // Somebody else was faster, or the machine has ended meanwhile.
            Err(_) if answers(&client).await? => Ok(Some(client)),
            Err(_) if !self.is_locked(machine)? => Ok(None),
            Err(error) => {
                let refused = from_launch(error);
                Err(Error::new(ErrorKind::Supervisor, format!("\"{}\" runs, but no supervisor can take it over", machine.name))
                    .with_hint(refused.hint().map_or_else(
                        || format!("`viv stop {:?} --kill` ends it; what went wrong is in {}", machine.name, log.display()),
                        str::to_owned,
                    ))
                    .with_source(refused))
            }
        }
    }

    /// Starts it; `progress` hears what goes on meanwhile. Returns when the guest runs, or stands before its first instruction where the
    /// options say so.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it runs already; otherwise the supervisor's reason.
    pub async fn start(&self, machine: &Machine, options: StartOptions, progress: impl FnMut(&str)) -> Result<()> {
        machine.usable()?;
        if self.is_locked(machine)? && (self.is_running(machine) || !self.is_free_soon(machine).await?) {
            let running = || Error::new(ErrorKind::WrongState, format!("\"{}\" is running already", machine.name));
            return Err(match scan::use_of(&machine.path, self.places().runtime_of(&machine.id).path()) {
                (Activity::Running, _) => running(),
                (_, holder) => in_use(machine, holder),
            });
        }
        let starting = launch::start(&machine.path, options, &self.supervisor_log(machine)).map_err(from_launch)?;
        starting.finish(progress).await.map_err(from_launch)
    }

    /// Halts the vCPUs.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it does not run.
    pub async fn pause(&self, machine: &Machine) -> Result<()> {
        self.running(machine, "pause").await?.pause().await.map_err(from_client)
    }

    /// Lets the vCPUs go on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it is not paused.
    pub async fn resume(&self, machine: &Machine) -> Result<()> {
        self.running(machine, "resume").await?.resume().await.map_err(from_client)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it does not run.
    pub async fn reset(&self, machine: &Machine) -> Result<()> {
        self.running(machine, "reset").await?.reset().await.map_err(from_client)
    }

    /// Returns when the machine has ended, at once where it does not run, with what it said.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Supervisor`] where it runs and nobody answers.
    pub async fn wait(&self, machine: &Machine) -> Result<Option<Ending>> {
        let Some(client) = self.client(machine).await? else { return Ok(None) };
        match client.events().await {
            Ok(events) => self.until_ended(machine, events).await,
            Err(ClientError::Absent { .. }) => self.last_ending(machine).await,
            Err(error) => Err(from_client(error)),
        }
    }

    /// How the run ended that was just there.
    pub(crate) async fn last_ending(&self, machine: &Machine) -> Result<Option<Ending>> {
        self.until_left(machine).await?;
        Ok(stopped::last_run(self, machine).map(|run| run.ending))
    }

    /// Reads events until the supervisor has ended and the bundle is free. A supervisor that dies while the machine runs on is followed by
    /// the next.
    pub(crate) async fn until_ended(&self, machine: &Machine, mut events: Events) -> Result<Option<Ending>> {
        loop {
            let mut ending = None;
            while let Some(item) = events.next().await.map_err(from_client)? {
                match item {
                    supervisor_api::wire::StreamItem::Event(machine::Event::Ended { ending: said }) => ending = Some(said),
                    supervisor_api::wire::StreamItem::Status(status) if status.state == State::Stopped => {}
                    _ => {}
                }
            }
            if ending.is_some() {
                self.until_free(machine).await?;
                return Ok(ending);
            }
            match self.client(machine).await {
                Ok(Some(client)) => match client.events().await {
                    Ok(next) => events = next,
                    Err(ClientError::Absent { .. }) => {}
                    Err(error) => return Err(from_client(error)),
                },
                // The machine is gone, and its supervisor with it or about to go.
                Ok(None) => return self.last_ending(machine).await,
                Err(error) if error.kind() == ErrorKind::WrongState => self.until_free(machine).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until nobody holds the bundle's lock.
    pub(crate) async fn until_free(&self, machine: &Machine) -> Result<()> {
        until_unlocked(&machine.path, "bundle-lock").await
    }

    /// Waits a moment for a supervisor that has yet to say how its machine ended. It holds the lock of the runtime folder; the bundle's is
    /// QEMU's alone where that was taken over, and is free before anything has been said.
    async fn until_left(&self, machine: &Machine) -> Result<()> {
        if machine.id.is_empty() {
            return Ok(());
        }
        let runtime = self.places().runtime_of(&machine.id);
        tokio::time::timeout(GRACE, until_unlocked(runtime.path(), "runtime-lock")).await.unwrap_or(Ok(()))
    }

    /// A client of a machine that must run.
    pub(crate) async fn running(&self, machine: &Machine, what: &str) -> Result<Client> {
        self.client(machine).await?.ok_or_else(|| {
            Error::new(ErrorKind::WrongState, format!("Cannot {what} \"{}\": it is not running", machine.name)).with_hint("Start it first")
        })
    }

    fn is_running(&self, machine: &Machine) -> bool {
        self.again(&machine.path).activity == Activity::Running
    }

    /// Whether a lock that is held comes free within a moment, as that of a small change does.
    async fn is_free_soon(&self, machine: &Machine) -> Result<bool> {
        match tokio::time::timeout(GRACE, self.until_free(machine)).await {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn is_locked(&self, machine: &Machine) -> Result<bool> {
        match Bundle::is_locked(&machine.path) {
            Ok(locked) => Ok(locked),
            Err(error) => {
                let gone = !machine.path.exists();
                let kind = if gone { ErrorKind::NotFound } else { ErrorKind::Io };
                Err(Error::new(kind, format!("Cannot look at \"{}\": {}", machine.name, machine.path.display())).with_source(error))
            }
        }
    }

    fn supervisor_log(&self, machine: &Machine) -> std::path::PathBuf {
        self.places().logs_of(&machine.id).join("supervisor.log")
    }

    /// How the last run ended, where that is known.
    pub(crate) fn read_last_run(&self, id: &str) -> Option<LastRun> {
        let path = self.places().last_run_of(id);
        std::fs::metadata(&path).ok().filter(|data| data.is_file() && data.len() <= MAX_RECORD)?;
        serde_json::from_slice(&std::fs::read(&path).ok()?).ok()
    }

    /// Runs what changes a machine's files, off the tasks that must not block.
    pub(crate) async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let library = self.clone();
        blocking(move || work(&library)).await
    }
}

/// Waits until nobody holds a folder's lock, or it is gone. A thread waits in the kernel; nothing polls.
async fn until_unlocked(path: &std::path::Path, name: &str) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("Cannot wait for {}", path.display()), error);
    let folder = match std::fs::File::open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(());
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Not the runtime's own: it would have to wait for the thread when it ends early.
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let result = rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockShared);
            // Given back before anybody hears of it.
            drop(folder);
            let _ = sender.send(result);
        })
        .map_err(failed)?;
    match receiver.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(error.into())),
        Err(_) => Err(failed(std::io::ErrorKind::Interrupted.into())),
    }
}

/// Why a bundle cannot be used whose lock is held while nobody answers for the machine.
fn in_use(machine: &Machine, holder: Option<Holder>) -> Error {
    match holder {
        Some(holder) if holder.is_machine() => {
            Error::new(ErrorKind::Supervisor, format!("\"{}\" runs as {holder}, and nothing is left by which to reach it", machine.name))
                .with_hint(format!("`viv stop {:?} --kill` ends it", machine.name))
        }
        holder => {
            let who = holder.map_or_else(|| "another program".to_owned(), |holder| holder.to_string());
            Error::new(ErrorKind::WrongState, format!("\"{}\" is being changed or started by {who}", machine.name))
                .with_hint("Try again when it is done")
        }
    }
}

async fn answers(client: &Client) -> Result<bool> {
    match client.status().await {
        Ok(_) => Ok(true),
        Err(ClientError::Absent { .. }) => Ok(false),
        Err(error) => Err(from_client(error)),
    }
}

pub(crate) fn from_client(error: ClientError) -> Error {
    match error {
        ClientError::Refused(failure) => from_failure(failure),
        ClientError::Timeout(_) => Error::new(ErrorKind::Timeout, error.to_string()),
        ClientError::Absent { .. } => Error::new(ErrorKind::WrongState, "The machine has ended"),
        ClientError::Protocol(_) => Error::new(ErrorKind::Supervisor, error.to_string()),
    }
}

pub(crate) fn from_launch(error: LaunchError) -> Error {
    match error {
        LaunchError::Refused(failure) => from_failure(failure),
        LaunchError::NotFound { .. } => Error::new(ErrorKind::Missing, error.to_string()),
        LaunchError::Spawn { program, source } => {
            Error::new(ErrorKind::Missing, format!("Cannot run {}", program.display())).with_source(source)
        }
        LaunchError::NoAnswer { .. } => Error::new(ErrorKind::Supervisor, error.to_string()),
    }
}

fn from_failure(failure: Failure) -> Error {
    let kind = match failure.kind {
        machine::ErrorKind::WrongState => ErrorKind::WrongState,
        machine::ErrorKind::NotFound => ErrorKind::NotFound,
        machine::ErrorKind::Configuration => ErrorKind::Invalid,
        machine::ErrorKind::Missing => ErrorKind::Missing,
        machine::ErrorKind::Backend => ErrorKind::Supervisor,
        machine::ErrorKind::Timeout => ErrorKind::Timeout,
        machine::ErrorKind::Unsupported => ErrorKind::Unsupported,
        machine::ErrorKind::File => ErrorKind::Io,
        machine::ErrorKind::Cancelled => ErrorKind::Cancelled,
    };
    let mut error = Error::new(kind, failure.message);
    if let Some(details) = failure.details {
        error = error.with_source(details);
    }
    if let Some(hint) = failure.hint {
        error = error.with_hint(hint);
    }
    error
}
