//! What a machine exchanges with its guest beside pictures and sound, and the process that does it.
//!
//! The process (`vivarium-exchange`) is started when something first needs it and ended when nothing has for a while ([`LINGER`]): a frontend
//! that listens, something to paste, a file on its way, a device, or a folder that the guest may read at any time. When it dies, the
//! machine runs on: what it had is told as lost, and it is started anew for who still needs it.

mod process;
mod running;
mod spool;
pub mod usb;

pub use process::{Needs, Program, Start, Started};

use async_trait::async_trait;
use futures::StreamExt;
use machine::exchange::{
    ClipboardFormat, ClipboardPolicy, Exchange, ExchangeCapabilities, ExchangeEvent, ExchangeEvents, ExchangeFolder, ExchangeStatus,
    MAX_CLIPBOARD, MAX_MONITORS, Monitor, Transfer, UsbDevice,
};
use machine::{Error, ErrorKind, Result, State as MachineState, VirtualMachine};
use running::Running;
use spool::Spool;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use supervisor_api::helper::{Ask, Tell, Told};
use tokio::sync::{broadcast, watch};

/// How long the process stays when nothing needs it, so that what comes next finds it.
pub const LINGER: Duration = Duration::from_secs(60);
/// How long an agent may take to answer when the process has just come.
const AGENT: Duration = Duration::from_secs(3);
/// One that dies sooner is not started anew by itself.
const PROVEN: Duration = Duration::from_secs(10);
/// Events that a listener may be behind before it is told the whole status instead.
const BEHIND: usize = 256;
/// Files that may be on their way at once.
const MAX_TRANSFERS: usize = 32;

/// Remembers over the machine's end which way the clipboard goes.
pub type RememberPolicy = Box<dyn Fn(ClipboardPolicy) + Send + Sync>;

/// What a machine begins with.
pub struct Setup {
    /// How the process is started.
    pub start: Box<dyn Start>,
    /// Where this computer's USB devices are.
    pub usb: usb::Bus,
    /// A folder of its own for files on their way. It is emptied.
    pub spool: PathBuf,
    /// Which way the clipboard goes.
    pub policy: ClipboardPolicy,
    /// The folder that the guest reads over WebDAV.
    pub folder: Option<ExchangeFolder>,
    /// What remembers the policy.
    pub remember: RememberPolicy,
    /// How long the process stays when nothing needs it; [`LINGER`].
    pub linger: Duration,
}

struct State {
    policy: ClipboardPolicy,
    folder: Option<ExchangeFolder>,
    offered: Vec<ClipboardFormat>,
    transfers: BTreeMap<u64, Transfer>,
    usb: BTreeSet<String>,
    /// Whether the guest was given something to paste.
    given: bool,
    listeners: usize,
    next_transfer: u64,
    /// Counts what needs the process, so that a lingering end sees that something came in between.
    uses: u64,
}

/// The exchange with one machine's guest.
pub struct Service {
    machine: Arc<dyn VirtualMachine>,
    start: Box<dyn Start>,
    bus: usb::Bus,
    spool: Spool,
    remember: RememberPolicy,
    linger: Duration,
    state: Mutex<State>,
    running: tokio::sync::Mutex<Option<Arc<Running>>>,
    /// One device comes or goes at a time.
    plugging: tokio::sync::Mutex<()>,
    agent: watch::Sender<bool>,
    alive: watch::Sender<bool>,
    events: broadcast::Sender<ExchangeEvent>,
    own: Weak<Self>,
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}

fn percent(transfer: &Transfer) -> u64 {
    transfer.sent.saturating_mul(100).checked_div(transfer.total).unwrap_or(100)
}

fn no_agent() -> Error {
    Error::new(ErrorKind::NotFound, "No SPICE agent runs in the guest")
        .with_hint("install spice-vdagent (Linux) or the SPICE guest tools (Windows) there, and log in to its desktop")
}

