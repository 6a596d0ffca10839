//! Everything that can be asked for: one list behind menu, toolbar, context menu and shortcuts.

use machine::lifecycle::{Operation, rule};
use machine::{Capabilities, State};

use crate::home::Mark;
use crate::{Message, Platform, Shortcut, Text, texts};

/// Where a command's menu entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Of the app.
    App,
    /// "File".
    File,
    /// "Machine": what starts and stops.
    Machine,
    /// "View".
    View,
}

/// What a command is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// How the machine is.
    pub mark: Mark,
    /// What it can do, where that is known. What is not known is not refused: whoever does it says.
    pub capabilities: Option<Capabilities>,
    /// Whether it is only remembered and its bundle lies elsewhere.
    pub registered: bool,
    /// Whether something is being done to it.
    pub working: bool,
}

/// Why a command cannot be asked for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No machine is selected.
    NoMachine,
    /// It does not run.
    NotRunning,
    /// It runs.
    Running,
    /// It is neither running nor paused, but on its way.
    OnItsWay,
    /// It is paused, and the guest would not hear.
    Paused,
    /// It is not paused.
    NotPaused,
    /// Its configuration cannot be read.
    Broken,
    /// Its bundle is not there.
    Unavailable,
    /// Something is being done to it.
    Working,
    /// It belongs to the library's own folder.
    NotRegistered,
    /// This machine cannot do that.
    Unable,
}

impl Refusal {
    /// In words.
    pub fn message(self) -> Message {
        let text = match self {
            Self::NoMachine => texts::REFUSED_NO_MACHINE,
            Self::NotRunning => texts::REFUSED_NOT_RUNNING,
            Self::Running => texts::REFUSED_RUNNING,
            Self::OnItsWay => texts::REFUSED_ON_ITS_WAY,
            Self::Paused => texts::REFUSED_PAUSED,
            Self::NotPaused => texts::REFUSED_NOT_PAUSED,
            Self::Broken => texts::REFUSED_BROKEN,
            Self::Unavailable => texts::REFUSED_UNAVAILABLE,
            Self::Working => texts::REFUSED_WORKING,
            Self::NotRegistered => texts::REFUSED_NOT_REGISTERED,
            Self::Unable => texts::REFUSED_UNABLE,
        };
        text.into()
    }
}

