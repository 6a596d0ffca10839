//! The home window.
//!
//! [`HomeScreen`] owns it. Its parts: the list, here; the page of the selected machine ([`page`]) with its picture ([`picture`]); what is
//! going on ([`works`]); what is asked and told over it ([`dialogs`]). What is asked of a machine is carried out in [`crate::commands`].

pub mod dialogs;
pub mod page;
pub mod picture;
pub mod works;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use library::{LibraryEvent, Machine};
use slint::winit_030::{EventResult, WinitWindowAccessor as _, winit};
use slint::{ComponentHandle as _, Global as _, Model as _, ModelRc, SharedString, Timer, VecModel};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use view_model::home::{Change, Entry, Filter, Home, Tag, Tone as MarkTone, Works};
use view_model::{Command, Platform};

use crate::engine::Engine;
use crate::windows::{Windows, dress};
use crate::words::{command, number, say};
use crate::{Action, FactLine, HomeMenuLine, HomeModel, HomeWindow, Icons, MachineLine, TagLine, Tone, WorkLine, commands, rows};
use dialogs::Asked;
use page::Page;

/// The home window, and what it shows.
pub struct HomeScreen {
    window: HomeWindow,
    engine: Engine,
    windows: Rc<Windows>,
    this: Weak<Self>,
    home: RefCell<Home>,
    works: RefCell<Works>,
    page: RefCell<Page>,
    asked: RefCell<Option<Asked>>,
    /// The tags that there are, and whether each is chosen.
    tags: RefCell<Vec<(Tag, bool)>>,
    /// A machine that is to be selected when it has come.
    awaited: RefCell<Option<PathBuf>>,
    models: Models,
    /// Draws work again when that changes by itself.
    later: Timer,
    /// Tells how long a machine runs.
    minute: Timer,
}

/// The lists that are changed in place.
#[derive(Default)]
struct Models {
    lines: Rc<VecModel<MachineLine>>,
    tags: Rc<VecModel<TagLine>>,
    works: Rc<VecModel<WorkLine>>,
    facts: Rc<VecModel<FactLine>>,
    sharing: Rc<VecModel<FactLine>>,
    tools: Rc<VecModel<Action>>,
    power: Rc<VecModel<HomeMenuLine>>,
    files: Rc<VecModel<HomeMenuLine>>,
}

/// What comes from the thread that watches the library.
enum News {
    Machines(Vec<Machine>),
    Event(LibraryEvent),
}

impl HomeScreen {
    /// A window with nothing in it yet; the library is read when it is drawn.
    ///
    /// # Errors
    /// Where there is no display.
    pub fn open(engine: &Engine, windows: &Rc<Windows>) -> Result<Rc<Self>, slint::PlatformError> {
        let window = HomeWindow::new()?;
        let screen = Rc::new_cyclic(|this| Self {
            window,
            engine: engine.clone(),
            windows: windows.clone(),
            this: this.clone(),
            home: RefCell::default(),
            works: RefCell::default(),
            page: RefCell::default(),
            asked: RefCell::default(),
            tags: RefCell::default(),
            awaited: RefCell::default(),
            models: Models::default(),
            later: Timer::default(),
            minute: Timer::default(),
        });
        dress(&screen.window, windows.preferred());
        screen.connect();
        screen.take_drops();
        screen.follow_library();
        Ok(screen)
    }

    /// The window.
    pub const fn window(&self) -> &HomeWindow {
        &self.window
    }

