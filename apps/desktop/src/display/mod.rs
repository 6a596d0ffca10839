//! Machine windows: one for each display head.
//!
//! - [`MachineWindows`]: which windows are open.
//! - `feed`: follows one machine and one of its heads, in the engine; what it tells comes to the window one piece at a time.
//! - `picture`: the guest's pixels in the toolkit's buffer.
//! - `screen`: the window of a head; `input` is what a person does in it, `menus` what its toolbar offers.
//! - `act` and `orders`: what becomes of what was asked for.

mod act;
mod choose;
mod feed;
mod grab;
mod input;
mod menus;
mod orders;
mod picture;
mod screen;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use view_model::preferences::Preferences;

use crate::engine::Engine;
use crate::prefer::Preferred;
use crate::windows::dress;
pub use grab::MouseMotion;
use screen::MachineScreen;

/// The machine windows that are open, by machine and head.
pub struct MachineWindows {
    engine: Engine,
    preferred: Preferred,
    heads: RefCell<HashMap<(PathBuf, usize), Rc<MachineScreen>>>,
}

impl MachineWindows {
    /// None yet.
    pub fn new(engine: Engine, preferred: Preferred) -> Rc<Self> {
        Rc::new(Self { engine, preferred, heads: RefCell::default() })
    }

    /// Opens the window of a machine's first head, or raises it where it is open.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open(self: &Rc<Self>, machine: &Path) -> Result<(), slint::PlatformError> {
        self.open_head(machine, 0)
    }

    /// Opens the window of one head, or raises it where it is open.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_head(self: &Rc<Self>, machine: &Path, head: usize) -> Result<(), slint::PlatformError> {
        let key = (machine.to_path_buf(), head);
        let open = self.heads.borrow().get(&key).cloned();
        if let Some(screen) = open {
            screen.raise();
            return Ok(());
        }
        let screen = MachineScreen::open(self, machine, head)?;
        dress(screen.window(), &self.preferred);
        self.heads.borrow_mut().insert(key, screen);
        Ok(())
    }

    /// How many windows are open.
    pub fn len(&self) -> usize {
        self.heads.borrow().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn engine(&self) -> &Engine {
        &self.engine
    }

    fn preferences(&self) -> Preferences {
        self.preferred.now()
    }

    /// Whether a window other than that of `head` shows the machine.
    fn shows_elsewhere(&self, machine: &Path, head: usize) -> bool {
        self.heads.borrow().keys().any(|(path, other)| path == machine && *other != head)
    }

    /// A window has closed.
    fn closed(&self, machine: &Path, head: usize) {
        let closed = self.heads.borrow_mut().remove(&(machine.to_path_buf(), head));
        // It may be what is running now: it goes when that is over.
        slint::Timer::single_shot(std::time::Duration::ZERO, move || drop(closed));
    }
}