impl Service {
    /// Nothing is started yet.
    pub fn new(machine: Arc<dyn VirtualMachine>, setup: Setup) -> Arc<Self> {
        let state = State {
            policy: setup.policy,
            folder: setup.folder,
            offered: Vec::new(),
            transfers: BTreeMap::new(),
            usb: BTreeSet::new(),
            given: false,
            listeners: 0,
            next_transfer: 1,
            uses: 0,
        };
        Arc::new_cyclic(|own| Self {
            machine,
            start: setup.start,
            bus: setup.usb,
            spool: Spool::new(setup.spool),
            remember: setup.remember,
            linger: setup.linger,
            state: Mutex::new(state),
            running: tokio::sync::Mutex::default(),
            plugging: tokio::sync::Mutex::default(),
            agent: watch::Sender::new(false),
            alive: watch::Sender::new(false),
            events: broadcast::Sender::new(BEHIND),
            own: own.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: ExchangeEvent) {
        // An error only says that nobody listens now.
        let _ = self.events.send(event);
    }

    fn capabilities(&self) -> ExchangeCapabilities {
        self.machine.capabilities().exchange
    }

    /// Starts the process where the guest may need it at any time: for its folder. Called when the machine runs.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn begin(&self) -> Result<()> {
        if self.is_needed() { self.ensure().await.map(drop) } else { Ok(()) }
    }

    fn is_needed(&self) -> bool {
        let state = self.lock();
        let underway = state.transfers.values().any(|transfer| !transfer.done);
        let folder = state.folder.is_some() && self.capabilities().folder;
        state.listeners > 0 || state.given || underway || !state.usb.is_empty() || folder
    }

    /// The process, started where it does not run.
    async fn ensure(&self) -> Result<Arc<Running>> {
        let capabilities = self.capabilities();
        if !capabilities.any() {
            return Err(unsupported("The machine has nothing to exchange with its guest: neither agent, nor USB, nor a folder"));
        }
        let Some(own) = self.own.upgrade() else { return Err(Error::new(ErrorKind::Cancelled, "The machine has ended")) };
        self.lock().uses += 1;
        let mut slot = self.running.lock().await;
        if let Some(running) = slot.as_ref().filter(|running| !running.has_ended()) {
            return Ok(running.clone());
        }
        let (policy, folder) = {
            let state = self.lock();
            (state.policy, state.folder.clone().filter(|_| capabilities.folder))
        };
        let spool = self.spool.prepare().map_err(|error| Error::new(ErrorKind::File, "Cannot make room for files").with_source(error))?;
        let needs = Needs { folder: folder.clone(), usb: capabilities.usb > 0, spool };
        let started = self.start.start(&needs)?;
        let running = Running::begin(own, self.machine.clone(), started)?;
        running.tell(&Tell::Begin { policy, folder, usb: needs.usb }, &[]).await?;
        running.ready().await?;
        *slot = Some(running.clone());
        self.alive.send_replace(true);
        Ok(running)
    }

    /// The process, with an agent that answers.
    async fn with_agent(&self) -> Result<Arc<Running>> {
        if !self.capabilities().agent {
            return Err(unsupported("The machine has no port for a guest's agent").with_hint("switch on Sharing.ClipboardSharing"));
        }
        let running = self.ensure().await?;
        let mut agent = self.agent.subscribe();
        let left = AGENT.saturating_sub(running.began.elapsed());
        let there = tokio::time::timeout(left, agent.wait_for(|present| *present)).await;
        // It may be there though the time is over.
        if there.is_ok() || *self.agent.borrow() { Ok(running) } else { Err(no_agent()) }
    }

    /// Ends the process after a while, where nothing needs it.
    fn settle(&self) {
        if self.is_needed() {
            return;
        }
        let (Some(own), uses) = (self.own.upgrade(), self.lock().uses) else { return };
        let linger = self.linger;
        tokio::spawn(async move {
            tokio::time::sleep(linger).await;
            if own.is_needed() || own.lock().uses != uses {
                return;
            }
            own.end().await;
        });
    }

    /// Ends the process.
    async fn end(&self) {
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            running.end().await;
        }
    }