    /// Where its work is done.
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) const fn windows(&self) -> &Rc<Windows> {
        &self.windows
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// The selected machine, where a command can be asked of it now.
    pub(crate) fn selected_for(&self, command: Command) -> Option<Machine> {
        let home = self.home.borrow();
        home.available(command).ok()?;
        home.selected().map(|entry| entry.machine().clone())
    }

    /// What to do where the desktop has no dialog for files.
    pub(crate) fn no_dialog_hint(&self) -> SharedString {
        self.model().invoke_no_dialog()
    }

    fn model(&self) -> HomeModel<'_> {
        HomeModel::get(&self.window)
    }

    /// What a callback does: something with the screen, while that is there.
    fn with(&self, act: impl Fn(&Rc<Self>) + 'static) -> impl Fn() + 'static {
        let this = self.this.clone();
        move || {
            if let Some(screen) = this.upgrade() {
                act(&screen);
            }
        }
    }

    /// As [`Self::with`], with what the window says.
    fn with_value<T>(&self, act: impl Fn(&Rc<Self>, T) + 'static) -> impl Fn(T) + 'static {
        let this = self.this.clone();
        move |value| {
            if let Some(screen) = this.upgrade() {
                act(&screen, value);
            }
        }
    }

    fn connect(&self) {
        let (model, models) = (self.model(), &self.models);
        model.set_machines(ModelRc::from(models.lines.clone()));
        model.set_tags(ModelRc::from(models.tags.clone()));
        model.set_works(ModelRc::from(models.works.clone()));
        model.set_facts(ModelRc::from(models.facts.clone()));
        model.set_sharing(ModelRc::from(models.sharing.clone()));
        model.set_tools(ModelRc::from(models.tools.clone()));
        model.set_menu_power(ModelRc::from(models.power.clone()));
        model.set_menu_files(ModelRc::from(models.files.clone()));
        let app = [Command::NewMachine, Command::Import, Command::Preferences, Command::About, Command::Quit];
        let app = app.into_iter().filter(|command| commands::is_here(*command)).map(|command| menu_line(command, true));
        model.set_app_menu(ModelRc::new(VecModel::from_iter(app)));
        model.set_has_preferences(commands::is_here(Command::Preferences));
        model.set_new_label(say(first_of_new().label()));
        model.set_version(env!("CARGO_PKG_VERSION").into());

        model.on_choose(self.with_value(|screen, line| screen.choose(line)));
        model.on_step(self.with_value(|screen, lines: i32| {
            let changes = screen.home.borrow_mut().step(lines as isize);
            screen.apply(&changes);
        }));
        model.on_open(self.with_value(|screen, line| {
            screen.choose(line);
            screen.open_selected();
        }));
        model.on_search(self.with_value(|screen, _: SharedString| screen.search()));
        model.on_clear_search(self.with(|screen| {
            screen.tags.borrow_mut().iter_mut().for_each(|(_, chosen)| *chosen = false);
            screen.search();
        }));
        model.on_toggle_tag(self.with_value(|screen, tag| screen.toggle(tag)));
        model.on_new_machine(self.with(|screen| screen.run(first_of_new())));
        model.on_open_preferences(self.with(|screen| screen.run(Command::Preferences)));
        model.on_run(self.with_value(|screen, number| {
            if let Some(command) = command(number) {
                screen.run(command);
            }
        }));
        let this = self.this.clone();
        model.on_run_with_drive(move |number, drive| {
            if let (Some(screen), Some(command)) = (this.upgrade(), command(number)) {
                screen.run_with(command, &drive);
            }
        });
        let this = self.this.clone();
        model.on_key(move |text, ctrl, alt, shift, meta| {
            let held = Held { command: ctrl, alt, shift, control: meta };
            let Some(command) = shortcut(&text, held) else { return false };
            let Some(screen) = this.upgrade() else { return false };
            // Delete in the search field deletes a letter.
            if command == Command::Delete && screen.model().get_typing() {
                return false;
            }
            screen.run(command);
            true
        });
        self.connect_works();
        self.connect_dialogs();
    }

    /// Reads the library, then follows it.
    fn follow_library(&self) {
        let (sender, mut receiver) = unbounded_channel();
        let library = self.engine.library().clone();
        drop(self.engine.spawn(async move {
            if let Err(error) = watch(&library, &sender).await {
                tracing::error!("The library cannot be watched: {error}");
                // It is shown as it was at the beginning.
                drop(sender.send(News::Machines(library.machines())));
            }
        }));
        let this = self.this.clone();
        let following = slint::spawn_local(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, 512).await > 0 {
                let Some(screen) = this.upgrade() else { break };
                screen.hear(batch.drain(..));
            }
        });
        debug_assert!(following.is_ok());
    }

    fn hear(&self, news: impl Iterator<Item = News>) {
        for news in news {
            let changes = match news {
                News::Machines(machines) => {
                    *self.home.borrow_mut() = Home::new(machines);
                    self.home.borrow_mut().step(0);
                    self.model().set_loaded(true);
                    vec![Change::Reset, Change::Selection]
                }
                News::Event(event) => {
                    let added = match &event {
                        LibraryEvent::MachineAdded(machine) => Some(machine.path.clone()),
                        _ => None,
                    };
                    let mut changes = self.home.borrow_mut().heard(event);
                    if let Some(path) = added.filter(|path| self.awaited.borrow().as_ref() == Some(path)) {
                        self.awaited.take();
                        changes.extend(self.home.borrow_mut().select(Some(&path)));
                    }
                    if self.home.borrow().selected().is_none() {
                        changes.extend(self.home.borrow_mut().step(0));
                    }
                    changes
                }
            };
            self.apply(&changes);
        }
        self.draw_tags();
    }

    /// Selects a machine, now or when it has come.
    pub(crate) fn select(&self, path: &Path) {
        if self.home.borrow().machine(path).is_none() {
            *self.awaited.borrow_mut() = Some(path.to_path_buf());
            return;
        }
        let changes = self.home.borrow_mut().select(Some(path));
        self.apply(&changes);
    }

    fn choose(&self, line: i32) {
        let path = self.home.borrow().entry(usize::try_from(line).unwrap_or(usize::MAX)).map(|entry| entry.machine().path.clone());
        if let Some(path) = path {
            self.select(&path);
        }
    }

    /// What a double click and Return do: show what runs, start what does not.
    fn open_selected(&self) {
        // Whatever it has, a display or only a serial port.
        match self.selected_for(Command::OpenConsole) {
            Some(machine) => self.show_machine(&machine.path),
            None => self.run(Command::Start),
        }
    }

    fn toggle(&self, tag: i32) {
        if let Ok(tag) = usize::try_from(tag)
            && let Some((_, chosen)) = self.tags.borrow_mut().get_mut(tag)
        {
            *chosen = !*chosen;
        }
        self.search();
    }

    fn search(&self) {
        let chosen = self.tags.borrow().iter().filter(|(_, chosen)| *chosen).map(|(tag, _)| tag.clone()).collect();
        let filter = Filter::new(&self.model().get_sought(), chosen);
        let changes = self.home.borrow_mut().set_filter(filter);
        self.apply(&changes);
        self.draw_tags();
    }

    /// Draws what has changed, and nothing else.
    pub(crate) fn apply(&self, changes: &[Change]) {
        let home = self.home.borrow();
        let lines = &self.models.lines;
        for change in changes {
            match *change {
                Change::Reset => lines.set_vec((0..home.len()).map(|line| line_of(&home, line)).collect::<Vec<_>>()),
                Change::Inserted(line) => lines.insert(line, MachineLine::default()),
                Change::Removed(line) => {
                    lines.remove(line);
                }
                Change::Changed(_) | Change::Selection => {}
            }
        }
        // Only now is every line where it belongs.
        for change in changes {
            if let Change::Inserted(line) | Change::Changed(line) = *change
                && line < lines.row_count()
            {
                lines.set_row_data(line, line_of(&home, line));
            }
        }
        let line = home.selected().and_then(|entry| home.line_of(&entry.machine().path));
        let headings = line.map_or(1, |line| (0..=line).filter(|line| home.heading(*line).is_some()).take(2).count());
        let model = self.model();
        model.set_selected_headings(i32::try_from(headings).unwrap_or(1));
        model.set_selected_line(rows::place(line));
        let empty = home.empty();
        model.set_empty(empty.is_some_and(|empty| empty.clear.is_none()));
        model.set_no_match(empty.is_some_and(|empty| empty.clear.is_some()));
        if let Some(empty) = empty {
            model.set_empty_title(say(empty.title));
            model.set_empty_help(say(empty.help));
            model.set_empty_clear(empty.clear.map(say).unwrap_or_default());
            let actions = empty.commands.iter().filter(|command| commands::is_here(**command)).map(|command| self.action(*command, true));
            model.set_empty_actions(ModelRc::new(VecModel::from_iter(actions)));
        }
        drop(home);
        if changes.iter().any(|change| matches!(change, Change::Selection | Change::Reset)) {
            self.selection_changed();
        }
    }

    fn draw_tags(&self) {
        let known = self.home.borrow().tags();
        let mut tags = self.tags.borrow_mut();
        let before = std::mem::take(&mut *tags);
        let chosen = |tag: &Tag| before.iter().any(|(other, chosen)| other == tag && *chosen);
        *tags = known.into_keys().map(|tag| (tag.clone(), chosen(&tag))).collect();
        let lines = tags.iter().map(|(tag, chosen)| TagLine { text: say(tag.message()), chosen: *chosen }).collect();
        rows::put(&self.models.tags, lines);
    }

    /// A button for a command.
    fn action(&self, command: Command, enabled: bool) -> Action {
        Action { command: number(command), text: say(command.label()), enabled, icon: self.icon(command) }
    }

    fn icon(&self, command: Command) -> slint::Image {
        let icons = Icons::get(&self.window);
        match command {
            Command::Start | Command::StartDisposable | Command::Resume => icons.get_play(),
            Command::Pause => icons.get_pause(),
            Command::ShutDown | Command::ForceStop => icons.get_power(),
            Command::Restart | Command::Reset => icons.get_restart(),
            Command::OpenDisplay => icons.get_display(),
            Command::OpenConsole => icons.get_terminal(),
            Command::Screenshot => icons.get_camera(),
            Command::Settings => icons.get_edit(),
            Command::ShowFiles => icons.get_folder(),
            Command::ShowLog => icons.get_log(),
            Command::Delete | Command::Unregister => icons.get_trash(),
            Command::NewMachine => icons.get_plus(),
            Command::Import => icons.get_import(),
            _ => slint::Image::default(),
        }
    }

    /// Files that are dropped on the window become machines.
    fn take_drops(&self) {
        let this = self.this.clone();
        self.window.window().on_winit_window_event(move |_, event| {
            if let Some(screen) = this.upgrade() {
                match event {
                    winit::event::WindowEvent::HoveredFile(_) => screen.model().set_dragging(true),
                    winit::event::WindowEvent::HoveredFileCancelled => screen.model().set_dragging(false),
                    winit::event::WindowEvent::DroppedFile(path) => {
                        screen.model().set_dragging(false);
                        if is_bundle(path) {
                            screen.import(path);
                        } else {
                            screen.make(Some(path.clone()));
                        }
                    }
                    _ => {}
                }
            }
            EventResult::Propagate
        });
    }
}

