//! The page of the selected machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bundle::Configuration;
use library::{DriveInfo, Library, Machine, SharedFolder};
use machine::State;
use slint::{ComponentHandle as _, Image, ModelRc, TimerMode, VecModel};
use supervisor_api::wire::Status;
use tokio::sync::mpsc::channel;
use tokio::task::JoinHandle;
use view_model::home::{Details, Entry, Fact, facts};
use view_model::window::first_view;
use view_model::{Command, Place};

use super::picture::{self, Picture};
use super::{HomeScreen, tone};
use crate::words::{number, say};
use crate::{FactLine, FailureText, HomeMenuLine, commands, rows};

/// What the page shows beside what the list knows.
#[derive(Default)]
pub(super) struct Page {
    path: Option<PathBuf>,
    details: Option<Loaded>,
    /// Which look at the machine is the newest.
    look: u64,
    /// What brings pictures of the running machine, and which machine that is.
    feed: Option<(PathBuf, JoinHandle<()>)>,
}

/// What has been read about a machine.
pub(super) struct Loaded {
    configuration: Option<Configuration>,
    status: Option<Status>,
    drives: Vec<DriveInfo>,
    share: Option<SharedFolder>,
    picture: Option<Picture>,
}

impl Loaded {
    async fn read(library: Library, machine: Machine, width: u32) -> Self {
        let status = library.status(&machine).await.ok();
        let is_live = status.as_ref().is_some_and(|status| status.state.is_live());
        let read = tokio::task::spawn_blocking(move || {
            let configuration = library.configuration(&machine).ok().map(|loaded| loaded.configuration);
            let drives = library.drives(&machine).unwrap_or_default();
            let share = library.shared_folder(&machine).ok();
            let picture = if is_live { None } else { picture::last(&machine.path, width) };
            (configuration, drives, share, picture)
        });
        let (configuration, drives, share, picture) = read.await.unwrap_or_default();
        Self { configuration, status, drives, share, picture }
    }
}

impl HomeScreen {
    /// Another machine is selected, or the selected one has changed.
    pub(super) fn selection_changed(&self) {
        let machine = self.home.borrow().selected().map(|entry| entry.machine().clone());
        let is_other = {
            let mut page = self.page.borrow_mut();
            page.look += 1;
            let path = machine.as_ref().map(|machine| machine.path.clone());
            let is_other = page.path != path;
            page.path = path;
            if is_other {
                page.details = None;
            }
            is_other
        };
        if is_other {
            self.model().set_picture(Image::default());
        }
        self.draw_page();
        self.follow_pictures();
        if let Some(machine) = machine {
            self.load(machine);
        }
    }

    /// The width of the stage, in pixels.
    fn stage_width(&self) -> u32 {
        let logical = self.model().get_stage_width();
        let width = if logical > 1.0 { logical } else { 616.0 };
        (width * self.window().window().scale_factor()) as u32
    }

    fn load(&self, machine: Machine) {
        let (this, look, path) = (self.this.clone(), self.page.borrow().look, machine.path.clone());
        let reading = Loaded::read(self.engine().library().clone(), machine, self.stage_width());
        self.engine().ask(reading, move |loaded| {
            let Some(screen) = this.upgrade().filter(|screen| screen.page.borrow().look == look) else { return };
            screen.loaded(&path, loaded);
        });
    }

    fn loaded(&self, path: &Path, loaded: Loaded) {
        if let Some(status) = &loaded.status {
            // Draws no line anew: what a machine can do is in menus only.
            self.home.borrow_mut().set_capabilities(path, status.capabilities);
        }
        if let Some(picture) = &loaded.picture {
            self.model().set_picture(picture.image());
        }
        let is_live = loaded.status.as_ref().is_some_and(|status| status.state.is_live());
        self.page.borrow_mut().details = Some(loaded);
        self.draw_page();
        if is_live {
            let tick = self.with(|screen| screen.draw_page());
            self.minute.start(TimerMode::Repeated, Duration::from_secs(60), tick);
        } else {
            self.minute.stop();
        }
    }

