//! What is asked for in a terminal's window, and what becomes of it.

use std::rc::Rc;

use machine::State;
use slint::{CloseRequestResponse, ComponentHandle as _};
use view_model::Command;
use view_model::window::{Closing, closing, words};

use super::screen::TerminalScreen;
use crate::display::Shows;
use crate::display::act::in_words;
use crate::display::menus::{Deed, Order, say};
use crate::display::orders::{self, Deed as OfMachine};

impl TerminalScreen {
    /// Something was asked for.
    pub(super) fn ordered(self: &Rc<Self>, number: i32) {
        let order = self.orders.borrow().get(number);
        match order {
            Some(Order::Command(command)) => self.command(command),
            Some(Order::Confirmed(command)) => {
                self.dismiss();
                self.carry_out(OfMachine::Command(command));
            }
            Some(Order::Close(shut_down)) => {
                self.dismiss();
                self.close(shut_down);
            }
            Some(Order::Dismiss) => self.dismiss(),
            Some(Order::Terminal(deed)) => self.carry_out_here(deed),
            Some(Order::Head(head)) => self.open_other(Shows::Head(head)),
            Some(Order::Port(port)) => self.open_other(Shows::Port(port)),
            // What only displays offer.
            _ => {}
        }
    }

    fn open_other(&self, shows: Shows) {
        let Some(windows) = self.windows.upgrade() else { return };
        let opened = match shows {
            Shows::Head(head) => windows.open_head(&self.path, head),
            Shows::Port(port) => windows.open_port(&self.path, port),
        };
        if let Err(error) = opened {
            self.failed(view_model::Message::said(error.to_string()));
        }
    }

    /// A command of the toolbar, a menu or the buttons over the terminal.
    fn command(self: &Rc<Self>, command: Command) {
        let (name, paused) = {
            let inner = self.inner.borrow();
            (inner.standing.name.clone(), inner.standing.state == State::Paused)
        };
        if let Some(question) = command.question(&name) {
            let text = format!("{} {}", question.title, say(question.help));
            return self.note(text.into(), true, &[(command.label(), Order::Confirmed(command))]);
        }
        match command {
            Command::Pause if paused => self.carry_out(OfMachine::Command(Command::Resume)),
            Command::CloseWindow => {
                if self.close_requested() == CloseRequestResponse::HideWindow {
                    self.hide();
                }
            }
            Command::OpenConsole => drop(self.again.send(())),
            Command::ShowLog => self.show_log(),
            command => self.carry_out(OfMachine::Command(command)),
        }
    }

    /// Does something in the terminal.
    pub(super) fn carry_out_here(&self, deed: Deed) {
        match deed {
            Deed::Copy => {
                let selected = self.terminal.lock().selected();
                if let Some(selected) = selected {
                    self.window.invoke_put_clipboard(selected.into());
                }
            }
            Deed::Paste if self.is_open() => {
                let text = self.window.invoke_get_clipboard();
                let bytes = self.terminal.lock().paste(&text);
                self.send(bytes);
            }
            Deed::Paste => {}
            Deed::SelectAll => {
                self.terminal.lock().select_all();
                self.draw();
            }
            Deed::Clear => {
                self.terminal.lock().clear();
                self.draw();
            }
            Deed::Zoom(0) => self.zoom_back(),
            Deed::Zoom(by) => self.zoom(by * 2),
            Deed::TellSize if self.is_open() => {
                let size = self.terminal.lock().size();
                self.send(format!("stty rows {} cols {}\r", size.rows, size.columns).into_bytes());
            }
            Deed::TellSize => {}
        }
    }

    /// Does something to the machine; what does not work is told.
    fn carry_out(self: &Rc<Self>, deed: OfMachine) {
        let Some(windows) = self.windows.upgrade() else { return };
        let begins = matches!(deed, OfMachine::Command(Command::Start | Command::StartDisposable));
        self.inner.borrow_mut().standing.begins(begins);
        self.refresh();
        let work = orders::carry_out(windows.engine().library().clone(), self.path.clone(), deed);
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |done| {
            let Some(screen) = screen.upgrade() else { return };
            screen.inner.borrow_mut().standing.ends(begins && done.is_err());
            if let Err(failure) = done {
                let buttons: Vec<_> = failure.cures.iter().map(|cure| (cure.label(), Order::Command(*cure))).collect();
                screen.note(in_words(&failure).into(), false, &buttons);
            }
            screen.refresh();
        });
    }

    /// Shows the end of the log over the terminal.
    fn show_log(&self) {
        let log = self.inner.borrow().standing.ending.as_ref().map(|ending| ending.log.join("\n")).unwrap_or_default();
        let folder = self.windows.upgrade().and_then(|windows| {
            let library = windows.engine().library();
            library.machine_at(&self.path).map(|machine| library.places().logs_of(&machine.id).display().to_string()).ok()
        });
        self.note(format!("{}\n{log}", folder.unwrap_or_default()).trim().into(), false, &[]);
    }

    /// Whether the window closes now that somebody wants that.
    pub(super) fn close_requested(self: &Rc<Self>) -> CloseRequestResponse {
        let Some(windows) = self.windows.upgrade() else { return CloseRequestResponse::HideWindow };
        let others = windows.shows_elsewhere(&self.path, Shows::Port(self.port));
        let (name, state) = {
            let inner = self.inner.borrow();
            (inner.standing.name.clone(), inner.standing.state)
        };
        match closing(&windows.preferences(), &name, state, others) {
            Closing::Close => {
                windows.closed(&self.path, Shows::Port(self.port));
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

    /// Closes the window; the guest is asked to power off first, or not.
    fn close(self: &Rc<Self>, shut_down: bool) {
        let Some(windows) = self.windows.upgrade().filter(|_| shut_down) else { return self.hide() };
        let work = orders::carry_out(windows.engine().library().clone(), self.path.clone(), OfMachine::PressPowerButton);
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |asked| match (asked, screen.upgrade()) {
            (Ok(()), Some(screen)) => screen.hide(),
            (Err(failure), Some(screen)) => screen.note(in_words(&failure).into(), false, &[]),
            (_, None) => {}
        });
    }

    fn hide(self: &Rc<Self>) {
        if let Some(windows) = self.windows.upgrade() {
            windows.closed(&self.path, Shows::Port(self.port));
        }
        if let Err(error) = self.window.hide() {
            tracing::error!(%error, "the window stays");
        }
    }
}