/// Whether a file that was dropped is a machine; anything else is what one is made from.
fn is_bundle(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["utm", "zip"].iter().any(|bundle| ending.eq_ignore_ascii_case(bundle)))
}

async fn watch(library: &library::Library, sender: &UnboundedSender<News>) -> library::Result<()> {
    let mut watch = library.watch()?;
    // Looked at after the watch has begun, so that nothing is missed between the two.
    let mut open = sender.send(News::Machines(library.machines())).is_ok();
    while open {
        let Some(event) = watch.next().await else { break };
        open = sender.send(News::Event(event)).is_ok();
    }
    Ok(())
}

/// What the plus does.
const fn first_of_new() -> Command {
    if commands::is_here(Command::NewMachine) { Command::NewMachine } else { Command::Import }
}

/// What is held while a key is pressed; `command` is what commands go by.
#[derive(Debug, Clone, Copy)]
struct Held {
    command: bool,
    control: bool,
    alt: bool,
    shift: bool,
}

/// The command behind a key, where this window has it.
fn shortcut(text: &str, held: Held) -> Option<Command> {
    let typed = match text {
        "\n" | "\r" => "Return".to_owned(),
        "\u{7f}" => "Delete".to_owned(),
        other => match other.chars().next()? {
            // F1 to F24, as Slint has them.
            function @ '\u{F704}'..='\u{F71B}' => format!("F{}", u32::from(function) - 0xF703),
            _ => other.to_uppercase(),
        },
    };
    let goes = |command: &&Command| {
        command.shortcut(Platform::of_this_computer()).is_some_and(|shortcut| {
            shortcut.key == typed
                && (shortcut.command, shortcut.control, shortcut.alt, shortcut.shift) == (held.command, held.control, held.alt, held.shift)
        })
    };
    Command::ALL.iter().find(goes).copied().filter(|command| commands::is_here(*command))
}

