//! A machine without a hypervisor, for tests of what stands above.
//!
//! Its guest is a closure's worth of behaviour: it answers a power-off request or ignores it, and echoes its console. What a real backend
//! does by itself (the guest powers off, the backend dies) a test does through [`FakeMachine::guest_shuts_down`] and
//! [`FakeMachine::backend_dies`].

mod screen;

use crate::display::Viewer;
use crate::exchange::ExchangeCapabilities;
use crate::lifecycle::{Lifecycle, Observation, Operation};
use crate::{
    Accelerator, Backend, BackendKind, Capabilities, Console, ConsoleStream, Display, Drive, DriveKind, EndReason, Ending, Error,
    ErrorKind, Event, EventSender, EventStream, Identity, Medium, Result, Screenshot, StartOptions, State, StopMethod, VirtualMachine,
};
use async_trait::async_trait;
use screen::Screen;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// How the fake's guest behaves.
#[derive(Debug, Clone)]
pub struct FakeGuest {
    /// Whether it powers off when asked.
    pub answers_power_button: bool,
    /// Makes the next start fail with this message.
    pub fail_start: Option<String>,
    /// The tray of the CD drive is locked by the guest.
    pub tray_locked: bool,
    /// Heads of its screen.
    pub heads: usize,
    /// What it can exchange, over connections that nobody answers on.
    pub exchange: ExchangeCapabilities,
}

impl Default for FakeGuest {
    fn default() -> Self {
        Self { answers_power_button: true, fail_start: None, tray_locked: false, heads: 1, exchange: ExchangeCapabilities::default() }
    }
}

struct Inner {
    lifecycle: Lifecycle,
    guest: FakeGuest,
    drives: Vec<Drive>,
    /// While it runs.
    screen: Option<Arc<Screen>>,
}

/// A machine that exists only in memory: one disk, one CD drive, one console, one display.
pub struct FakeMachine {
    identity: Identity,
    inner: Mutex<Inner>,
    events: EventSender,
}

impl FakeMachine {
    /// A stopped machine with the given guest.
    pub fn new(name: &str, guest: FakeGuest) -> Self {
        let drive = |id: &str, kind, interface: &str, removable| Drive {
            id: id.into(),
            kind,
            interface: interface.into(),
            removable,
            read_only: removable,
            medium: None,
        };
        let drives = vec![drive("cd", DriveKind::Cd, "IDE", true), drive("disk", DriveKind::Disk, "VirtIO", false)];
        Self {
            identity: Identity { name: name.into(), uuid: Uuid::new_v4() },
            inner: Mutex::new(Inner { lifecycle: Lifecycle::new(State::Stopped), guest, drives, screen: None }),
            events: EventSender::new(),
        }
    }

    /// The guest powers off by itself.
    pub fn guest_shuts_down(&self) {
        self.end(Observation::Ended, Ending::new(EndReason::GuestShutdown, "The guest powered off"));
    }

    /// The backend goes away without being asked.
    pub fn backend_dies(&self, message: &str) {
        self.end(Observation::Failed, Ending::new(EndReason::BackendDied, message));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Lifecycle)) {
        let mut inner = self.lock();
        let from = inner.lifecycle.state();
        change(&mut inner.lifecycle);
        let to = inner.lifecycle.state();
        if !to.is_live() {
            inner.screen = None;
        } else if inner.screen.is_none() {
            inner.screen = Some(Screen::new(inner.guest.heads));
        }
        if from != to {
            self.events.send(Event::StateChanged { from, to });
        }
    }

    fn begin(&self, operation: Operation) -> Result<()> {
        self.lock().lifecycle.can(operation)?;
        self.change(|lifecycle| {
            let _ = lifecycle.begin(operation);
        });
        Ok(())
    }

    fn finish(&self, operation: Operation, succeeded: bool) {
        self.change(|lifecycle| {
            lifecycle.finish(operation, succeeded);
        });
    }

    fn end(&self, observation: Observation, ending: Ending) {
        self.change(|lifecycle| {
            lifecycle.observe(observation);
        });
        self.events.send(Event::Ended { ending });
    }

    fn live(&self) -> Result<()> {
        let state = self.state();
        if state.is_live() { Ok(()) } else { Err(Error::new(ErrorKind::WrongState, format!("The machine is {state}"))) }
    }

    fn change_medium(&self, id: &str, medium: Option<Medium>, force: bool) -> Result<()> {
        self.live()?;
        let mut inner = self.lock();
        let locked = inner.guest.tray_locked;
        let drive = inner
            .drives
            .iter_mut()
            .find(|drive| drive.id == id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("There is no drive {id}")))?;
        if !drive.removable {
            return Err(Error::new(ErrorKind::Unsupported, format!("The medium of drive {id} cannot be changed")));
        }
        if locked && !force {
            return Err(Error::new(ErrorKind::Backend, format!("The guest has locked drive {id}")));
        }
        drive.medium = medium.map(|medium| medium.path);
        let inserted = drive.medium.is_some();
        drop(inner);
        self.events.send(Event::MediumChanged { drive: id.into(), inserted });
        Ok(())
    }
}

