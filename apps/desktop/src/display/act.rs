//! What only a display's window does of what is asked for, and what becomes of it.

use std::cell::RefMut;
use std::path::Path;
use std::rc::Rc;

use machine::exchange::Transfer;
use slint::{ComponentHandle as _, ModelRc, PlatformError, SharedString};
use view_model::window::words;
use view_model::{Command, Failure};
use viewport::Resizer;

use super::menus::{Order, Orders};
use super::orders::{self, Deed};
use super::screen::{Inner, MachineScreen};
use super::{MachineWindows, Shows};
use crate::StageButton;
use crate::machine_window::{OfMachine, in_words};
use crate::session::News;
use crate::standing::Standing;
use crate::words::say;

impl OfMachine for MachineScreen {
    fn windows(&self) -> Option<Rc<MachineWindows>> {
        self.windows.upgrade()
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn shows(&self) -> Shows {
        Shows::Head(self.head)
    }

    fn standing(&self) -> RefMut<'_, Standing> {
        RefMut::map(self.inner.borrow_mut(), |inner: &mut Inner| &mut inner.standing)
    }

    fn orders(&self) -> RefMut<'_, Orders> {
        self.orders.borrow_mut()
    }

    fn refresh(&self) {
        self.bring_up_to_date();
    }

    fn set_note(&self, text: SharedString, buttons: ModelRc<StageButton>) {
        self.window.set_note(text);
        self.window.set_note_buttons(buttons);
    }

    fn set_note_serious(&self, serious: bool) {
        self.window.set_note_serious(serious);
    }

    fn hide_window(&self) -> Result<(), PlatformError> {
        self.window.hide()
    }

    fn order_here(self: &Rc<Self>, order: Order) {
        match order {
            Order::Keys(chord) => self.send_chord(&chord),
            Order::Insert(drive) => self.choose_medium(drive),
            Order::Eject(drive) => self.carry_out(Deed::Eject(drive)),
            Order::Share => self.choose_folder(),
            Order::Unshare => self.carry_out(Deed::Share(None)),
            Order::SendFile => self.choose_file(),
            Order::CancelFile(id) => self.session.cancel(id),
            Order::Clipboard(policy) => self.session.set_policy(policy),
            Order::Usb(id, attach) => self.session.attach(id, attach),
            Order::Scale(way) => {
                self.inner.borrow_mut().scaling = way;
                self.place();
                self.refresh();
            }
            Order::Follow(follow) => {
                self.inner.borrow_mut().resizer = Resizer::new(follow);
                self.stage_changed();
                self.refresh();
            }
            // What only terminals offer, and what every window does alike.
            _ => {}
        }
    }

    fn command_here(self: &Rc<Self>, command: Command) -> bool {
        match command {
            Command::FullScreen => self.set_full_screen(!self.inner.borrow().full_screen),
            Command::Capture => self.toggle_capture(),
            Command::Screenshot => self.photograph(),
            Command::OpenDisplay => drop(self.again.send(())),
            _ => return false,
        }
        true
    }

    fn was_done(self: &Rc<Self>, deed: &Deed) {
        match deed {
            Deed::Insert(..) | Deed::Eject(_) => self.look_at_drives(),
            Deed::Share(_) => self.look_at_share(),
            Deed::Command(_) | Deed::PressPowerButton => {}
        }
    }

    fn was_dismissed(self: &Rc<Self>) {
        // It is not told of again before it has arrived.
        self.seen_file.set(self.told_file.take().or(self.seen_file.get()));
    }

    fn let_go_of_all(self: &Rc<Self>) {
        self.let_go();
    }
}

impl MachineScreen {
    /// Something has come of what the machine shares with this desktop.
    pub(super) fn hear_of_session(&self, news: &News) {
        match news {
            News::Changed => self.refresh(),
            News::Wrong(message) => self.note(say(message.clone()), false, &[]),
            News::Transfer(transfer) => self.tell_of_file(transfer),
        }
    }

    /// How far a file is on its way into the guest.
    fn tell_of_file(&self, transfer: &Transfer) {
        let on_its_way = !transfer.done && transfer.error.is_none();
        if on_its_way && self.seen_file.get() == Some(transfer.id) {
            return;
        }
        self.told_file.set(on_its_way.then_some(transfer.id));
        let percent = transfer.sent.saturating_mul(100) / transfer.total.max(1);
        let (text, buttons) = match (&transfer.error, transfer.done) {
            (Some(error), _) => (words::NOT_SENT.with([&transfer.name, error]), None),
            (None, true) => (words::SENT.with([&transfer.name]), None),
            (None, false) => (words::SENDING.with([&transfer.name, &percent]), Some((words::STOP_SENDING, Order::CancelFile(transfer.id)))),
        };
        self.note(say(text), false, buttons.as_slice());
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
}
