//! What a machine whose windows are open shares with this desktop: the clipboard, files, USB devices, sound. One for all of its windows; it
//! ends with the last of them.
//!
//! - [`Session`]: what its windows know of it, and ask of it.
//! - `follow`: the part in the engine, through every run of the machine.
//! - `clipboard`: which way what was copied goes, and when.
//! - `desk`: this desktop's own clipboard.

mod clipboard;
mod desk;
mod follow;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use machine::exchange::{ClipboardPolicy, Exchange, ExchangeEvent, ExchangeStatus, Transfer, UsbDevice};
use tokio::sync::{mpsc, watch};
use view_model::Message;
use view_model::preferences::MICROPHONE;
use view_model::window::{Connection, words};

pub use desk::Desk;
use follow::{Seen, Shared};

use crate::display::MachineWindows;
use crate::follow::{Follower, Told};
use crate::sound::SoundServer;

/// What windows hear of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Something is otherwise than it was.
    Changed,
    /// A file has come further, arrived, or failed.
    Transfer(Transfer),
    /// Something went wrong.
    Wrong(Message),
}

/// What a machine whose windows are open shares with this desktop.
pub struct Session {
    windows: Weak<MachineWindows>,
    path: PathBuf,
    inner: RefCell<Inner>,
    has_keyboard: watch::Sender<bool>,
    /// Dropped with this: then the part in the engine ends, too.
    _again: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    exchange: Option<Arc<dyn Exchange>>,
    status: ExchangeStatus,
    usb: Vec<UsbDevice>,
}

impl Session {
    /// Begins one with the machine at `path`.
    pub fn begin(windows: &Rc<MachineWindows>, path: &Path, desk: &Desk, server: &SoundServer) -> Rc<Self> {
        let (tell, told) = mpsc::channel(16);
        let (again_sender, again) = watch::channel(());
        let (has_keyboard, keyboard) = watch::channel(false);
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let records = windows.preferences().is_on(MICROPHONE);
        let shared = Shared { name, desk: desk.clone(), server: server.clone(), keyboard, records };
        let follower = Follower::new(windows.engine().library().clone(), path, shared, tell, again);
        windows.engine().spawn(follower.run());
        let session = Rc::new(Self {
            windows: Rc::downgrade(windows),
            path: path.to_path_buf(),
            inner: RefCell::default(),
            has_keyboard,
            _again: again_sender,
        });
        session.listen(told);
        session
    }

    fn listen(self: &Rc<Self>, mut told: mpsc::Receiver<Told<Seen>>) {
        let session = Rc::downgrade(self);
        let listening = slint::spawn_local(async move {
            while let Some(told) = told.recv().await {
                let Some(session) = session.upgrade() else { return };
                session.hear(told);
            }
        });
        debug_assert!(listening.is_ok());
    }

    fn hear(&self, told: Told<Seen>) {
        let news = match told {
            Told::Seen(Seen::Open(exchange)) => {
                self.inner.borrow_mut().exchange = Some(exchange);
                return;
            }
            Told::Seen(Seen::Event(event)) => self.happened(event),
            Told::Connection(Connection::Open) => return,
            // The machine's run has ended, or its supervisor: the next tells anew how things stand.
            Told::Connection(_) | Told::Gone => {
                *self.inner.borrow_mut() = Inner::default();
                News::Changed
            }
            Told::Status(_) | Told::Event(_) | Told::Failed(_) => return,
        };
        self.tell(&news);
    }

    fn happened(&self, event: ExchangeEvent) -> News {
        let mut inner = self.inner.borrow_mut();
        let status = &mut inner.status;
        match event {
            ExchangeEvent::Status { status: now } => *status = now,
            ExchangeEvent::Agent { present } => status.agent = present,
            ExchangeEvent::Offered { formats } => status.offered = formats,
            ExchangeEvent::Policy { policy } => status.policy = policy,
            ExchangeEvent::Transfer { transfer } => return News::Transfer(transfer),
            ExchangeEvent::Usb { id, attached, reason } => {
                if let Some(device) = inner.usb.iter_mut().find(|device| device.id == id) {
                    device.attached = attached;
                }
                if let Some(reason) = reason {
                    return News::Wrong(Message::said(reason));
                }
            }
            ExchangeEvent::Failed { message } => return News::Wrong(Message::said(message)),
        }
        News::Changed
    }

    fn tell(&self, news: &News) {
        if let Some(windows) = self.windows.upgrade() {
            windows.tell(&self.path, news);
        }
    }

    /// How things stand.
    pub fn status(&self) -> ExchangeStatus {
        self.inner.borrow().status.clone()
    }

    /// The USB devices of this computer, as they were when they were looked at.
    pub fn usb(&self) -> Vec<UsbDevice> {
        self.inner.borrow().usb.clone()
    }

    /// Whether one of the machine's windows has the keyboard.
    pub fn has_keyboard(&self, has: bool) {
        self.has_keyboard.send_if_modified(|had| std::mem::replace(had, has) != has);
    }

    /// Looks which USB devices there are.
    pub fn look_at_usb(self: &Rc<Self>) {
        self.ask(
            |exchange| async move { exchange.usb_devices().await },
            |session, devices| {
                session.inner.borrow_mut().usb = devices;
                session.tell(&News::Changed);
            },
        );
    }

    /// Gives the machine a USB device, or takes it back.
    pub fn attach(self: &Rc<Self>, id: String, attach: bool) {
        let work = |exchange: Arc<dyn Exchange>| async move {
            if attach { exchange.attach_usb(&id).await } else { exchange.detach_usb(&id).await }
        };
        self.ask(work, |session, ()| session.look_at_usb());
    }

    /// Says which way the clipboard goes.
    pub fn set_policy(self: &Rc<Self>, policy: ClipboardPolicy) {
        self.ask(move |exchange| async move { exchange.set_clipboard_policy(policy).await }, |_, ()| {});
    }

    /// Sends files into the guest, where its agent puts them.
    pub fn send(self: &Rc<Self>, file: PathBuf) {
        if self.inner.borrow().exchange.is_none() {
            return self.tell(&News::Wrong(words::NOT_RUNNING.into()));
        }
        self.ask(
            move |exchange| async move { exchange.send_file(file).await },
            |session, transfer| session.tell(&News::Transfer(transfer)),
        );
    }

    /// Gives a file up that is on its way.
    pub fn cancel(self: &Rc<Self>, id: u64) {
        self.ask(move |exchange| async move { exchange.cancel_file(id).await }, |_, ()| {});
    }

    /// Asks the machine's supervisor for something; what does not work is told.
    fn ask<T: Send + 'static, F: Future<Output = machine::Result<T>> + Send + 'static>(
        self: &Rc<Self>,
        work: impl FnOnce(Arc<dyn Exchange>) -> F,
        done: impl FnOnce(&Rc<Self>, T) + 'static,
    ) {
        let Some(windows) = self.windows.upgrade() else { return };
        let Some(exchange) = self.inner.borrow().exchange.clone() else { return };
        let session = Rc::downgrade(self);
        windows.engine().ask(work(exchange), move |answer| match (answer, session.upgrade()) {
            (Ok(answer), Some(session)) => done(&session, answer),
            (Err(error), Some(session)) => {
                let said = [Some(error.to_string()), error.hint().map(str::to_owned)];
                session.tell(&News::Wrong(Message::said(said.into_iter().flatten().collect::<Vec<_>>().join(". "))));
            }
            (_, None) => {}
        });
    }
}
