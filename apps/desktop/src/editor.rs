//! The window with a machine's settings.
//!
//! The draft is in [`Editor`], which is plain state and is changed in the event loop; reading, saving and asking go to the background.

mod lines;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use library::{Activity, ErrorKind, Host, Library, LibraryEvent, Machine, StopPlan};
use machine::{StartOptions, State as MachineState};
use slint::{ComponentHandle as _, ModelRc, PlatformError, SharedString, VecModel};
use supervisor_api::launch;
use view_model::Failure;
use view_model::editor::{Device, Editor, Group, Save};

use crate::engine::Engine;
use crate::rows::{put, texts};
use crate::words::say;
use crate::{EditorPage, EditorWindow, SettingLine};
use lines::Lists;

/// How long a guest has to shut down before its settings are saved.
const SHUTDOWN: Duration = Duration::from_secs(120);

/// The window with a machine's settings. It keeps itself until it is closed.
pub struct EditorScreen {
    window: EditorWindow,
    engine: Engine,
    state: RefCell<State>,
    rows: Rows,
    own: RefCell<Option<Rc<Self>>>,
    closed: Box<dyn Fn()>,
}

#[derive(Default)]
struct Rows {
    pages: Rc<VecModel<EditorPage>>,
    titles: Rc<VecModel<SharedString>>,
    settings: Rc<VecModel<SettingLine>>,
    problems: Rc<VecModel<SharedString>>,
    addable: Rc<VecModel<SharedString>>,
}

struct State {
    path: PathBuf,
    machine: Option<Machine>,
    /// `None` until it has been read.
    editor: Option<Editor>,
    page: (Group, Option<usize>),
    running: bool,
    lists: Lists,
    asked: Option<Asked>,
}

/// A question that waits for its answer.
#[derive(Debug, Clone)]
enum Asked {
    /// Leaving loses changes.
    Leave,
    /// A setting resets others.
    Consequence { path: String, text: String },
    /// It runs; saving shuts it down.
    Restart,
    /// Another program has changed it.
    Conflict,
}

/// What was read.
struct Read {
    machine: Machine,
    editor: Editor,
    files: Vec<String>,
    interfaces: Vec<String>,
}

impl EditorScreen {
    /// Opens the window for the machine at a path.
    ///
    /// # Errors
    /// Where there is no display.
    pub fn open(engine: &Engine, path: &Path) -> Result<Rc<Self>, PlatformError> {
        Self::open_then(engine, path, || {})
    }

