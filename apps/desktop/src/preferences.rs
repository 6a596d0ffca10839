//! The window with the preferences, which keeps each as soon as it makes sense.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;
use slint::{ComponentHandle as _, ModelRc, PlatformError, SharedString, VecModel};
use view_model::preferences::{PREFERENCES, Preference, PreferenceKind};

use crate::engine::Engine;
use crate::prefer::Preferred;
use crate::rows::{place, put, texts};
use crate::words::say;
use crate::{PreferenceControl, PreferenceLine, PreferencesWindow};

/// The window with the preferences. It keeps itself until it is closed.
pub struct PreferencesScreen {
    window: PreferencesWindow,
    preferred: Preferred,
    lines: Rc<VecModel<PreferenceLine>>,
    /// The words of choices, made once.
    options: Vec<ModelRc<SharedString>>,
    /// What was typed and makes no sense yet, with what is wrong.
    typed: RefCell<BTreeMap<&'static str, (String, String)>>,
    own: RefCell<Option<Rc<Self>>>,
}

impl PreferencesScreen {
    /// Opens the window.
    ///
    /// # Errors
    /// Where there is no display.
    pub fn open(_: &Engine, preferred: &Preferred) -> Result<Rc<Self>, PlatformError> {
        let options = PREFERENCES.iter().map(|preference| match preference.kind {
            PreferenceKind::Choice(choices) => texts(choices.iter().map(|(_, text)| say(*text))),
            _ => ModelRc::default(),
        });
        let screen = Rc::new(Self {
            window: PreferencesWindow::new()?,
            preferred: preferred.clone(),
            lines: Rc::default(),
            options: options.collect(),
            typed: RefCell::default(),
            own: RefCell::default(),
        });
        screen.window.set_preferences(ModelRc::from(screen.lines.clone()));
        screen.connect();
        screen.draw();
        screen.window.show()?;
        *screen.own.borrow_mut() = Some(screen.clone());
        Ok(screen)
    }

    /// The window.
    pub const fn window(&self) -> &PreferencesWindow {
        &self.window
    }

    fn connect(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.window.on_switched(move |key, on| {
            if let Some(screen) = weak.upgrade() {
                screen.set(&key, on.into(), "");
            }
        });
        let weak = Rc::downgrade(self);
        self.window.on_picked(move |key, index| {
            if let (Some(screen), Some(preference)) = (weak.upgrade(), of(&key))
                && let PreferenceKind::Choice(choices) = preference.kind
                && let Some((word, _)) = usize::try_from(index).ok().and_then(|index| choices.get(index))
            {
                screen.set(&key, (*word).into(), word);
            }
        });
        let weak = Rc::downgrade(self);
        self.window.on_edited(move |key, text| {
            if let (Some(screen), Some(preference)) = (weak.upgrade(), of(&key)) {
                let words = || text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
                let value = match preference.kind {
                    PreferenceKind::Chords(_) => words().map(Value::from).collect(),
                    _ => Value::from(text.trim()),
                };
                screen.set(&key, value, &text);
            }
        });
        let weak = Rc::downgrade(self);
        self.window.on_leave(move || {
            if let Some(screen) = weak.upgrade() {
                if let Err(error) = screen.window.hide() {
                    tracing::error!("The preferences' window stays: {error}");
                }
                screen.own.borrow_mut().take();
            }
        });
        let weak = Rc::downgrade(self);
        self.window.window().on_close_requested(move || {
            if let Some(screen) = weak.upgrade() {
                screen.own.borrow_mut().take();
            }
            slint::CloseRequestResponse::HideWindow
        });
    }

    fn set(self: &Rc<Self>, key: &str, value: Value, typed: &str) {
        let Some(preference) = of(key) else { return };
        let weak = Rc::downgrade(self);
        let failed = move |error: String| {
            if let Some(screen) = weak.upgrade() {
                screen.window.set_remark(error.into());
            }
        };
        match self.preferred.set(key, value, failed) {
            Ok(()) => drop(self.typed.borrow_mut().remove(preference.key)),
            Err(wrong) => drop(self.typed.borrow_mut().insert(preference.key, (typed.to_owned(), wrong.to_string()))),
        }
        self.draw();
    }

    fn draw(&self) {
        let (now, typed) = (self.preferred.now(), self.typed.borrow());
        let lines = PREFERENCES.iter().zip(&self.options).map(|(preference, options)| {
            let key = preference.key;
            let (control, current, text) = match preference.kind {
                PreferenceKind::Switch(_) => (PreferenceControl::Switch, -1, String::new()),
                PreferenceKind::Choice(choices) => {
                    let word = now.word(key);
                    (PreferenceControl::Choice, place(choices.iter().position(|(known, _)| *known == word)), String::new())
                }
                PreferenceKind::Chord(_) => (PreferenceControl::Chord, -1, now.word(key)),
                PreferenceKind::Chords(_) => (PreferenceControl::Chords, -1, now.words(key).join(", ")),
            };
            let (text, problem) = typed.get(key).cloned().unwrap_or((text, String::new()));
            PreferenceLine {
                key: key.into(),
                label: say(preference.label),
                help: say(preference.help),
                control,
                on: now.is_on(key),
                options: options.clone(),
                current,
                text: text.into(),
                problem: problem.into(),
            }
        });
        put(&self.lines, lines.collect());
    }
}

fn of(key: &str) -> Option<&'static Preference> {
    PREFERENCES.iter().find(|preference| preference.key == key)
}
