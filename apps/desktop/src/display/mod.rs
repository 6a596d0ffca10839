//! Machine windows: one for each display head. Those of serial ports are in [`crate::terminal`].
//!
//! - [`MachineWindows`]: which windows are open.
//! - `feed`: follows one machine and one of its heads, in the engine; what it tells comes to the window one piece at a time.
//! - `picture`: the guest's pixels in the toolkit's buffer; `direct` draws them without the toolkit, where the window system lets that be.
//! - `screen`: the window of a head; `input` is what a person does in it, `menus` what its toolbar offers.
//! - `act` and `orders`: what becomes of what was asked for, beside what `machine_window` does in every window.

mod act;
mod choose;
mod direct;
mod feed;
mod grab;
mod input;
pub(crate) mod menus;
pub(crate) mod orders;
mod picture;
mod screen;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use view_model::Command;
use view_model::preferences::Preferences;
use view_model::window::first_view;

use crate::engine::Engine;
use crate::prefer::Preferred;
use crate::session::{Desk, News, Session};
use crate::sound::SoundServer;
use crate::terminal::TerminalScreen;
use crate::windows::{dress, raise};
pub use grab::MouseMotion;
use screen::MachineScreen;

/// What of a machine a window shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shows {
    /// A display head.
    Head(usize),
    /// A serial port.
    Port(usize),
}

/// A window of a machine.
#[derive(Clone)]
enum Open {
    Head(Rc<MachineScreen>),
    Port(Rc<TerminalScreen>),
}

impl Open {
    fn head(&self) -> Option<Rc<MachineScreen>> {
        match self {
            Self::Head(screen) => Some(screen.clone()),
            Self::Port(_) => None,
        }
    }
}

/// The machine windows that are open, by machine and what of it they show.
pub struct MachineWindows {
    engine: Engine,
    preferred: Preferred,
    open: RefCell<HashMap<(PathBuf, Shows), Open>>,
    sessions: RefCell<HashMap<PathBuf, Weak<Session>>>,
    desk: Desk,
    server: SoundServer,
}

impl MachineWindows {
    /// None yet.
    pub fn new(engine: Engine, preferred: Preferred) -> Rc<Self> {
        Rc::new(Self {
            engine,
            preferred,
            open: RefCell::default(),
            sessions: RefCell::default(),
            desk: Desk::default(),
            server: SoundServer::default(),
        })
    }

    /// Opens what there is to see of a machine: the window of its first head, or of its first serial port where it has no display.
    /// `failed` is told where no window can be made.
    pub fn open(self: &Rc<Self>, machine: &Path, failed: impl FnOnce(slint::PlatformError) + 'static) {
        let (this, library, path) = (self.clone(), self.engine.library().clone(), machine.to_path_buf());
        let at = path.clone();
        let looking = async move {
            let looked = library.clone();
            let machine = tokio::task::spawn_blocking(move || looked.machine_at(&at)).await.ok()?.ok()?;
            library.status(&machine).await.ok()
        };
        self.engine.ask(looking, move |status| {
            let port = status.as_ref().and_then(|status| {
                let first = first_view(status.displays.len(), status.consoles.len());
                status.consoles.first().filter(|_| first == Command::OpenConsole).map(|port| port.index)
            });
            // A machine that cannot be read says so in the window, too.
            let opened = match port {
                Some(port) => this.open_port(&path, port),
                None => this.open_head(&path, 0),
            };
            if let Err(error) = opened {
                failed(error);
            }
        });
    }

    /// Opens the window of one head, or raises it where it is open.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_head(self: &Rc<Self>, machine: &Path, head: usize) -> Result<(), slint::PlatformError> {
        let key = (machine.to_path_buf(), Shows::Head(head));
        if self.raise(&key) {
            return Ok(());
        }
        let screen = MachineScreen::open(self, machine, head)?;
        dress(screen.window(), &self.preferred);
        self.open.borrow_mut().insert(key, Open::Head(screen));
        Ok(())
    }

    /// Opens the window of one serial port, or raises it where it is open.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_port(self: &Rc<Self>, machine: &Path, port: usize) -> Result<(), slint::PlatformError> {
        let key = (machine.to_path_buf(), Shows::Port(port));
        if self.raise(&key) {
            return Ok(());
        }
        let screen = TerminalScreen::open(self, machine, port)?;
        dress(screen.window(), &self.preferred);
        self.open.borrow_mut().insert(key, Open::Port(screen));
        Ok(())
    }

    /// Brings a window before the others, where it is open.
    fn raise(&self, key: &(PathBuf, Shows)) -> bool {
        let open = self.open.borrow().get(key).cloned();
        match &open {
            Some(Open::Head(screen)) => raise(screen.window()),
            Some(Open::Port(screen)) => raise(screen.window()),
            None => return false,
        }
        true
    }

    /// The terminal of a serial port, where it is open.
    pub fn terminal(&self, machine: &Path, port: usize) -> Option<Rc<TerminalScreen>> {
        match self.open.borrow().get(&(machine.to_path_buf(), Shows::Port(port))) {
            Some(Open::Port(screen)) => Some(screen.clone()),
            _ => None,
        }
    }

    /// How many windows are open.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What all windows of a machine share with this desktop.
    pub(crate) fn session(self: &Rc<Self>, machine: &Path) -> Rc<Session> {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|_, session| session.strong_count() > 0);
        if let Some(session) = sessions.get(machine).and_then(Weak::upgrade) {
            return session;
        }
        let session = Session::begin(self, machine, &self.desk, &self.server);
        sessions.insert(machine.to_path_buf(), Rc::downgrade(&session));
        session
    }

    /// Tells the machine's windows what has come of that; a file, only the first of them.
    pub(crate) fn tell(&self, machine: &Path, news: &News) {
        let mut heads: Vec<_> = {
            let open = self.open.borrow();
            let of_machine = open.iter().filter(|((path, _), _)| path == machine);
            of_machine.filter_map(|((_, shows), open)| Some((*shows, open.head()?))).collect()
        };
        heads.sort_by_key(|(shows, _)| *shows);
        let all = if *news == News::Changed { heads.len() } else { 1 };
        for (_, screen) in heads.iter().take(all) {
            screen.hear_of_session(news);
        }
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn preferences(&self) -> Preferences {
        self.preferred.now()
    }

    /// Whether a window other than that one shows the machine.
    pub(crate) fn shows_elsewhere(&self, machine: &Path, own: Shows) -> bool {
        self.open.borrow().keys().any(|(path, other)| path == machine && *other != own)
    }

    /// A window has closed.
    pub(crate) fn closed(&self, machine: &Path, shows: Shows) {
        let closed = self.open.borrow_mut().remove(&(machine.to_path_buf(), shows));
        // It may be what is running now: it goes when that is over.
        slint::Timer::single_shot(std::time::Duration::ZERO, move || drop(closed));
    }
}