    /// What the process says.
    fn hear(&self, told: Told) {
        match told {
            Told::Agent { present } => {
                if self.agent.send_replace(present) != present {
                    self.tell(ExchangeEvent::Agent { present });
                }
                if !present {
                    self.lock().given = false;
                    self.settle();
                }
            }
            Told::Offered { mut formats } => {
                formats.truncate(ClipboardFormat::ALL.len());
                let mut state = self.lock();
                if !state.policy.to_host() {
                    return;
                }
                state.given &= formats.is_empty();
                state.offered.clone_from(&formats);
                drop(state);
                self.tell(ExchangeEvent::Offered { formats });
                self.settle();
            }
            Told::Transfer { transfer } => self.progress(transfer),
            Told::UsbLost { id, reason } => {
                if self.lock().usb.remove(&id) {
                    self.tell(ExchangeEvent::Usb { id, attached: false, reason: Some(reason) });
                    self.settle();
                }
            }
            Told::Ready | Told::Answer { .. } | Told::Closed { .. } => {}
        }
    }

    /// A file is further. Its name is ours, whatever the process says.
    fn progress(&self, told: Transfer) {
        let mut state = self.lock();
        let Some(known) = state.transfers.get_mut(&told.id).filter(|known| !known.done) else { return };
        let before = percent(known);
        *known = Transfer { name: known.name.clone(), total: known.total, sent: told.sent.min(known.total), ..told };
        let transfer = known.clone();
        if transfer.done {
            state.transfers.remove(&transfer.id);
            self.spool.remove(transfer.id);
        }
        drop(state);
        let done = transfer.done;
        // Nobody wants to hear of every packet.
        if done || percent(&transfer) != before {
            self.tell(ExchangeEvent::Transfer { transfer });
        }
        if done {
            self.settle();
        }
    }

    /// The process has ended. `reason` where nobody here wanted that.
    async fn over(&self, running: &Arc<Running>, reason: Option<String>) {
        let mut slot = self.running.lock().await;
        if slot.as_ref().is_some_and(|current| !Arc::ptr_eq(current, running)) {
            return;
        }
        *slot = None;
        drop(slot);
        self.alive.send_replace(false);
        if self.agent.send_replace(false) {
            self.tell(ExchangeEvent::Agent { present: false });
        }
        let (offered, transfers, usb) = {
            let mut state = self.lock();
            state.given = false;
            (std::mem::take(&mut state.offered), std::mem::take(&mut state.transfers), std::mem::take(&mut state.usb))
        };
        if !offered.is_empty() {
            self.tell(ExchangeEvent::Offered { formats: Vec::new() });
        }
        let why = reason.clone().unwrap_or_else(|| "it was ended".into());
        for (id, transfer) in transfers {
            self.spool.remove(id);
            self.tell(ExchangeEvent::Transfer { transfer: Transfer { done: true, error: Some(why.clone()), ..transfer } });
        }
        for id in usb {
            self.tell(ExchangeEvent::Usb { id, attached: false, reason: Some(why.clone()) });
        }
        // With its machine everything ends.
        if let Some(reason) = reason
            && matches!(self.machine.state(), MachineState::Running | MachineState::Paused)
        {
            tracing::warn!("The exchange with the guest has failed: {reason}");
            self.tell(ExchangeEvent::Failed { message: format!("The exchange with the guest has failed: {reason}") });
            if running.began.elapsed() > PROVEN
                && let Err(error) = self.begin().await
            {
                tracing::warn!("It cannot be started anew: {}", error.chain());
            }
        }
    }

    fn current(&self) -> ExchangeStatus {
        let capabilities = self.capabilities();
        let state = self.lock();
        ExchangeStatus {
            capabilities,
            running: *self.alive.borrow(),
            agent: *self.agent.borrow(),
            policy: state.policy,
            offered: state.offered.clone(),
            folder: state.folder.clone(),
            transfers: state.transfers.values().cloned().collect(),
            usb: state.usb.iter().cloned().collect(),
        }
    }

    /// Gives a device to a process that runs.
    async fn plug(&self, running: &Arc<Running>, device: &UsbDevice) -> Result<()> {
        let descriptor = self.bus.open(device)?;
        running.grant(descriptor);
        let attached = running.ask(Ask::AttachUsb { id: device.id.clone() }, &[]).await;
        running.revoke();
        attached?;
        self.lock().usb.insert(device.id.clone());
        self.tell(ExchangeEvent::Usb { id: device.id.clone(), attached: true, reason: None });
        Ok(())
    }
}