fn menu_line(command: Command, enabled: bool) -> HomeMenuLine {
    let text = match command.shortcut(Platform::of_this_computer()) {
        Some(shortcut) => format!("{}    {}", say(command.label()), shortcut.label(Platform::of_this_computer())).into(),
        None => say(command.label()),
    };
    HomeMenuLine { command: number(command), text, enabled }
}

fn line_of(home: &Home, line: usize) -> MachineLine {
    let Some(entry) = home.entry(line) else { return MachineLine::default() };
    let heading = home.heading(line).map(|group| say(group.text())).unwrap_or_default();
    MachineLine { heading, ..machine_line(entry) }
}

fn machine_line(entry: &Entry) -> MachineLine {
    let (letters, hue) = entry.badge();
    MachineLine {
        name: entry.machine().name.as_str().into(),
        state: say(entry.mark().text()),
        tone: tone(entry.mark().tone()),
        letters: letters.into(),
        hue: i32::from(hue),
        heading: SharedString::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_commands() {
        let ctrl = |shift| Held { command: true, control: false, alt: false, shift };
        let plain = || Held { command: false, control: false, alt: false, shift: false };
        assert_eq!(shortcut("f", ctrl(false)), Some(Command::Search));
        assert_eq!(shortcut("D", ctrl(true)), Some(Command::Clone));
        assert_eq!(shortcut("\u{F705}", plain()), Some(Command::Rename));
        assert_eq!(shortcut("\u{7f}", plain()), Some(Command::Delete));
        assert_eq!(shortcut("\n", ctrl(false)), Some(Command::Start));
        assert_eq!((shortcut("x", plain()), shortcut("", plain())), (None, None));
    }
}
