//! What every window of a machine does alike, whether it shows a display or a serial port: it carries out what is asked for, asks before,
//! tells what went wrong, and closes as its person prefers.

use std::cell::RefMut;
use std::path::Path;
use std::rc::Rc;

use machine::State;
use slint::{CloseRequestResponse, ModelRc, PlatformError, SharedString};
use view_model::window::{Closing, Overlay, closing, words};
use view_model::{Command, Failure, Message, Text};

use crate::StageButton;
use crate::display::menus::{Order, Orders, list};
use crate::display::orders::{self, Deed};
use crate::display::{MachineWindows, Shows};
use crate::standing::Standing;
use crate::words::say;

/// A window of a machine.
pub trait OfMachine: Sized + 'static {
    /// The windows of which it is one, as long as there are any.
    fn windows(&self) -> Option<Rc<MachineWindows>>;
    /// The machine.
    fn path(&self) -> &Path;
    /// What of it is shown.
    fn shows(&self) -> Shows;
    /// How it is.
    fn standing(&self) -> RefMut<'_, Standing>;
    /// What is on offer.
    fn orders(&self) -> RefMut<'_, Orders>;
    /// Brings the window up to date.
    fn refresh(&self);
    /// What stands at the window's foot, and the buttons there.
    fn set_note(&self, text: SharedString, buttons: ModelRc<StageButton>);
    /// Whether what stands there is a question about something that would be lost.
    fn set_note_serious(&self, serious: bool);
    /// Takes the window away.
    fn hide_window(&self) -> Result<(), PlatformError>;

    /// An order that only such a window has.
    fn order_here(self: &Rc<Self>, order: Order);
    /// A command that such a window carries out itself; false where it is no such.
    fn command_here(self: &Rc<Self>, command: Command) -> bool;
    /// Something was done to the machine.
    fn was_done(self: &Rc<Self>, _deed: &Deed) {}
    /// A person has read what stood at the window's foot.
    fn was_dismissed(self: &Rc<Self>) {}
    /// The window is about to close.
    fn let_go_of_all(self: &Rc<Self>) {}

    /// Something was asked for.
    fn ordered(self: &Rc<Self>, number: i32) {
        let order = self.orders().get(number);
        match order {
            Some(Order::Command(command)) => self.command(command),
            Some(Order::Confirmed(command)) => {
                self.dismiss();
                self.carry_out(Deed::Command(command));
            }
            Some(Order::Close(shut_down)) => {
                self.dismiss();
                self.close(shut_down);
            }
            Some(Order::Dismiss) => {
                self.dismiss();
                self.was_dismissed();
            }
            Some(Order::Head(head)) => self.open_other(Shows::Head(head)),
            Some(Order::Port(port)) => self.open_other(Shows::Port(port)),
            Some(order) => self.order_here(order),
            None => {}
        }
    }

    /// Opens another window of the machine.
    fn open_other(&self, shows: Shows) {
        let Some(windows) = self.windows() else { return };
        let opened = match shows {
            Shows::Head(head) => windows.open_head(self.path(), head),
            Shows::Port(port) => windows.open_port(self.path(), port),
        };
        if let Err(error) = opened {
            self.note(error.to_string().into(), false, &[]);
        }
    }

    /// A command of the toolbar, a menu or the buttons over what is shown.
    fn command(self: &Rc<Self>, command: Command) {
        let (name, paused) = {
            let standing = self.standing();
            (standing.name.clone(), standing.state == State::Paused)
        };
        if let Some(question) = command.question(&name) {
            let text = format!("{} {}", question.title, say(question.help));
            return self.note(text.into(), true, &[(command.label(), Order::Confirmed(command))]);
        }
        match command {
            Command::Pause if paused => self.carry_out(Deed::Command(Command::Resume)),
            Command::CloseWindow => {
                if self.close_requested() == CloseRequestResponse::HideWindow {
                    self.hide();
                }
            }
            Command::ShowLog => self.show_log(),
            command if self.command_here(command) => {}
            command => self.carry_out(Deed::Command(command)),
        }
    }

    /// Does something to the machine; what does not work is told.
    fn carry_out(self: &Rc<Self>, deed: Deed) {
        let Some(windows) = self.windows() else { return };
        let begins = matches!(deed, Deed::Command(Command::Start | Command::StartDisposable));
        self.standing().begins(begins);
        self.refresh();
        let work = orders::carry_out(windows.engine().library().clone(), self.path().to_path_buf(), deed.clone());
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |done| {
            let Some(screen) = screen.upgrade() else { return };
            screen.standing().ends(begins && done.is_err());
            match done {
                Ok(()) => screen.was_done(&deed),
                Err(failure) => {
                    let buttons: Vec<_> = failure.cures.iter().map(|cure| (cure.label(), Order::Command(*cure))).collect();
                    screen.note(in_words(&failure).into(), false, &buttons);
                }
            }
            screen.refresh();
        });
    }

    /// Tells where the log is, and its end.
    fn show_log(self: &Rc<Self>) {
        let Some(windows) = self.windows() else { return };
        let log = self.standing().ending.as_ref().map(|ending| ending.log.join("\n")).unwrap_or_default();
        let (screen, path) = (Rc::downgrade(self), self.path().to_path_buf());
        windows.engine().look(
            move |library| library.machine_at(&path).map(|machine| library.places().logs_of(&machine.id).display().to_string()),
            move |folder| {
                let Some(screen) = screen.upgrade() else { return };
                screen.note(format!("{}\n{log}", folder.unwrap_or_default()).trim().into(), false, &[]);
            },
        );
    }

    /// Whether the window closes now that somebody wants that.
    fn close_requested(self: &Rc<Self>) -> CloseRequestResponse {
        let Some(windows) = self.windows() else { return CloseRequestResponse::HideWindow };
        let others = windows.shows_elsewhere(self.path(), self.shows());
        let (name, state) = {
            let standing = self.standing();
            (standing.name.clone(), standing.state)
        };
        match closing(&windows.preferences(), &name, state, others) {
            Closing::Close => {
                self.closes();
                return CloseRequestResponse::HideWindow;
            }
            Closing::ShutDown => self.close(true),
            Closing::Ask(question) => {
                let text = format!("{} {}", question.title, say(question.help));
                self.note(text.into(), false, &[(words::SHUT_DOWN, Order::Close(true)), (words::LEAVE, Order::Close(false))]);
            }
        }
        CloseRequestResponse::KeepWindowShown
    }

    /// Closes the window; the guest is asked to power off first, or not. It is asked before: with its last window the app ends.
    fn close(self: &Rc<Self>, shut_down: bool) {
        let Some(windows) = self.windows().filter(|_| shut_down) else { return self.hide() };
        let work = orders::carry_out(windows.engine().library().clone(), self.path().to_path_buf(), Deed::PressPowerButton);
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |asked| match (asked, screen.upgrade()) {
            (Ok(()), Some(screen)) => screen.hide(),
            (Err(failure), Some(screen)) => screen.note(in_words(&failure).into(), false, &[]),
            (_, None) => {}
        });
    }

    /// Closes the window.
    fn hide(self: &Rc<Self>) {
        self.closes();
        if let Err(error) = self.hide_window() {
            tracing::error!(%error, "the window stays");
        }
    }

    /// The window closes: nothing is held any more, and nothing is ended.
    fn closes(self: &Rc<Self>) {
        self.let_go_of_all();
        if let Some(windows) = self.windows() {
            windows.closed(self.path(), self.shows());
        }
    }

    /// Tells something at the window's foot, or asks.
    fn note(&self, text: SharedString, serious: bool, buttons: &[(Text, Order)]) {
        let shown = {
            let mut orders = self.orders();
            let mut shown: Vec<StageButton> = buttons.iter().map(|(text, order)| orders.button(*text, order.clone())).collect();
            let asks = buttons.iter().any(|(_, order)| matches!(order, Order::Confirmed(_) | Order::Close(_)));
            let dismiss = if asks { words::CANCEL } else { words::DISMISS };
            shown.push(orders.button(dismiss, Order::Dismiss));
            shown
        };
        self.set_note_serious(serious);
        self.set_note(text, list(shown));
    }

    /// Takes the question, or what was told, away.
    fn dismiss(&self) {
        self.set_note(SharedString::default(), ModelRc::default());
    }
}

/// What is said over what is shown, as windows take it.
#[derive(Default)]
pub struct Said {
    /// In a few words.
    pub title: SharedString,
    /// What helps.
    pub help: SharedString,
    /// The end of the log.
    pub log: ModelRc<SharedString>,
    /// What can be done.
    pub buttons: ModelRc<StageButton>,
}

impl Said {
    /// This, with what it offers.
    pub fn new(said: Option<&Overlay>, orders: &mut Orders) -> Self {
        let Some(said) = said else { return Self::default() };
        Self {
            title: say(said.title.clone()),
            help: said.help.as_ref().map(|help: &Message| say(help.clone())).unwrap_or_default(),
            log: list(said.log.iter().map(SharedString::from).collect()),
            buttons: list(orders.over_picture(said)),
        }
    }
}

/// What happened, why, and what to do.
pub fn in_words(failure: &Failure) -> String {
    let mut said = failure.what.clone();
    for more in [&failure.why, &failure.hint].into_iter().flatten() {
        said.push_str(". ");
        said.push_str(more);
    }
    said
}
