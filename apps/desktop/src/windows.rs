//! Which windows there are beside the list: what opens them, and what they all take from the preferences.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use crate::wizard::Made;
use slint::winit_030::WinitWindowAccessor as _;
use slint::{ComponentHandle, Global, PlatformError};
use view_model::preferences::APPEARANCE;

use crate::Tokens;
use crate::display::MachineWindows;
use crate::editor::EditorScreen;
use crate::engine::Engine;
use crate::prefer::Preferred;
use crate::preferences::PreferencesScreen;
use crate::wizard::WizardScreen;

/// The windows. What is open already is raised.
pub struct Windows {
    engine: Engine,
    preferred: Preferred,
    machines: Rc<MachineWindows>,
    editors: RefCell<HashMap<PathBuf, Weak<EditorScreen>>>,
    wizard: RefCell<Weak<WizardScreen>>,
    preferences: RefCell<Weak<PreferencesScreen>>,
}

impl Windows {
    /// None yet.
    pub fn new(engine: &Engine) -> Rc<Self> {
        let (preferred, wrong) = Preferred::read(engine);
        for message in wrong {
            tracing::warn!("{message}");
        }
        Rc::new(Self {
            engine: engine.clone(),
            machines: MachineWindows::new(engine.clone(), preferred.clone()),
            preferred,
            editors: RefCell::default(),
            wizard: RefCell::default(),
            preferences: RefCell::default(),
        })
    }

    /// What a person prefers.
    pub const fn preferred(&self) -> &Preferred {
        &self.preferred
    }

    /// Shows what there is to see of a machine: its first display, or its first serial port. `failed` is told where no window can be made.
    pub fn open_machine(&self, machine: &Path, failed: impl FnOnce(PlatformError) + 'static) {
        self.machines.open(machine, failed);
    }

    /// Shows a machine's first display.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_display(&self, machine: &Path) -> Result<(), PlatformError> {
        self.machines.open_head(machine, 0)
    }

    /// Shows a machine's serial port.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_port(&self, machine: &Path, port: usize) -> Result<(), PlatformError> {
        self.machines.open_port(machine, port)
    }

    /// The windows of machines.
    pub const fn machines(&self) -> &Rc<MachineWindows> {
        &self.machines
    }

    /// Shows a machine's settings; `closed` is told when they are closed, unless they are open already.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_settings(&self, machine: &Path, closed: impl Fn() + 'static) -> Result<(), PlatformError> {
        let mut editors = self.editors.borrow_mut();
        editors.retain(|_, editor| editor.strong_count() > 0);
        if let Some(editor) = editors.get(machine).and_then(Weak::upgrade) {
            raise(editor.window());
            return Ok(());
        }
        let editor = EditorScreen::open_then(&self.engine, machine, closed)?;
        dress(editor.window(), &self.preferred);
        editors.insert(machine.to_path_buf(), Rc::downgrade(&editor));
        Ok(())
    }

    /// Begins to make a machine; `done` is told what was made.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_wizard(&self, preset: Option<PathBuf>, done: impl Fn(Made) + 'static) -> Result<(), PlatformError> {
        if let Some(wizard) = self.wizard.borrow().upgrade() {
            raise(wizard.window());
            return Ok(());
        }
        let wizard = WizardScreen::open(&self.engine, preset, done)?;
        dress(wizard.window(), &self.preferred);
        *self.wizard.borrow_mut() = Rc::downgrade(&wizard);
        Ok(())
    }

    /// Shows the preferences.
    ///
    /// # Errors
    /// Where no window can be made.
    pub fn open_preferences(&self) -> Result<(), PlatformError> {
        if let Some(preferences) = self.preferences.borrow().upgrade() {
            raise(preferences.window());
            return Ok(());
        }
        let preferences = PreferencesScreen::open(&self.engine, &self.preferred)?;
        dress(preferences.window(), &self.preferred);
        *self.preferences.borrow_mut() = Rc::downgrade(&preferences);
        Ok(())
    }
}

/// Light or dark as a person prefers, now and from now on, and in the language that is spoken.
pub fn dress<C: ComponentHandle + 'static>(window: &C, preferred: &Preferred)
where
    for<'a> Tokens<'a>: Global<'a, C>,
{
    // Only now that there is a window is there something to translate.
    if let Err(error) = slint::select_bundled_translation(view_model::spoken().code()) {
        tracing::error!("The windows stay in another language: {error}");
    }
    let window = window.as_weak();
    preferred.follow(move |preferences| {
        let Some(window) = window.upgrade() else { return false };
        window.global::<Tokens<'_>>().set_appearance(preferences.word(APPEARANCE).into());
        true
    });
}

/// Brings a window before the others.
pub(crate) fn raise(window: &impl ComponentHandle) {
    window.window().set_minimized(false);
    window.window().with_winit_window(|window| window.focus_window());
}