/// Declares the commands: `Name = place, "id", "label", shortcut on Linux, shortcut on a Mac;`.
macro_rules! commands {
    ($($(#[doc = $doc:literal])+ $name:ident = $place:ident, $id:literal, $label:literal, $linux:expr, $mac:expr;)*) => {
        /// Something that can be asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Command { $($(#[doc = $doc])+ $name,)* }

        impl Command {
            /// Every command, in the order of the menus.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Where its menu entry is.
            pub const fn place(self) -> Place {
                match self { $(Self::$name => Place::$place),* }
            }

            /// What it is called. An ellipsis says that a question follows.
            pub const fn label(self) -> Text {
                match self { $(Self::$name => Text { id: $id, english: $label }),* }
            }

            /// The keys that it goes by.
            pub const fn shortcut(self, platform: Platform) -> Option<Shortcut> {
                match (self, platform) { $((Self::$name, Platform::Linux) => $linux, (Self::$name, Platform::Mac) => $mac),* }
            }
        }
    };
}

const fn ctrl(key: &'static str) -> Option<Shortcut> {
    Some(Shortcut::command(key))
}

const fn ctrl_shift(key: &'static str) -> Option<Shortcut> {
    Some(Shortcut::command(key).shifted())
}

const fn plain(key: &'static str) -> Option<Shortcut> {
    Some(Shortcut::plain(key))
}

commands! {
    /// Opens the wizard.
    NewMachine = File, "command.new", "New machine…", ctrl("N"), ctrl("N");
    /// Asks for a bundle, a disk image or a CD image, and makes a machine of it.
    Import = File, "command.import", "Import…", ctrl("O"), ctrl("O");
    /// Looks for machines by name.
    Search = File, "command.search", "Search machines", ctrl("F"), ctrl("F");
    /// Opens the settings of the selected machine.
    Settings = File, "command.settings", "Settings", ctrl("E"), ctrl("E");
    /// Gives it another name.
    Rename = File, "command.rename", "Rename…", plain("F2"), None;
    /// Makes another one like it.
    Clone = File, "command.clone", "Clone…", ctrl_shift("D"), ctrl("D");
    /// Moves its bundle to another folder.
    Move = File, "command.move", "Move…", None, None;
    /// Writes a copy of its bundle to a file or folder.
    Export = File, "command.export", "Export…", None, None;
    /// Shows its bundle in the file manager.
    ShowFiles = File, "command.show_files", "Show in file manager", None, ctrl_shift("R");
    /// Shows what it and its backend have said.
    ShowLog = File, "command.show_log", "Show log", ctrl("L"), ctrl("L");
    /// Forgets a machine whose bundle lies elsewhere. The bundle stays.
    Unregister = File, "command.unregister", "Remove from list", None, None;
    /// Puts its bundle into the trash.
    Delete = File, "command.delete", "Move to trash…", plain("Delete"), ctrl("Delete");
    /// Closes the window. Machines run on.
    CloseWindow = File, "command.close_window", "Close window", ctrl("W"), ctrl("W");

    /// Starts it.
    Start = Machine, "command.start", "Start", ctrl("Return"), ctrl("Return");
    /// Starts it; what the guest writes is thrown away at the end.
    StartDisposable = Machine, "command.start_disposable", "Start without saving changes", None, None;
    /// Lets it go on.
    Resume = Machine, "command.resume", "Resume", ctrl_shift("P"), ctrl_shift("P");
    /// Lets it stand still.
    Pause = Machine, "command.pause", "Pause", ctrl("P"), ctrl("P");
    /// Asks the guest to power off.
    ShutDown = Machine, "command.shut_down", "Shut down", ctrl("K"), ctrl("K");
    /// Asks the guest to power off, and starts it again.
    Restart = Machine, "command.restart", "Restart", ctrl("R"), ctrl("R");
    /// Presses the reset button.
    Reset = Machine, "command.reset", "Reset…", None, None;
    /// Ends it without asking the guest.
    ForceStop = Machine, "command.force_stop", "Force off…", ctrl_shift("K"), ctrl_shift("K");
    /// Opens a window with its screen.
    OpenDisplay = Machine, "command.open_display", "Open display", ctrl("D"), ctrl_shift("O");
    /// Opens a window with its serial port.
    OpenConsole = Machine, "command.open_console", "Open terminal", ctrl("T"), ctrl("T");
    /// Saves a picture of its screen.
    Screenshot = Machine, "command.screenshot", "Take screenshot", ctrl_shift("S"), ctrl_shift("S");
    /// Puts a medium into a drive.
    Insert = Machine, "command.insert", "Insert medium…", None, None;
    /// Takes a medium out of a drive.
    Eject = Machine, "command.eject", "Eject", None, None;
    /// Chooses the folder that it shares.
    Share = Machine, "command.share", "Share folder…", None, None;

    /// Fills the screen with the window, or no longer.
    FullScreen = View, "command.full_screen", "Full screen", plain("F11"), Some(Shortcut { control: true, ..Shortcut::command("F") });
    /// Gives keyboard and mouse to the guest, or takes them back.
    Capture = View, "command.capture", "Capture keyboard", None, None;
    /// Sends keys that the host keeps for itself.
    SendKeys = View, "command.send_keys", "Send keys", None, None;

    /// Opens the preferences.
    Preferences = App, "command.preferences", "Preferences", ctrl(","), ctrl(",");
    /// Says what this program is, and whose work is in it.
    About = App, "command.about", "About Vivarium", None, None;
    /// Ends the app. Machines run on.
    Quit = App, "command.quit", "Quit", ctrl("Q"), ctrl("Q");
}

impl Command {
    /// Whether it can be asked for now, of `subject`, the selected machine.
    ///
    /// # Errors
    /// Why not.
    pub fn available(self, subject: Option<&Subject>) -> Result<(), Refusal> {
        if matches!(
            self,
            Self::NewMachine
                | Self::Import
                | Self::Search
                | Self::CloseWindow
                | Self::FullScreen
                | Self::Preferences
                | Self::About
                | Self::Quit
        ) {
            return Ok(());
        }
        let subject = subject.ok_or(Refusal::NoMachine)?;
        let state = subject.mark.state();
        let able =
            |can: fn(&Capabilities) -> bool| if subject.capabilities.as_ref().is_none_or(can) { Ok(()) } else { Err(Refusal::Unable) };
        match self {
            Self::Start => subject.operation(Operation::Start),
            Self::StartDisposable => subject.operation(Operation::Start).and_then(|()| able(|can| can.disposable)),
            Self::Resume => subject.operation(Operation::Resume),
            Self::Pause => subject.operation(Operation::Pause).and_then(|()| able(|can| can.pause)),
            Self::ShutDown | Self::Restart => subject.operation(Operation::RequestStop).and_then(|()| able(|can| can.request_stop)),
            Self::Reset => subject.operation(Operation::Reset).and_then(|()| able(|can| can.reset)),
            // What hangs must be stoppable, whatever else goes on.
            Self::ForceStop if state.is_live() => Ok(()),
            Self::ForceStop => Err(Refusal::NotRunning),
            Self::Screenshot => subject.live().and_then(|()| able(|can| can.screenshot)),
            Self::OpenDisplay => subject.live().and_then(|()| able(|can| can.viewers)),
            Self::OpenConsole | Self::Capture | Self::SendKeys => subject.live(),
            Self::Insert | Self::Eject if state.is_live() => able(|can| can.media),
            Self::Insert | Self::Eject | Self::Share | Self::Settings => subject.readable(),
            Self::ShowLog => Ok(()),
            Self::ShowFiles if subject.mark == Mark::Unavailable => Err(Refusal::Unavailable),
            Self::ShowFiles => Ok(()),
            Self::Unregister if !subject.registered => Err(Refusal::NotRegistered),
            Self::Unregister => subject.still(),
            Self::Delete if subject.mark == Mark::Unavailable => Err(Refusal::Unavailable),
            Self::Delete => subject.still(),
            Self::Rename | Self::Clone | Self::Move | Self::Export => subject.still().and_then(|()| subject.readable()),
            _ => Ok(()),
        }
    }
}

/// What is asked before a command is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub title: Message,
    /// What would be lost.
    pub help: Text,
}

impl Command {
    /// What is asked first, where something would be lost.
    pub fn question(self, machine: &str) -> Option<Question> {
        let (title, help) = match self {
            Self::Delete => (texts::QUESTION_DELETE, texts::QUESTION_DELETE_HELP),
            Self::ForceStop => (texts::QUESTION_FORCE_STOP, texts::QUESTION_FORCE_STOP_HELP),
            Self::Reset => (texts::QUESTION_RESET, texts::QUESTION_RESET_HELP),
            _ => return None,
        };
        Some(Question { title: title.with([&machine]), help })
    }

    /// The title of the work that it begins ([`crate::home::Works::begin`]), where it is not done at once. `name` is the machine's, or the
    /// file's that is imported.
    pub fn work(self, name: &str) -> Option<Message> {
        let text = match self {
            Self::NewMachine => texts::WORK_CREATE,
            Self::Import => texts::WORK_IMPORT,
            Self::Clone => texts::WORK_CLONE,
            Self::Export => texts::WORK_EXPORT,
            Self::Move => texts::WORK_MOVE,
            Self::Delete => texts::WORK_DELETE,
            Self::Start | Self::StartDisposable => texts::WORK_START,
            Self::ShutDown => texts::WORK_STOP,
            Self::Restart => texts::WORK_RESTART,
            _ => return None,
        };
        Some(text.with([&name]))
    }
}

impl Subject {
    /// Whether the lifecycle allows it.
    fn operation(&self, operation: Operation) -> Result<(), Refusal> {
        let state = self.mark.state();
        if rule(operation).from.contains(&state) {
            return if state.is_live() { self.free() } else { self.free().and_then(|()| self.readable()) };
        }
        Err(match (operation, state) {
            (_, State::Stopped | State::Error) => Refusal::NotRunning,
            (Operation::Start, _) => Refusal::Running,
            (_, state) if state.is_transitional() => Refusal::OnItsWay,
            (Operation::Resume, _) => Refusal::NotPaused,
            _ => Refusal::Paused,
        })
    }

    fn free(&self) -> Result<(), Refusal> {
        if self.working || self.mark == Mark::Busy { Err(Refusal::Working) } else { Ok(()) }
    }

    fn live(&self) -> Result<(), Refusal> {
        if self.mark.state().is_live() { Ok(()) } else { Err(Refusal::NotRunning) }
    }

    /// Nobody uses it.
    fn still(&self) -> Result<(), Refusal> {
        if self.mark.state().is_live() { Err(Refusal::Running) } else { self.free() }
    }

    fn readable(&self) -> Result<(), Refusal> {
        match self.mark {
            Mark::Broken => Err(Refusal::Broken),
            Mark::Unavailable => Err(Refusal::Unavailable),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn subject(mark: Mark) -> Subject {
        Subject { mark, capabilities: None, registered: false, working: false }
    }

    fn offered(mark: Mark) -> HashSet<Command> {
        Command::ALL.iter().copied().filter(|command| command.available(Some(&subject(mark))).is_ok()).collect()
    }

    #[test]
    fn no_two_commands_share_a_shortcut_or_an_id() {
        for platform in [Platform::Linux, Platform::Mac] {
            let mut taken = HashMap::new();
            for command in Command::ALL {
                if let Some(shortcut) = command.shortcut(platform) {
                    assert_eq!(taken.insert(shortcut, *command), None, "{command:?} on {platform:?}");
                }
            }
        }
        let ids: HashSet<&str> = Command::ALL.iter().map(|command| command.label().id).collect();
        assert_eq!(ids.len(), Command::ALL.len());
    }

    #[test]
    fn labels_are_verbs_in_sentence_case() {
        for command in Command::ALL {
            let label = command.label().english;
            assert!(label.starts_with(char::is_uppercase) && !label.contains("...") && !label.ends_with('.'), "{label}");
            let capitals = label.split(' ').skip(1).filter(|word| word.starts_with(char::is_uppercase)).collect::<Vec<_>>();
            assert!(capitals.is_empty() || capitals == ["Vivarium"], "{label}");
        }
        assert_eq!(Command::Clone.shortcut(Platform::Linux).unwrap().label(Platform::Linux), "Ctrl+Shift+D");
        assert_eq!(Command::FullScreen.shortcut(Platform::Mac).unwrap().label(Platform::Mac), "⌃⌘F");
    }

    #[test]
    fn a_stopped_machine_starts_and_a_running_one_stops() {
        let stopped = offered(Mark::State(State::Stopped));
        assert!(stopped.contains(&Command::Start) && stopped.contains(&Command::Delete) && !stopped.contains(&Command::ShutDown));
        let running = offered(Mark::State(State::Running));
        assert!(running.contains(&Command::ShutDown) && running.contains(&Command::Pause) && running.contains(&Command::OpenDisplay));
        assert!(!running.contains(&Command::Start) && !running.contains(&Command::Delete));
        let paused = offered(Mark::State(State::Paused));
        assert!(paused.contains(&Command::Resume) && !paused.contains(&Command::ShutDown));
    }

    #[test]
    fn what_hangs_can_be_ended_and_what_is_broken_thrown_away() {
        for state in State::ALL.into_iter().filter(|state| state.is_live()) {
            let hangs = Subject { working: true, ..subject(Mark::State(state)) };
            assert_eq!(Command::ForceStop.available(Some(&hangs)), Ok(()), "{state}");
        }
        let broken = offered(Mark::Broken);
        assert!(broken.contains(&Command::Delete) && broken.contains(&Command::ShowFiles));
        assert_eq!(Command::Start.available(Some(&subject(Mark::Broken))), Err(Refusal::Broken));
        assert_eq!(Command::Settings.available(Some(&subject(Mark::Unavailable))), Err(Refusal::Unavailable));
    }

    #[test]
    fn only_what_would_lose_something_asks_and_its_label_says_so() {
        for command in Command::ALL {
            if let Some(question) = command.question("Debian") {
                assert!(command.label().english.ends_with('…') && question.title.to_string().contains("\"Debian\""), "{command:?}");
            }
        }
        assert!(Command::ForceStop.question("x").is_some() && Command::ShutDown.question("x").is_none());
        assert_eq!(Command::Clone.work("Debian").unwrap().to_string(), "Cloning \"Debian\"");
        assert_eq!(Command::Pause.work("Debian"), None, "it is done before anybody could read that");
    }

    #[test]
    fn without_a_machine_only_the_app_can_be_asked() {
        assert_eq!(Command::Start.available(None), Err(Refusal::NoMachine));
        assert_eq!(Command::NewMachine.available(None), Ok(()));
        let unable = Subject { capabilities: Some(Capabilities::default()), ..subject(Mark::State(State::Running)) };
        assert_eq!(Command::Pause.available(Some(&unable)), Err(Refusal::Unable));
    }
}
