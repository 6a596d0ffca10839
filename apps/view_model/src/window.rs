//! What a machine's window says over the picture, and what closing it does.

use machine::display::Shown;
use machine::{Ending, State};

use crate::home::Mark;
use crate::preferences::{CLOSING, Preferences};
use crate::{Command, Message, Question, texts};

/// What menus and buttons of the window say beside the commands.
pub mod words {
    pub use crate::texts::{
        PREFER_ACTUAL as ACTUAL, PREFER_FIT as FIT, PREFER_INTEGER as INTEGER, PREFER_LEAVE as LEAVE, PREFER_SHUT_DOWN as SHUT_DOWN,
        WINDOW_CANCEL as CANCEL, WINDOW_CANNOT as CANNOT, WINDOW_CD as CD, WINDOW_CHANGE as CHANGE, WINDOW_DISMISS as DISMISS,
        WINDOW_DISPLAY as DISPLAY, WINDOW_EMPTY as EMPTY, WINDOW_FLOPPY as FLOPPY, WINDOW_GONE as GONE, WINDOW_GONE_HELP as GONE_HELP,
        WINDOW_KEEPS as KEEPS, WINDOW_NO_SHARE as NO_SHARE, WINDOW_REMOVABLE as REMOVABLE, WINDOW_RESIZE as RESIZE, WINDOW_SAVED as SAVED,
        WINDOW_SHARE_LATER as SHARE_LATER, WINDOW_STOP_SHARING as STOP_SHARING,
    };
    pub use crate::texts::{
        WINDOW_CLEAR as CLEAR, WINDOW_COPY as COPY, WINDOW_LARGER as LARGER, WINDOW_PASTE as PASTE, WINDOW_SELECT_ALL as SELECT_ALL,
        WINDOW_SERIAL as SERIAL, WINDOW_SMALLER as SMALLER, WINDOW_TELL_SIZE as TELL_SIZE,
    };
    pub use crate::texts::{
        WINDOW_CLIPBOARD as CLIPBOARD, WINDOW_CLIPBOARD_BOTH as CLIPBOARD_BOTH, WINDOW_CLIPBOARD_OFF as CLIPBOARD_OFF,
        WINDOW_CLIPBOARD_TO_GUEST as CLIPBOARD_TO_GUEST, WINDOW_CLIPBOARD_TO_HOST as CLIPBOARD_TO_HOST, WINDOW_NO_AGENT as NO_AGENT,
        WINDOW_NO_USB as NO_USB, WINDOW_NOT_RUNNING as NOT_RUNNING, WINDOW_NOT_SENT as NOT_SENT, WINDOW_SEND_FILE as SEND_FILE,
        WINDOW_SENDING as SENDING, WINDOW_SENT as SENT, WINDOW_STOP_SENDING as STOP_SENDING,
    };
}

/// How the window is connected to the display, or the serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connection {
    /// Not yet.
    Opening,
    /// It is.
    Open,
    /// It was, and the other end is gone.
    Lost,
}

/// What is said over the picture, which is dimmed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// In a few words.
    pub title: Message,
    /// More.
    pub help: Option<Message>,
    /// The last lines of the backend's log, where they matter.
    pub log: Vec<String>,
    /// The buttons, the usual one first.
    pub commands: Vec<Command>,
}

impl Overlay {
    fn new(title: impl Into<Message>, commands: &[Command]) -> Self {
        Self { title: title.into(), help: None, log: Vec::new(), commands: commands.to_vec() }
    }
}