/// Counts a listener as long as it is there.
struct Listener(Weak<Service>);

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(service) = self.0.upgrade() {
            service.lock().listeners -= 1;
            service.settle();
        }
    }
}

#[async_trait]
impl Exchange for Service {
    async fn status(&self) -> Result<ExchangeStatus> {
        Ok(self.current())
    }

    async fn events(&self) -> Result<ExchangeEvents> {
        self.lock().listeners += 1;
        let listener = Listener(self.own.clone());
        let receiver = self.events.subscribe();
        self.ensure().await?;
        let first = ExchangeEvent::Status { status: self.current() };
        let following = futures::stream::unfold((receiver, listener), |(mut receiver, listener)| async move {
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => ExchangeEvent::Status { status: listener.0.upgrade()?.current() },
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((event, (receiver, listener)))
        });
        Ok(Box::pin(futures::stream::once(async { first }).chain(following)))
    }

    async fn set_clipboard_policy(&self, policy: ClipboardPolicy) -> Result<()> {
        if !self.capabilities().agent {
            return Err(unsupported("The machine has no port for a guest's agent").with_hint("switch on Sharing.ClipboardSharing"));
        }
        let forgotten = {
            let mut state = self.lock();
            if state.policy == policy {
                return Ok(());
            }
            state.policy = policy;
            state.given &= policy.to_guest();
            !policy.to_host() && !std::mem::take(&mut state.offered).is_empty()
        };
        (self.remember)(policy);
        if forgotten {
            self.tell(ExchangeEvent::Offered { formats: Vec::new() });
        }
        self.tell(ExchangeEvent::Policy { policy });
        let running = self.running.lock().await.clone();
        if let Some(running) = running {
            running.tell(&Tell::Policy { policy }, &[]).await?;
        }
        self.settle();
        Ok(())
    }

    async fn clipboard(&self, format: ClipboardFormat) -> Result<Vec<u8>> {
        if !self.lock().policy.to_host() {
            return Err(forbidden("to the desktop"));
        }
        let running = self.with_agent().await?;
        let fetched = running.ask(Ask::Clipboard { format }, &[]).await;
        self.settle();
        let data = fetched?;
        // The policy may have changed while the guest took its time.
        if self.lock().policy.to_host() { Ok(data) } else { Err(forbidden("to the desktop")) }
    }

    async fn set_clipboard(&self, format: ClipboardFormat, data: Vec<u8>) -> Result<()> {
        if data.len() > MAX_CLIPBOARD {
            return Err(Error::new(ErrorKind::Configuration, format!("More than {} MiB cannot be pasted", MAX_CLIPBOARD >> 20)));
        }
        if !self.lock().policy.to_guest() {
            return Err(forbidden("to the guest"));
        }
        let running = self.with_agent().await?;
        let given = running.ask(Ask::SetClipboard { format }, &data).await;
        self.lock().given |= given.is_ok();
        self.settle();
        given.map(drop)
    }

    async fn clear_clipboard(&self) -> Result<()> {
        self.lock().given = false;
        let running = self.running.lock().await.clone();
        if let Some(running) = running {
            running.tell(&Tell::ClearClipboard, &[]).await?;
        }
        self.settle();
        Ok(())
    }

    async fn send_file(&self, path: PathBuf) -> Result<Transfer> {
        let running = self.with_agent().await?;
        let id = {
            let mut state = self.lock();
            if state.transfers.len() >= MAX_TRANSFERS {
                return Err(Error::new(ErrorKind::Backend, format!("{MAX_TRANSFERS} files are on their way; wait for one of them")));
            }
            state.next_transfer += 1;
            let id = state.next_transfer - 1;
            // Room is kept for it while it is copied.
            state.transfers.insert(id, Transfer { id, name: String::new(), sent: 0, total: 0, done: false, error: None });
            id
        };
        let outcome = async {
            let placed = self.spool.place(id, path).await?;
            let transfer = Transfer { id, name: placed.name, sent: 0, total: placed.size, done: false, error: None };
            self.lock().transfers.insert(id, transfer.clone());
            running.ask(Ask::SendFile { id, path: placed.path }, &[]).await?;
            Ok(transfer)
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            self.lock().transfers.remove(&id);
            self.spool.remove(id);
            self.settle();
        }
        outcome
    }