    /// Follows what the selected machine shows while it runs.
    fn follow_pictures(&self) {
        let running = {
            let home = self.home.borrow();
            let is_drawn = |entry: &&Entry| matches!(entry.mark().state(), State::Running | State::Paused);
            home.selected().filter(is_drawn).map(|entry| entry.machine().clone())
        };
        let mut page = self.page.borrow_mut();
        let is_followed = match (&page.feed, &running) {
            (Some((path, task)), Some(machine)) => *path == machine.path && !task.is_finished(),
            (None, None) => true,
            _ => false,
        };
        if is_followed {
            return;
        }
        if let Some((_, task)) = page.feed.take() {
            task.abort();
        }
        let Some(machine) = running else { return };
        let (sender, mut pictures) = channel(1);
        let path = machine.path.clone();
        let task = self.engine().spawn(picture::follow(self.engine().library().clone(), machine, self.stage_width(), sender));
        page.feed = Some((path.clone(), task));
        let this = self.this.clone();
        let drawing = slint::spawn_local(async move {
            while let Some(picture) = pictures.recv().await {
                let Some(screen) = this.upgrade() else { break };
                if screen.page.borrow().feed.as_ref().is_none_or(|(followed, _)| *followed != path) {
                    break;
                }
                screen.model().set_picture(picture.image());
            }
        });
        debug_assert!(drawing.is_ok());
    }

    /// Draws the page: what the list knows at once, the rest when it has been read.
    pub(super) fn draw_page(&self) {
        let (home, page, model) = (self.home.borrow(), self.page.borrow(), self.model());
        let Some(entry) = home.selected() else {
            model.set_has_machine(false);
            rows::put(&self.models.power, Vec::new());
            rows::put(&self.models.files, Vec::new());
            return;
        };
        let machine = entry.machine();
        let state = entry.mark().state();
        model.set_has_machine(true);
        model.set_name(machine.name.as_str().into());
        model.set_state(say(entry.mark().text()));
        model.set_tone(tone(entry.mark().tone()));
        model.set_live(state.is_live());
        let status = page.details.as_ref().and_then(|details| details.status.as_ref());
        let has_ports = status.is_some_and(|status| !status.consoles.is_empty());
        let can = |command| commands::is_here(command) && home.available(command).is_ok() && (command != Command::OpenConsole || has_ports);

        let first = first_of(status);
        // What a person most likely wants is the one strong button; what else they often want is beside it.
        let often: &[Command] = match state {
            State::Running if first == Command::OpenDisplay => &[first, Command::OpenConsole, Command::Pause, Command::ShutDown],
            State::Running => &[first, Command::Pause, Command::ShutDown],
            State::Paused => &[Command::Resume, first, Command::ForceStop],
            state if state.is_live() => &[Command::ForceStop],
            _ => &[Command::Start, Command::Settings],
        };
        let mut often: Vec<_> = often.iter().copied().filter(|command| can(*command)).collect();
        let primary = often
            .iter()
            .position(|command| matches!(command, Command::OpenDisplay | Command::OpenConsole | Command::Resume | Command::Start));
        let primary = primary.filter(|place| *place == 0).map(|place| often.remove(place));
        model.set_has_primary(primary.is_some());
        if let Some(primary) = primary {
            model.set_primary(self.action(primary, true));
        }
        rows::put(&self.models.tools, often.into_iter().map(|command| self.action(command, true)).collect());
        let menu = |place: Place| {
            let offered = Command::ALL.iter().copied().filter(move |command| command.place() == place && commands::is_of_machine(*command));
            offered.filter(|command| can(*command)).map(|command| super::menu_line(command, true)).collect::<Vec<HomeMenuLine>>()
        };
        rows::put(&self.models.power, menu(Place::Machine));
        rows::put(&self.models.files, menu(Place::File));

        let failure = entry.failure();
        model.set_broken(failure.is_some());
        if let Some(failure) = failure {
            let text = |text: Option<String>| text.unwrap_or_default().into();
            model.set_failure(FailureText { what: failure.what.into(), why: text(failure.why), hint: text(failure.hint) });
            model.set_problems(rows::texts(failure.problems.iter().map(ToString::to_string)));
            let cures =
                failure.cures.into_iter().filter(|command| commands::is_here(*command)).map(|command| self.action(command, can(command)));
            model.set_cures(ModelRc::new(VecModel::from_iter(cures)));
        }
        self.draw_facts(entry, page.details.as_ref());
        model.set_has_edit(commands::is_here(Command::Settings));
        model.set_edit(self.action(Command::Settings, can(Command::Settings)));
        let shares = page.details.as_ref().and_then(|details| details.share.as_ref());
        model.set_has_share(shares.is_some_and(|share| share.folder.is_none()));
        model.set_share(self.action(Command::Share, can(Command::Share)));
        model.set_show_log(self.action(Command::ShowLog, true));
    }