/// What is said over the picture; `None` where it speaks for itself. `ending` is how the last run ended.
pub fn overlay(state: State, connection: Connection, shown: &Shown, ending: Option<&Ending>) -> Option<Overlay> {
    match state {
        State::Stopped | State::Error => Some(match ending.filter(|ending| ending.reason.is_failure()) {
            Some(ending) => Overlay {
                log: ending.log.clone(),
                ..Overlay::new(Message::said(ending.message.clone()), &[Command::Start, Command::ShowLog])
            },
            None if state == State::Error => Overlay::new(texts::MARK_FAILED, &[Command::Start, Command::ShowLog]),
            None => Overlay::new(texts::MARK_STOPPED, &[Command::Start]),
        }),
        State::Paused => Some(Overlay::new(texts::MARK_PAUSED, &[Command::Resume])),
        // What hangs on its way can be ended; the others are over before anybody could press a button.
        State::Starting | State::Stopping => Some(Overlay::new(Mark::State(state).text(), &[Command::ForceStop])),
        State::Pausing | State::Resuming | State::Saving | State::Restoring => Some(Overlay::new(Mark::State(state).text(), &[])),
        State::Running => match (connection, shown) {
            (Connection::Opening, _) => Some(Overlay::new(texts::WINDOW_CONNECTING, &[])),
            (Connection::Lost, _) => Some(Overlay {
                help: Some(texts::WINDOW_LOST_HELP.into()),
                ..Overlay::new(texts::WINDOW_LOST, &[Command::OpenDisplay, Command::ShowLog])
            }),
            (Connection::Open, Shown::Off) => {
                Some(Overlay { help: Some(texts::WINDOW_OFF_HELP.into()), ..Overlay::new(texts::WINDOW_OFF, &[]) })
            }
            (Connection::Open, Shown::Unreadable(why)) => {
                Some(Overlay { help: Some(Message::said(&**why)), ..Overlay::new(texts::WINDOW_UNREADABLE, &[Command::ShowLog]) })
            }
            (Connection::Open, Shown::Surface(_)) => None,
        },
    }
}

/// What is said over a serial port's terminal; `None` where that speaks for itself. `ending` is how the last run ended.
pub fn terminal_overlay(state: State, connection: Connection, ending: Option<&Ending>) -> Option<Overlay> {
    match (state, connection) {
        (State::Running, Connection::Open) => None,
        (State::Running, Connection::Opening) => Some(Overlay::new(texts::WINDOW_PORT_CONNECTING, &[])),
        (State::Running, Connection::Lost) => Some(Overlay {
            help: Some(texts::WINDOW_LOST_HELP.into()),
            ..Overlay::new(texts::WINDOW_PORT_LOST, &[Command::OpenConsole, Command::ShowLog])
        }),
        (state, connection) => overlay(state, connection, &Shown::Off, ending),
    }
}

/// What there is to see of a machine: its first display where it has one, else its first serial port.
pub fn first_view(displays: usize, ports: usize) -> Command {
    if displays == 0 && ports > 0 { Command::OpenConsole } else { Command::OpenDisplay }
}

/// What the pill says while the guest has the keyboard: `caps` are the names of the keys that release it.
pub fn captured(caps: &[String]) -> Message {
    texts::WINDOW_CAPTURED.with([&caps.join(" ")])
}

/// What closing a window does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// It closes. The machine is as it was.
    Close,
    /// The guest is asked to power off, and the window closes at once: the machine is in the list until it has.
    ShutDown,
    /// A person is asked: leave it running, shut it down, or do not close.
    Ask(Question),
}