    async fn cancel_file(&self, id: u64) -> Result<()> {
        let running = self.running.lock().await.clone();
        match running.filter(|_| self.lock().transfers.contains_key(&id)) {
            Some(running) => running.ask(Ask::CancelFile { id }, &[]).await.map(drop),
            None => Err(Error::new(ErrorKind::NotFound, format!("No file is on its way with the number {id}"))),
        }
    }

    async fn usb_devices(&self) -> Result<Vec<UsbDevice>> {
        let mut devices = self.bus.list()?;
        let state = self.lock();
        for device in &mut devices {
            device.attached = state.usb.contains(&device.id);
        }
        Ok(devices)
    }

    async fn attach_usb(&self, id: &str) -> Result<()> {
        let capabilities = self.capabilities();
        if capabilities.usb == 0 {
            return Err(unsupported("The machine has no ports for USB devices of this computer").with_hint("switch on Input.UsbSharing"));
        }
        let device = self.bus.find(id)?;
        if let Some(why) = &device.refused {
            return Err(unsupported(&format!("A guest cannot have the USB device {id} ({}): {why}", device.name)));
        }
        let _turn = self.plugging.lock().await;
        let taken = self.lock().usb.len();
        if self.lock().usb.contains(id) {
            return Err(Error::new(ErrorKind::WrongState, format!("The machine has the USB device {id} already")));
        }
        if taken >= capabilities.usb as usize {
            let message = format!("All {taken} ports for USB devices are taken");
            return Err(unsupported(&message).with_hint("detach one, or raise Input.MaximumUsbShare"));
        }
        let running = self.ensure().await?;
        let plugged = self.plug(&running, &device).await;
        self.settle();
        plugged
    }

    async fn detach_usb(&self, id: &str) -> Result<()> {
        let _turn = self.plugging.lock().await;
        let missing = || Error::new(ErrorKind::NotFound, format!("The machine does not have the USB device {id}"));
        let running = self.running.lock().await.clone().filter(|_| self.lock().usb.contains(id)).ok_or_else(missing)?;
        running.ask(Ask::DetachUsb { id: id.to_owned() }, &[]).await?;
        self.lock().usb.remove(id);
        self.tell(ExchangeEvent::Usb { id: id.to_owned(), attached: false, reason: None });
        self.settle();
        Ok(())
    }

    async fn share_folder(&self, folder: Option<ExchangeFolder>) -> Result<()> {
        if !self.capabilities().folder {
            return Err(
                unsupported("The machine has no port for a folder over WebDAV").with_hint("set Sharing.DirectoryShareMode to WebDAV")
            );
        }
        let folder = folder.as_ref().map(process::shareable).transpose()?;
        let _turn = self.plugging.lock().await;
        let usb = {
            let mut state = self.lock();
            if state.folder == folder {
                return Ok(());
            }
            state.folder = folder;
            state.usb.clone()
        };
        // What the process may open is settled when it starts, so another folder is another process.
        self.end().await;
        self.begin().await?;
        if !usb.is_empty() {
            let running = self.ensure().await?;
            for id in usb {
                let device = self.bus.find(&id)?;
                self.plug(&running, &device).await?;
            }
        }
        self.tell(ExchangeEvent::Status { status: self.current() });
        Ok(())
    }

    async fn arrange_monitors(&self, monitors: &[Monitor]) -> Result<()> {
        if monitors.len() > MAX_MONITORS {
            return Err(Error::new(ErrorKind::Configuration, format!("A guest has at most {MAX_MONITORS} screens")));
        }
        let running = self.with_agent().await?;
        let arranged = running.ask(Ask::Monitors { monitors: monitors.to_vec() }, &[]).await;
        self.settle();
        arranged.map(drop)
    }
}

fn forbidden(way: &str) -> Error {
    unsupported(&format!("The clipboard's policy does not let anything {way}"))
        .with_hint("`viv clipboard policy NAME both` allows both ways")
}
