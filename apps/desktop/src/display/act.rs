//! What is asked for in a machine's window, and what becomes of it.

use std::rc::Rc;

use machine::State;
use slint::{CloseRequestResponse, ComponentHandle as _};
use view_model::window::{Closing, closing, words};
use view_model::{Command, Failure};
use viewport::Resizer;

use super::Shows;
use super::menus::{Order, say};
use super::orders::{self, Deed};
use super::screen::MachineScreen;

impl MachineScreen {
    /// Something was asked for.
    pub(super) fn ordered(self: &Rc<Self>, number: i32) {
        let order = self.orders.borrow().get(number);
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
            Some(Order::Dismiss) => self.dismiss(),
            Some(Order::Keys(chord)) => self.send_chord(&chord),
            Some(Order::Insert(drive)) => self.choose_medium(drive),
            Some(Order::Eject(drive)) => self.carry_out(Deed::Eject(drive)),
            Some(Order::Share) => self.choose_folder(),
            Some(Order::Unshare) => self.carry_out(Deed::Share(None)),
            Some(Order::Scale(way)) => {
                self.inner.borrow_mut().scaling = way;
                self.place();
                self.refresh();
            }
            Some(Order::Follow(follow)) => {
                self.inner.borrow_mut().resizer = Resizer::new(follow);
                self.stage_changed();
                self.refresh();
            }
            Some(Order::Head(head)) => {
                let opened = self.windows.upgrade().map(|windows| windows.open_head(&self.path, head));
                if let Some(Err(error)) = opened {
                    self.note(error.to_string().into(), false, &[]);
                }
            }
            Some(Order::Port(port)) => {
                let opened = self.windows.upgrade().map(|windows| windows.open_port(&self.path, port));
                if let Some(Err(error)) = opened {
                    self.note(error.to_string().into(), false, &[]);
                }
            }
            // What only terminals offer.
            Some(Order::Terminal(_)) | None => {}
        }
    }

    /// A command of the toolbar, a menu or the picture's own buttons.
    pub(super) fn command(self: &Rc<Self>, command: Command) {
        let (name, paused) = {
            let inner = self.inner.borrow();
            (inner.standing.name.clone(), inner.standing.state == State::Paused)
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
            Command::FullScreen => self.set_full_screen(!self.inner.borrow().full_screen),
            Command::Capture => self.toggle_capture(),
            Command::Screenshot => self.photograph(),
            Command::OpenDisplay => drop(self.again.send(())),
            Command::ShowLog => self.show_log(),
            command => self.carry_out(Deed::Command(command)),
        }
    }

    /// Does something to the machine; what does not work is told.
    pub(super) fn carry_out(self: &Rc<Self>, deed: Deed) {
        let Some(windows) = self.windows.upgrade() else { return };
        let begins = matches!(deed, Deed::Command(Command::Start | Command::StartDisposable));
        self.inner.borrow_mut().standing.begins(begins);
        self.refresh();
        let is_drive = matches!(deed, Deed::Insert(..) | Deed::Eject(_));
        let is_share = matches!(deed, Deed::Share(_));
        let work = orders::carry_out(windows.engine().library().clone(), self.path.clone(), deed);
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |done| {
            let Some(screen) = screen.upgrade() else { return };
            screen.inner.borrow_mut().standing.ends(begins && done.is_err());
            if let Err(failure) = done {
                let buttons: Vec<_> = failure.cures.iter().map(|cure| (cure.label(), Order::Command(*cure))).collect();
                screen.note(in_words(&failure).into(), false, &buttons);
            } else if is_drive {
                screen.look_at_drives();
            } else if is_share {
                screen.look_at_share();
            }
            screen.refresh();
        });
    }

    /// Saves a picture of the display.
    fn photograph(self: &Rc<Self>) {
        let Some(windows) = self.windows.upgrade() else { return };
        let (library, path, head) = (windows.engine().library().clone(), self.path.clone(), self.head);
        let name = self.inner.borrow().standing.name.clone();
        let work = async move {
            let machine = library.machine_at(&path).map_err(|error| in_words(&Failure::from(&error)))?;
            let client = library.client(&machine).await.map_err(|error| in_words(&Failure::from(&error)))?;
            let client = client.ok_or_else(|| view_model::Refusal::NotRunning.message().to_string())?;
            let png = client.screenshot(head).await.map_err(|error| error.to_string())?;
            let file = orders::screenshot_path(&name, &jiff::Zoned::now().strftime("%Y-%m-%d %H-%M-%S").to_string());
            let file = file.ok_or_else(|| "Cannot find out where pictures are kept: HOME is not set".to_owned())?;
            tokio::fs::write(&file, png).await.map_err(|error| format!("Cannot save the picture: {error}: {}", file.display()))?;
            Ok::<_, String>(file)
        };
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |saved| {
            let Some(screen) = screen.upgrade() else { return };
            match saved {
                Ok(file) => screen.note(say(words::SAVED.with([&file.display()])), false, &[]),
                Err(said) => screen.note(said.into(), false, &[]),
            }
        });
    }

    /// Shows the end of the log over the picture.
    fn show_log(&self) {
        let log = self.inner.borrow().standing.ending.as_ref().map(|ending| ending.log.join("\n")).unwrap_or_default();
        let folder = self.windows.upgrade().zip(self.inner.borrow().standing.status.as_ref().map(|_| ())).map(|(windows, ())| {
            let library = windows.engine().library();
            library.machine_at(&self.path).map(|machine| library.places().logs_of(&machine.id).display().to_string())
        });
        let folder = folder.and_then(Result::ok).unwrap_or_default();
        self.note(format!("{folder}\n{log}").trim().into(), false, &[]);
    }

    /// Whether the window closes now that somebody wants that.
    pub(super) fn close_requested(self: &Rc<Self>) -> CloseRequestResponse {
        let Some(windows) = self.windows.upgrade() else { return CloseRequestResponse::HideWindow };
        let others = windows.shows_elsewhere(&self.path, Shows::Head(self.head));
        let (name, state) = {
            let inner = self.inner.borrow();
            (inner.standing.name.clone(), inner.standing.state)
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
        let Some(windows) = self.windows.upgrade().filter(|_| shut_down) else { return self.hide() };
        let work = orders::carry_out(windows.engine().library().clone(), self.path.clone(), Deed::PressPowerButton);
        let screen = Rc::downgrade(self);
        windows.engine().ask(work, move |asked| match (asked, screen.upgrade()) {
            (Ok(()), Some(screen)) => screen.hide(),
            (Err(failure), Some(screen)) => screen.note(in_words(&failure).into(), false, &[]),
            (_, None) => {}
        });
    }

    fn hide(self: &Rc<Self>) {
        self.closes();
        if let Err(error) = self.window.hide() {
            tracing::error!(%error, "the window stays");
        }
    }

    /// The window closes: nothing is held any more, and nothing is ended.
    fn closes(self: &Rc<Self>) {
        self.let_go();
        if let Some(windows) = self.windows.upgrade() {
            windows.closed(&self.path, Shows::Head(self.head));
        }
    }
}

/// What happened, why, and what to do.
pub(crate) fn in_words(failure: &Failure) -> String {
    let mut said = failure.what.clone();
    for more in [&failure.why, &failure.hint].into_iter().flatten() {
        said.push_str(". ");
        said.push_str(more);
    }
    said
}