/// What closing a machine's window does. `others` says whether another window shows the machine.
pub fn closing(preferences: &Preferences, machine: &str, state: State, others: bool) -> Closing {
    // A guest that would not hear cannot be shut down; nothing is ever ended by closing a window.
    if others || state != State::Running {
        return Closing::Close;
    }
    match preferences.word(CLOSING).as_str() {
        "shut-down" => Closing::ShutDown,
        "ask" => Closing::Ask(Question { title: texts::QUESTION_CLOSE.with([&machine]), help: texts::QUESTION_CLOSE_HELP }),
        _ => Closing::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::EndReason;
    use machine::display::{Format, Size, Surface};
    use std::sync::Arc;

    fn picture() -> Shown {
        let surface = Surface::bytes(vec![0; 16], Size::new(2, 2).unwrap(), 8, Format::Bgrx).unwrap();
        Shown::Surface(Arc::new(surface))
    }

    #[test]
    fn a_running_guest_speaks_for_itself() {
        assert_eq!(overlay(State::Running, Connection::Open, &picture(), None), None);
        for (connection, shown) in [(Connection::Opening, Shown::Off), (Connection::Lost, picture()), (Connection::Open, Shown::Off)] {
            assert!(overlay(State::Running, connection, &shown, None).is_some());
        }
    }

    #[test]
    fn a_backend_that_died_is_told_with_its_log_and_a_way_on() {
        let ending =
            Ending { log: vec!["qemu: out of memory".into()], ..Ending::new(EndReason::BackendDied, "QEMU was ended by signal 9") };
        let said = overlay(State::Stopped, Connection::Lost, &picture(), Some(&ending)).unwrap();
        assert_eq!((said.title.to_string().as_str(), said.log.len(), said.commands[0]), ("QEMU was ended by signal 9", 1, Command::Start));
        let shut_down = Ending::new(EndReason::GuestShutdown, "The guest has powered off");
        assert_eq!(overlay(State::Stopped, Connection::Lost, &picture(), Some(&shut_down)).unwrap().title.to_string(), "Stopped");
    }

    #[test]
    fn every_state_says_something_and_its_buttons_work() {
        for state in State::ALL {
            for connection in [Connection::Opening, Connection::Open, Connection::Lost] {
                let Some(said) = overlay(state, connection, &Shown::Off, None) else { continue };
                assert!(!said.title.to_string().is_empty());
                let subject = crate::Subject { mark: Mark::State(state), capabilities: None, registered: false, working: false };
                for command in said.commands {
                    assert_eq!(command.available(Some(&subject)), Ok(()), "{command:?} in {state}");
                }
            }
        }
    }

    #[test]
    fn a_terminal_says_the_same_and_speaks_of_its_port() {
        assert_eq!(terminal_overlay(State::Running, Connection::Open, None), None);
        let lost = terminal_overlay(State::Running, Connection::Lost, None).unwrap();
        assert!(lost.title.to_string().contains("serial port") && lost.commands[0] == Command::OpenConsole);
        for state in State::ALL.into_iter().filter(|state| *state != State::Running) {
            let display = overlay(state, Connection::Lost, &Shown::Off, None);
            assert_eq!(terminal_overlay(state, Connection::Lost, None), display, "{state}");
        }
    }

    #[test]
    fn a_machine_is_seen_by_its_display_or_else_its_port() {
        assert_eq!(
            [first_view(1, 1), first_view(0, 1), first_view(0, 0)],
            [Command::OpenDisplay, Command::OpenConsole, Command::OpenDisplay]
        );
    }

    #[test]
    fn closing_a_window_never_ends_a_machine_unasked() {
        let mut preferences = Preferences::default();
        for state in State::ALL {
            assert_eq!(closing(&preferences, "Debian", state, false), Closing::Close);
        }
        preferences.set(CLOSING, "shut-down".into()).unwrap();
        assert_eq!(closing(&preferences, "Debian", State::Running, false), Closing::ShutDown);
        assert_eq!(closing(&preferences, "Debian", State::Running, true), Closing::Close, "another window shows it");
        assert_eq!(closing(&preferences, "Debian", State::Paused, false), Closing::Close, "it would not hear");
        preferences.set(CLOSING, "ask".into()).unwrap();
        assert!(
            matches!(closing(&preferences, "Debian", State::Running, false), Closing::Ask(question) if question.title.to_string().contains("Debian"))
        );
        assert_eq!(captured(&["Ctrl".into(), "Alt".into()]).to_string(), "Keyboard captured · Ctrl Alt releases it");
    }
}
