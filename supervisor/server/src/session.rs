//! One machine under supervision: what the API shows and does.

use crate::exchange;
use crate::pictures::Pictures;
use crate::viewers;
use machine::{CommandLine, Error, ErrorKind, Medium, Result, StartOptions, StopMethod, VirtualMachine, Warning};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use supervisor_api::wire::Status;

/// How long whoever pauses or stops a machine waits for its picture.
const PICTURE: Duration = Duration::from_secs(1);

/// Remembers which medium is in which drive over the machine's end.
pub trait MediaRecord: Send + Sync {
    /// A medium was put in (`Some`, with its format) or taken out.
    fn record(&self, drive: &str, medium: Option<(&Medium, &str)>);
}

/// One machine under supervision.
pub struct Session {
    machine: Arc<dyn VirtualMachine>,
    media: Box<dyn MediaRecord>,
    pictures: Pictures,
    bundle: PathBuf,
    options: StartOptions,
    started_at: u64,
    adopted: bool,
    warnings: Vec<Warning>,
    /// Set once viewers can connect.
    display_socket: OnceLock<PathBuf>,
    /// Set where something can be exchanged with guests.
    exchange: OnceLock<Arc<exchange::Service>>,
}

impl Session {
    /// Takes charge of a machine. `started_at` is `None` for one that starts now.
    pub fn new(
        machine: Arc<dyn VirtualMachine>,
        media: Box<dyn MediaRecord>,
        pictures: Pictures,
        bundle: PathBuf,
        options: StartOptions,
        started_at: Option<u64>,
        warnings: Vec<Warning>,
    ) -> Self {
        let adopted = started_at.is_some();
        let started_at = started_at.unwrap_or_else(now);
        Self {
            machine,
            media,
            pictures,
            bundle,
            options,
            started_at,
            adopted,
            warnings,
            display_socket: OnceLock::new(),
            exchange: OnceLock::new(),
        }
    }

    /// Lets viewers connect to the displays at this path, where the machine has any that can be watched.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn serve_viewers(&self, path: &Path) -> io::Result<()> {
        if !self.machine.capabilities().viewers {
            return Ok(());
        }
        let _ = std::fs::remove_file(path);
        viewers::serve(self.machine.clone(), path)?;
        let _ = self.display_socket.set(path.to_path_buf());
        Ok(())
    }

    /// Lets frontends exchange things with the guest.
    pub fn serve_exchange(&self, setup: exchange::Setup) {
        let _ = self.exchange.set(exchange::Service::new(self.machine.clone(), setup));
    }

    /// The exchange with the guest.
    ///
    /// # Errors
    /// Where there is none.
    pub fn exchange(&self) -> Result<Arc<exchange::Service>> {
        let none = || Error::new(ErrorKind::Unsupported, "Nothing can be exchanged with the guest of this machine");
        self.exchange.get().cloned().ok_or_else(none)
    }

    /// The machine.
    pub fn machine(&self) -> &Arc<dyn VirtualMachine> {
        &self.machine
    }

    /// When it was started, in seconds since 1970.
    pub const fn started_at(&self) -> u64 {
        self.started_at
    }

    /// Everything there is to know now.
    pub fn status(&self) -> Status {
        let identity = self.machine.identity();
        let backend = self.machine.backend();
        let mut warnings = self.warnings.clone();
        warnings.extend(self.command_line().map(|command| command.warnings).unwrap_or_default());
        Status {
            name: identity.name,
            uuid: identity.uuid,
            bundle: self.bundle.clone(),
            state: self.machine.state(),
            backend: backend.kind,
            accelerator: backend.accelerator,
            supervisor_pid: Some(std::process::id()),
            backend_pid: backend.pid,
            sandbox: backend.sandbox,
            capabilities: self.machine.capabilities(),
            options: self.options,
            started_at: Some(self.started_at),
            adopted: self.adopted,
            consoles: self.machine.consoles(),
            pseudo_terminals: self.machine.pseudo_terminals(),
            displays: self.machine.displays(),
            display_socket: self.display_socket.get().cloned(),
            drives: self.machine.drives(),
            warnings,
            last_run: None,
        }
    }

    /// Stops it, and keeps a picture of how it was before.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn stop(self: &Arc<Self>, method: StopMethod) -> Result<()> {
        // One that has to be killed may not answer any more.
        if method != StopMethod::Kill {
            self.photograph().await;
        }
        self.machine.stop(method).await
    }

    /// Halts it, and keeps a picture of it.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn pause(self: &Arc<Self>) -> Result<()> {
        self.machine.pause().await?;
        self.photograph().await;
        Ok(())
    }

    /// Keeps a picture where there can be one. It is only waited for so long; one that comes later is kept, too.
    async fn photograph(self: &Arc<Self>) {
        if !self.pictures.are_kept() || !self.machine.capabilities().screenshot {
            return;
        }
        let session = self.clone();
        let kept = tokio::spawn(async move {
            match session.machine.screenshot(0).await {
                Ok(picture) => session.pictures.keep(&picture.png),
                Err(error) => tracing::info!("No picture of the machine is kept: {}", error.chain()),
            }
        });
        let _ = tokio::time::timeout(PICTURE, kept).await;
    }

    /// Puts a medium into a removable drive, and remembers it.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn insert(&self, drive: &str, medium: Medium) -> Result<()> {
        let format = self.machine.insert(drive, medium.clone()).await?;
        self.media.record(drive, Some((&medium, &format)));
        Ok(())
    }

    /// Takes a medium out, and remembers it.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn eject(&self, drive: &str, force: bool) -> Result<()> {
        self.machine.eject(drive, force).await?;
        self.media.record(drive, None);
        Ok(())
    }

    /// The command line that runs it, where one does.
    pub fn command_line(&self) -> Option<CommandLine> {
        self.machine.command_line()
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