    fn draw_facts(&self, entry: &Entry, loaded: Option<&Loaded>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let details = Details {
            machine: entry.machine(),
            configuration: loaded.and_then(|loaded| loaded.configuration.as_ref()),
            status: loaded.and_then(|loaded| loaded.status.as_ref()),
            drives: loaded.map_or(&[], |loaded| &loaded.drives),
            share: loaded.and_then(|loaded| loaded.share.as_ref()),
            now,
        };
        let (mut known, mut sharing, mut failed) = (Vec::new(), Vec::new(), None);
        for fact in facts(&details) {
            match fact.action.as_ref().map(|(command, _)| *command) {
                Some(Command::ShowLog) => failed = Some(fact),
                Some(Command::Insert | Command::Eject | Command::Share) => sharing.push(fact_line(fact)),
                _ => known.push(fact_line(fact)),
            }
        }
        rows::put(&self.models.facts, known);
        rows::put(&self.models.sharing, sharing);
        let model = self.model();
        // A run that failed is told until the next one.
        let failed = failed.filter(|_| !entry.mark().state().is_live());
        model.set_last_run(failed.map(|fact| say(fact.value)).unwrap_or_default());
        let notes =
            loaded.and_then(|loaded| loaded.configuration.as_ref()).and_then(|configuration| configuration.information().notes.clone());
        model.set_notes(notes.unwrap_or_default().into());
    }

    /// What the last run said at its end.
    pub(super) fn last_words(&self) -> Vec<String> {
        let page = self.page.borrow();
        let last = page.details.as_ref().and_then(|details| details.status.as_ref()).and_then(|status| status.last_run.as_ref());
        last.map(|run| run.ending.log.clone()).unwrap_or_default()
    }

    /// The first serial port that has a terminal.
    pub(crate) fn first_port(&self) -> usize {
        let page = self.page.borrow();
        let status = page.details.as_ref().and_then(|details| details.status.as_ref());
        status.and_then(|status| status.consoles.first()).map_or(0, |port| port.index)
    }

    /// The first drive that a medium can be put into.
    pub(crate) fn removable_drive(&self) -> Option<String> {
        let page = self.page.borrow();
        let drives = page.details.as_ref().map(|details| details.drives.as_slice()).unwrap_or_default();
        drives.iter().find(|drive| drive.removable).map(|drive| drive.id.clone())
    }

    /// Reads what the page shows again.
    pub(crate) fn reload(&self) {
        let machine = self.home.borrow().selected().map(|entry| entry.machine().clone());
        if let Some(machine) = machine {
            self.page.borrow_mut().look += 1;
            self.load(machine);
        }
    }
}

fn first_of(status: Option<&Status>) -> Command {
    status.map_or(Command::OpenDisplay, |status| first_view(status.displays.len(), status.consoles.len()))
}

fn fact_line(fact: Fact) -> FactLine {
    let meter = fact.meter.map_or(-1.0, |(used, of)| if of == 0 { 0.0 } else { used as f32 / of as f32 });
    let (value, more) = match fact.action {
        // A long path says most at its end.
        Some((Command::ShowFiles, _)) => {
            let path = say(fact.value);
            let name = Path::new(path.as_str()).file_name().map(|name| name.to_string_lossy().into_owned());
            (name.map_or_else(|| path.clone(), Into::into), Some(path))
        }
        _ => (say(fact.value), fact.more.map(Into::into)),
    };
    let action = fact.action.filter(|(command, _)| *command != Command::ShowFiles && commands::is_here(*command));
    let (action, command, drive) = match action {
        Some((command, drive)) => (say(command.label()), number(command), drive),
        None => (Default::default(), -1, String::new()),
    };
    FactLine { label: say(fact.label), value, more: more.unwrap_or_default(), meter, action, command, drive: drive.into() }
}