#[async_trait]
impl VirtualMachine for FakeMachine {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn backend(&self) -> Backend {
        let accelerator = Accelerator { name: "none".into(), why: "It is a fake".into() };
        Backend { kind: BackendKind::Fake, accelerator: Some(accelerator), pid: None, sandbox: None }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            request_stop: true,
            kill: true,
            pause: true,
            reset: true,
            disposable: true,
            screenshot: true,
            media: true,
            viewers: true,
            exchange: self.lock().guest.exchange,
        }
    }

    fn state(&self) -> State {
        self.lock().lifecycle.state()
    }

    fn events(&self) -> EventStream {
        self.events.subscribe()
    }

    async fn start(&self, options: StartOptions) -> Result<()> {
        self.begin(Operation::Start)?;
        tokio::task::yield_now().await;
        let failure = self.lock().guest.fail_start.take();
        if let Some(message) = failure {
            self.finish(Operation::Start, false);
            self.events.send(Event::Ended { ending: Ending::new(EndReason::StartFailed, &message) });
            return Err(Error::new(ErrorKind::Backend, message));
        }
        self.finish(Operation::Start, true);
        if options.paused {
            self.change(|lifecycle| {
                lifecycle.observe(Observation::Halted);
            });
        }
        Ok(())
    }

    async fn stop(&self, method: StopMethod) -> Result<()> {
        if method == StopMethod::Request {
            self.begin(Operation::RequestStop)?;
            if self.lock().guest.answers_power_button {
                self.guest_shuts_down();
            }
            return Ok(());
        }
        self.begin(Operation::Stop)?;
        tokio::task::yield_now().await;
        self.finish(Operation::Stop, true);
        let (reason, message) = match method {
            StopMethod::Kill => (EndReason::Killed, "It was killed"),
            _ => (EndReason::Forced, "It was stopped"),
        };
        self.events.send(Event::Ended { ending: Ending::new(reason, message) });
        Ok(())
    }

    async fn pause(&self) -> Result<()> {
        self.begin(Operation::Pause)?;
        tokio::task::yield_now().await;
        self.finish(Operation::Pause, true);
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        self.begin(Operation::Resume)?;
        tokio::task::yield_now().await;
        self.finish(Operation::Resume, true);
        Ok(())
    }

    async fn reset(&self) -> Result<()> {
        self.begin(Operation::Reset)?;
        self.events.send(Event::GuestReset { by_guest: false });
        Ok(())
    }

    fn consoles(&self) -> Vec<Console> {
        vec![Console { index: 0, label: "Serial port".into() }]
    }

    async fn open_console(&self, index: usize) -> Result<Box<dyn ConsoleStream>> {
        self.live()?;
        if index != 0 {
            return Err(Error::new(ErrorKind::NotFound, format!("There is no console {index}")));
        }
        let (ours, mut guest) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = guest.read(&mut buffer).await {
                if guest.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
                    break;
                }
            }
        });
        Ok(Box::new(ours))
    }

    fn displays(&self) -> Vec<Display> {
        (0..self.lock().guest.heads).map(|index| Display { index, device: "fake".into() }).collect()
    }

    async fn screenshot(&self, display: usize) -> Result<Screenshot> {
        self.live()?;
        if display >= self.lock().guest.heads {
            return Err(Error::new(ErrorKind::NotFound, format!("There is no display {display}")));
        }
        Ok(Screenshot { png: ONE_BLACK_PIXEL.to_vec() })
    }

    async fn viewer(&self) -> Result<Arc<dyn Viewer>> {
        self.live()?;
        let screen = self.lock().screen.clone();
        screen.map(|screen| screen.viewer()).ok_or_else(|| Error::new(ErrorKind::WrongState, "The machine has no screen now"))
    }

    async fn attach_viewer(&self, _: OwnedFd) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "A fake's viewers are in its own process"))
    }

    fn drives(&self) -> Vec<Drive> {
        self.lock().drives.clone()
    }

    async fn insert(&self, drive: &str, medium: Medium) -> Result<String> {
        self.change_medium(drive, Some(medium), true).map(|()| "raw".to_owned())
    }

    async fn eject(&self, drive: &str, force: bool) -> Result<()> {
        self.change_medium(drive, None, force)
    }
}

/// A PNG file of one black pixel.
const ONE_BLACK_PIXEL: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63,
    0x60, 0x00, 0x00, 0x00, 0x02, 0x00, 0x01, 0x48, 0xaf, 0xa4, 0x71, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60,
    0x82,
];
