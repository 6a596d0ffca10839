//! The home window.

use std::cell::RefCell;
use std::rc::Rc;

use slint::{Model as _, ModelRc, SharedString, VecModel};
use view_model::home::{Change, Entry, Filter, Home, Tone as MarkTone};

use crate::engine::Engine;
use crate::{HomeWindow, MachineLine, Tone};

/// The home window, and what it shows.
pub struct HomeScreen {
    window: HomeWindow,
    home: RefCell<Home>,
    lines: Rc<VecModel<MachineLine>>,
}

impl HomeScreen {
    /// A window with nothing in it yet.
    ///
    /// # Errors
    /// Where there is no display.
    pub fn open(engine: &Engine) -> Result<Rc<Self>, slint::PlatformError> {
        let window = HomeWindow::new()?;
        let lines = Rc::new(VecModel::default());
        window.set_machines(ModelRc::from(lines.clone()));
        let screen = Rc::new(Self { window, home: RefCell::default(), lines });
        screen.connect();
        screen.fill(engine);
        Ok(screen)
    }

    /// The window.
    pub const fn window(&self) -> &HomeWindow {
        &self.window
    }

    fn connect(self: &Rc<Self>) {
        let screen = Rc::downgrade(self);
        self.window.on_search_changed(move |text| {
            if let Some(screen) = screen.upgrade() {
                let changes = screen.home.borrow_mut().set_filter(Filter::new(&text, Vec::new()));
                screen.apply(&changes);
            }
        });
        let screen = Rc::downgrade(self);
        self.window.on_chosen(move |line| {
            if let Some(screen) = screen.upgrade() {
                screen.choose(line);
            }
        });
    }

    /// Reads the library, then follows it.
    fn fill(self: &Rc<Self>, engine: &Engine) {
        let reading = engine.spawn_blocking(library::Library::machines);
        let screen = Rc::downgrade(self);
        let filled = slint::spawn_local(async move {
            let (Ok(machines), Some(screen)) = (reading.await, screen.upgrade()) else { return };
            *screen.home.borrow_mut() = Home::new(machines);
            screen.apply(&[Change::Reset]);
        });
        debug_assert!(filled.is_ok());
    }

    fn choose(&self, line: i32) {
        let mut home = self.home.borrow_mut();
        let path = usize::try_from(line).ok().and_then(|line| home.entry(line)).map(|entry| entry.machine().path.clone());
        let before = home.selected().and_then(|entry| home.line_of(&entry.machine().path));
        let mut changes = home.select(path.as_deref());
        changes.extend(before.map(Change::Changed));
        changes.extend(usize::try_from(line).ok().map(Change::Changed));
        drop(home);
        self.apply(&changes);
    }

    /// Draws what has changed, and nothing else.
    fn apply(&self, changes: &[Change]) {
        let home = self.home.borrow();
        for change in changes {
            match *change {
                Change::Reset => self.lines.set_vec((0..home.len()).map(|line| line_of(&home, line)).collect::<Vec<_>>()),
                Change::Inserted(line) => self.lines.insert(line, MachineLine::default()),
                Change::Removed(line) => {
                    self.lines.remove(line);
                }
                Change::Changed(_) | Change::Selection => {}
            }
        }
        // Only now is every line where it belongs.
        for change in changes {
            if let Change::Inserted(line) | Change::Changed(line) = *change
                && line < self.lines.row_count()
            {
                self.lines.set_row_data(line, line_of(&home, line));
            }
        }
    }
}

fn line_of(home: &Home, line: usize) -> MachineLine {
    let Some(entry) = home.entry(line) else { return MachineLine::default() };
    let selected = home.selected().is_some_and(|selected| selected.machine().path == entry.machine().path);
    let heading = home.heading(line).map(|group| group.text().to_string()).unwrap_or_default();
    MachineLine { heading: heading.into(), selected, ..machine_line(entry) }
}

fn machine_line(entry: &Entry) -> MachineLine {
    let (letters, hue) = entry.badge();
    MachineLine {
        name: entry.machine().name.as_str().into(),
        state: entry.mark().text().english.into(),
        tone: tone(entry.mark().tone()),
        letters: letters.into(),
        hue: i32::from(hue),
        heading: SharedString::default(),
        selected: false,
    }
}

const fn tone(tone: MarkTone) -> Tone {
    match tone {
        MarkTone::Running => Tone::Running,
        MarkTone::Paused => Tone::Paused,
        MarkTone::Error => Tone::Error,
        MarkTone::Stopped => Tone::Stopped,
    }
}