    /// [`Self::open`]; `closed` is told when it is closed, such as for starting the machine then.
    ///
    /// # Errors
    /// Where there is no display.
    pub fn open_then(engine: &Engine, path: &Path, closed: impl Fn() + 'static) -> Result<Rc<Self>, PlatformError> {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let state = State {
            path: path.to_path_buf(),
            machine: None,
            editor: None,
            page: (Group::Information, None),
            running: false,
            lists: Lists::default(),
            asked: None,
        };
        let screen = Rc::new(Self {
            window: EditorWindow::new()?,
            engine: engine.clone(),
            state: RefCell::new(state),
            rows: Rows::default(),
            own: RefCell::default(),
            closed: Box::new(closed),
        });
        let (window, rows) = (&screen.window, &screen.rows);
        window.set_machine(name.into());
        window.set_pages(ModelRc::from(rows.pages.clone()));
        window.set_titles(ModelRc::from(rows.titles.clone()));
        window.set_settings(ModelRc::from(rows.settings.clone()));
        window.set_problems(ModelRc::from(rows.problems.clone()));
        window.set_addable(ModelRc::from(rows.addable.clone()));
        screen.connect();
        screen.read();
        screen.listen();
        screen.window.show()?;
        *screen.own.borrow_mut() = Some(screen.clone());
        Ok(screen)
    }

    /// The window.
    pub const fn window(&self) -> &EditorWindow {
        &self.window
    }

    fn close(&self) {
        if let Err(error) = self.window.hide() {
            tracing::error!("The window with the settings stays: {error}");
        }
        self.gone();
    }

    fn gone(&self) {
        if self.own.borrow_mut().take().is_some() {
            (self.closed)();
        }
    }

    fn connect(self: &Rc<Self>) {
        on!(self, on_show_page, |screen, index| screen.show_page(index));
        on!(self, on_edited, |screen, path, text| screen.set(&path, &text));
        on!(self, on_switched, |screen, path, on| screen.set(&path, if on { "true" } else { "false" }));
        on!(self, on_picked, |screen, path, index| screen.pick(&path, index));
        on!(self, on_suggested, |screen, path, text| screen.suggest(&path, &text));
        on!(self, on_acted, |screen, path| screen.act(&path));
        on!(self, on_set_back, |screen, path| screen.change(|editor| editor.reset(&path)));
        on!(self, on_add, |screen, index| screen.add(index));
        on!(self, on_remove, |screen| screen.remove());
        on!(self, on_move, |screen, by| screen.move_by(by));
        on!(self, on_save, |screen| screen.save(false));
        on!(self, on_cancel, |screen| screen.leave());
        on!(self, on_show_command, |screen| screen.ask_command());
        on!(self, on_hide_command, |screen| screen.window.set_command_shown(false));
        on!(self, on_answered, |screen, answer| screen.answered(answer));
        let weak = Rc::downgrade(self);
        self.window.window().on_close_requested(move || {
            let Some(screen) = weak.upgrade() else { return slint::CloseRequestResponse::HideWindow };
            if screen.may_leave() {
                screen.gone();
                slint::CloseRequestResponse::HideWindow
            } else {
                slint::CloseRequestResponse::KeepWindowShown
            }
        });
    }

    // Reading.

    fn read(self: &Rc<Self>) {
        let path = self.state.borrow().path.clone();
        let weak = Rc::downgrade(self);
        self.engine.look(
            move |library| read(library, &path),
            move |read| {
                let Some(screen) = weak.upgrade() else { return };
                match read {
                    Ok(read) => screen.taken(read),
                    Err(error) => screen.failed(&error),
                }
            },
        );
    }

    fn taken(self: &Rc<Self>, read: Read) {
        let mut state = self.state.borrow_mut();
        state.lists = Lists::new(&read.files, &read.interfaces);
        state.running = read.machine.activity == Activity::Running;
        state.machine = Some(read.machine);
        state.editor = Some(read.editor);
        drop(state);
        self.window.set_failure(SharedString::default());
        self.draw();
    }

    /// Follows whether the machine runs.
    fn listen(self: &Rc<Self>) {
        let library = self.engine.library().clone();
        let (engine, weak) = (self.engine.clone(), Rc::downgrade(self));
        let listened = slint::spawn_local(async move {
            let Ok(Ok(mut watch)) = engine.spawn(async move { library.watch() }).await else { return };
            loop {
                let heard = engine.spawn(async move {
                    let event = watch.next().await;
                    (watch, event)
                });
                let Ok((again, Some(event))) = heard.await else { return };
                watch = again;
                let Some(screen) = weak.upgrade() else { return };
                screen.heard(&event);
            }
        });
        debug_assert!(listened.is_ok(), "there is an event loop");
    }

    fn heard(&self, event: &LibraryEvent) {
        let mut state = self.state.borrow_mut();
        let running = match event {
            LibraryEvent::StateChanged { path, state: now } if *path == state.path => {
                !matches!(now, MachineState::Stopped | MachineState::Error)
            }
            _ => return,
        };
        if state.running != running {
            state.running = running;
            drop(state);
            self.draw();
        }
    }

    // Changing.

    /// Changes the draft, and draws what follows.
    fn change(&self, change: impl FnOnce(&mut Editor)) {
        if let Some(editor) = &mut self.state.borrow_mut().editor {
            change(editor);
        }
        self.window.set_failure(SharedString::default());
        self.draw();
    }

    fn set(self: &Rc<Self>, path: &str, text: &str) {
        let consequence = self.state.borrow().editor.as_ref().and_then(|editor| editor.consequence(path, text));
        match consequence {
            Some(consequence) => {
                let asked = Asked::Consequence { path: path.to_owned(), text: text.to_owned() };
                self.ask(asked, &format!("Change to {text}?"), &consequence.to_string(), &["Change", "Cancel"]);
            }
            None => self.change(|editor| editor.set(path, text)),
        }
    }

    fn pick(self: &Rc<Self>, path: &str, index: i32) {
        let chosen = self.setting(path).and_then(|setting| lines::choices(&setting).get(usize::try_from(index).ok()?).copied());
        if let Some(chosen) = chosen {
            self.set(path, chosen);
        }
    }

    fn suggest(self: &Rc<Self>, path: &str, text: &str) {
        if let Some(setting) = self.setting(path) {
            self.set(path, &lines::with_suggestion(&setting, text));
        }
    }

    fn setting(&self, path: &str) -> Option<view_model::editor::Setting> {
        let state = self.state.borrow();
        let (group, element) = state.page;
        state.editor.as_ref()?.settings(group, element).into_iter().find(|setting| setting.path == path)
    }

    /// The button of a setting: a random address, one more forwarded port, one port less.
    fn act(self: &Rc<Self>, path: &str) {
        if path.ends_with(".MacAddress") {
            self.set(path, &bundle::random_mac_address());
        } else if let Some(network) = path.strip_prefix("Network[").and_then(|rest| rest.strip_suffix("].PortForward")) {
            if let Ok(network) = network.parse() {
                self.change(|editor| drop(editor.add_forward(network)));
            }
        } else {
            self.change(|editor| _ = editor.remove(path));
        }
    }

    fn add(&self, index: i32) {
        let mut state = self.state.borrow_mut();
        let Some(editor) = &mut state.editor else { return };
        let device = usize::try_from(index).ok().and_then(|index| editor.addable().get(index).copied());
        if let Some(device) = device
            && let Some(path) = editor.add(device)
        {
            state.page = (device.group(), lines::element_of(&path));
        }
        drop(state);
        self.draw();
    }

    fn remove(&self) {
        let mut state = self.state.borrow_mut();
        let (group, element) = state.page;
        if let (Some(editor), Some(list), Some(index)) = (&mut state.editor, group.list(), element)
            && editor.remove(&format!("{list}[{index}]"))
        {
            let pages = editor.pages();
            let next = pages.iter().find(|page| page.group == group).map(|page| (group, page.element));
            state.page = next.unwrap_or((Group::Information, None));
        }
        drop(state);
        self.draw();
    }

    fn move_by(&self, by: i32) {
        let mut state = self.state.borrow_mut();
        let (group, element) = state.page;
        let to = element.and_then(|index| index.checked_add_signed(isize::try_from(by).ok()?));
        if let (Some(editor), Some(from), Some(to)) = (&mut state.editor, element, to)
            && editor.reorder(group, from, to)
        {
            state.page = (group, Some(to));
        }
        drop(state);
        self.draw();
    }

    fn show_page(&self, index: i32) {
        let mut state = self.state.borrow_mut();
        let page = state.editor.as_ref().and_then(|editor| editor.pages().into_iter().nth(usize::try_from(index).ok()?));
        if let Some(page) = page {
            state.page = (page.group, page.element);
        }
        drop(state);
        self.draw();
    }

    // Saving and leaving.

    fn save(self: &Rc<Self>, overwrite: bool) {
        let state = self.state.borrow();
        let (Some(editor), Some(machine)) = (state.editor.clone(), state.machine.clone()) else { return };
        let running = state.running;
        drop(state);
        match editor.save(running) {
            Err(_) => {}
            Ok(Save::Now) => self.store(editor, machine, overwrite),
            Ok(Save::WithRestart) => {
                let help = "It has to be shut down for that, and is started again";
                self.ask(Asked::Restart, &format!("Save while \"{}\" runs?", machine.name), help, &["Shut down and save", "Cancel"]);
            }
        }
    }

    fn store(self: &Rc<Self>, editor: Editor, machine: Machine, overwrite: bool) {
        self.window.set_working("Saving".into());
        let weak = Rc::downgrade(self);
        self.engine.look(
            move |library| store(library, &machine, &editor, overwrite),
            move |stored| {
                if let Some(screen) = weak.upgrade() {
                    screen.stored(stored);
                }
            },
        );
    }

    fn stored(self: &Rc<Self>, stored: library::Result<Machine>) {
        self.window.set_working(SharedString::default());
        match stored {
            Ok(machine) => {
                let mut state = self.state.borrow_mut();
                if let Some(editor) = &mut state.editor {
                    editor.saved();
                }
                state.path.clone_from(&machine.path);
                state.machine = Some(machine);
                drop(state);
                self.close();
            }
            // It was started, or somebody else has changed it, since it was read.
            Err(error) if error.kind() == ErrorKind::WrongState => {
                let help = error.hint().unwrap_or_default().to_owned();
                let path = self.state.borrow().path.clone();
                let weak = Rc::downgrade(self);
                self.engine.look(
                    move |library| library.machine_at(&path).is_ok_and(|machine| machine.activity == Activity::Running),
                    move |runs| {
                        let Some(screen) = weak.upgrade() else { return };
                        screen.state.borrow_mut().running = runs;
                        screen.draw();
                        if runs {
                            screen.save(false);
                        } else {
                            screen.ask(Asked::Conflict, &error.to_string(), &help, &["Save anyway", "Revert", "Cancel"]);
                        }
                    },
                );
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Shuts the machine down, saves, and starts it again.
    fn store_with_restart(self: &Rc<Self>) {
        let state = self.state.borrow();
        let (Some(editor), Some(machine)) = (state.editor.clone(), state.machine.clone()) else { return };
        drop(state);
        self.window.set_working(format!("Shutting down \"{}\"", machine.name).into());
        let library = self.engine.library().clone();
        let work = async move {
            library.stop(&machine, StopPlan::request(SHUTDOWN), |_| {}).await?;
            let after = {
                let library = library.clone();
                tokio::task::spawn_blocking(move || store(&library, &machine, &editor, false)).await
            };
            let machine = after.map_err(|error| library::Error::new(ErrorKind::Io, "Saving was given up").with_source(error))??;
            library.start(&machine, StartOptions::default(), |_| {}).await?;
            Ok(machine)
        };
        let weak = Rc::downgrade(self);
        self.engine.ask(work, move |stored: library::Result<Machine>| {
            if let Some(screen) = weak.upgrade() {
                screen.stored(stored);
            }
        });
    }

    /// Whether there is nothing to lose; asks otherwise.
    fn may_leave(self: &Rc<Self>) -> bool {
        let state = self.state.borrow();
        let Some(editor) = state.editor.as_ref().filter(|editor| editor.is_dirty()) else { return true };
        let can_save = editor.save(state.running).is_ok();
        let name = state.machine.as_ref().map(|machine| machine.name.clone()).unwrap_or_default();
        drop(state);
        let help = if can_save { "They are lost otherwise" } else { "Some of them cannot be saved as they are" };
        let answers: &[&str] = if can_save { &["Save", "Discard", "Keep editing"] } else { &["Keep editing", "Discard", "Cancel"] };
        let question = if can_save { format!("Save the changes to \"{name}\"?") } else { format!("Leave the changes to \"{name}\"?") };
        self.ask(Asked::Leave, &question, help, answers);
        false
    }

    fn leave(self: &Rc<Self>) {
        if self.may_leave() {
            self.close();
        }
    }

    // Asking.

    fn ask(&self, asked: Asked, question: &str, help: &str, answers: &[&str]) {
        self.state.borrow_mut().asked = Some(asked);
        let window = &self.window;
        window.set_question_help(help.into());
        window.set_answers(texts(answers.iter().copied()));
        window.set_question(question.into());
    }

    /// An answer, by its place among those that were offered; the last one always is to leave things as they are.
    fn answered(self: &Rc<Self>, answer: i32) {
        let asked = self.state.borrow_mut().asked.take();
        self.window.set_question(SharedString::default());
        match (asked, answer) {
            (Some(Asked::Leave), 0) => self.save(false),
            (Some(Asked::Leave), 1) => self.close(),
            (Some(Asked::Consequence { path, text }), 0) => self.change(|editor| editor.set(&path, &text)),
            (Some(Asked::Restart), 0) => self.store_with_restart(),
            (Some(Asked::Conflict), 0) => self.save(true),
            (Some(Asked::Conflict), 1) => self.read(),
            _ => {}
        }
    }

    fn ask_command(self: &Rc<Self>) {
        let state = self.state.borrow();
        let Some(machine) = state.machine.clone() else { return };
        let dirty = state.editor.as_ref().is_some_and(Editor::is_dirty);
        drop(state);
        let library = self.engine.library().clone();
        let asked = async move {
            let line = match library.client(&machine).await.map_err(|error| error.chain())? {
                Some(client) => client.command_line().await.map(|line| (line, true)).map_err(|error| machine::chain(&error))?,
                None => launch::command_line(&machine.path).await.map(|line| (line, false)).map_err(|error| machine::chain(&error))?,
            };
            Ok::<_, String>(line)
        };
        let weak = Rc::downgrade(self);
        self.engine.ask(asked, move |answer| {
            let Some(screen) = weak.upgrade() else { return };
            match answer {
                Ok((line, running)) => {
                    let mut note = match (running, dirty) {
                        (true, _) => "It runs with this now".to_owned(),
                        (false, true) => "Of what is saved; your changes are not in it yet".to_owned(),
                        (false, false) => String::new(),
                    };
                    for warning in &line.warnings {
                        note.push_str(if note.is_empty() { "" } else { "\n" });
                        note.push_str(&warning.message);
                    }
                    screen.window.set_command_note(note.into());
                    screen.window.set_command(line.shell.trim_end().into());
                    screen.window.set_command_shown(true);
                }
                Err(error) => screen.window.set_failure(error.into()),
            }
        });
    }

    fn failed(&self, error: &library::Error) {
        let failure = Failure::from(error);
        let mut words = failure.what;
        for more in failure.why.into_iter().chain(failure.hint) {
            words.push('\n');
            words.push_str(&more);
        }
        for problem in failure.problems {
            words.push_str(&format!("\n{}: {}", problem.key_path, problem.message));
        }
        self.window.set_failure(words.into());
    }

    // Drawing.

    fn draw(&self) {
        let mut state = self.state.borrow_mut();
        let State { editor, page, running, lists, .. } = &mut *state;
        let Some(editor) = editor else { return };
        let (window, rows) = (&self.window, &self.rows);
        let pages = editor.pages();
        let index = pages.iter().position(|other| (other.group, other.element) == *page).unwrap_or(0);
        let Some(shown) = pages.get(index) else { return };
        *page = (shown.group, shown.element);
        let titles: Vec<SharedString> = pages.iter().map(|page| say(page.title.clone())).collect();
        window.set_heading(titles.get(index).cloned().unwrap_or_default());
        let mut before = false;
        let entries = pages.iter().zip(&titles).map(|(page, title)| {
            let device = page.element.is_some();
            let first_device = device && !std::mem::replace(&mut before, device);
            EditorPage {
                title: title.clone(),
                problems: i32::try_from(page.problems).unwrap_or(i32::MAX),
                changed: page.changed,
                first_device,
            }
        });
        put(&rows.pages, entries.collect());
        put(&rows.titles, titles);
        let settings = editor.settings(page.0, page.1);
        let help = lines::help_of(editor, page.0, &settings);
        window.set_help(help.unwrap_or_default().into());
        put(&rows.settings, lists.lines(&settings, *running));
        put(&rows.problems, lines::problems(editor));
        window.set_problems_serious(editor.problems().iter().any(bundle::Problem::is_fatal));
        put(&rows.addable, editor.addable().into_iter().map(|device| SharedString::from(device_name(device))).collect());
        let count = pages.iter().filter(|other| other.group == page.0).count();
        window.set_device(page.1.is_some());
        window.set_movable_up(page.1.is_some_and(|index| index > 0));
        window.set_movable_down(page.1.is_some_and(|index| index + 1 < count));
        let save = editor.save(*running);
        window.set_can_save(save.is_ok());
        window.set_with_restart(*running && save.is_ok());
        window.set_page(i32::try_from(index).unwrap_or(0));
        let name = editor.draft().name().to_owned();
        drop(state);
        window.set_machine(name.into());
    }
}

const fn device_name(device: Device) -> &'static str {
    match device {
        Device::Display => "Display",
        Device::Network => "Network",
        Device::Serial => "Serial port",
        Device::Sound => "Sound",
        Device::Cd => "CD drive",
    }
}

fn read(library: &Library, path: &Path) -> library::Result<Read> {
    let machine = library.machine_at(path)?;
    let configuration = library.configuration(&machine)?.configuration;
    let names = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.take(1000).filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    };
    let files = names(machine.path.join("Data"));
    let interfaces = names(PathBuf::from("/sys/class/net"));
    Ok(Read { editor: Editor::new(configuration, Host::now()), machine, files, interfaces })
}

/// Saves, and finds the machine again: another name is another bundle.
fn store(library: &Library, machine: &Machine, editor: &Editor, overwrite: bool) -> library::Result<Machine> {
    library.edit(machine, |on_disk| editor.store(on_disk, overwrite))?;
    match library.machine_at(&machine.path) {
        Ok(same) if same.summary().is_some() => Ok(same),
        _ => {
            let mut machines = library.machines().into_iter();
            machines.find(|other| other.uuid.is_some() && other.uuid == machine.uuid).map_or_else(|| library.machine_at(&machine.path), Ok)
        }
    }
}
