//! Asks for files: the desktop's own dialogs.

use std::path::PathBuf;
use std::rc::Rc;

use view_model::Command;
use view_model::window::words;

use super::orders::Deed;
use super::screen::MachineScreen;
use crate::machine_window::OfMachine as _;
use crate::portal::{self, Question};

/// What media's names usually end with.
const MEDIA: [&str; 8] = ["iso", "img", "ima", "flp", "dsk", "qcow2", "raw", "vmdk"];

impl MachineScreen {
    /// Asks for a medium, and puts it into a drive.
    pub(super) fn choose_medium(self: &Rc<Self>, drive: String) {
        let kinds = Some(("ISO, IMG".to_owned(), MEDIA.map(str::to_owned).to_vec()));
        self.choose(Question { title: title(Command::Insert), folder: false, kinds }, |path| Deed::Insert(drive, path));
    }

    /// Asks for a folder, and shares it.
    pub(super) fn choose_folder(self: &Rc<Self>) {
        self.choose(Question { title: title(Command::Share), folder: true, kinds: None }, |path| Deed::Share(Some(path)));
    }

    /// Asks for a file, and sends it into the guest.
    pub(super) fn choose_file(self: &Rc<Self>) {
        let title = words::SEND_FILE.to_string().trim_end_matches('…').to_owned();
        self.ask_for(Question { title, folder: false, kinds: None }, |screen, path| screen.session.send(path));
    }

    fn choose(self: &Rc<Self>, question: Question, deed: impl FnOnce(PathBuf) -> Deed + 'static) {
        self.ask_for(question, |screen, path| screen.carry_out(deed(path)));
    }

    fn ask_for(self: &Rc<Self>, question: Question, chosen: impl FnOnce(&Rc<Self>, PathBuf) + 'static) {
        let Some(windows) = self.windows.upgrade() else { return };
        let screen = Rc::downgrade(self);
        windows.engine().ask(portal::choose(question), move |answer| {
            let Some(screen) = screen.upgrade() else { return };
            match answer {
                Ok(Some(path)) => chosen(&screen, path),
                Ok(None) => {}
                Err(error) => screen.note(format!("{error:#}").into(), false, &[]),
            }
        });
    }
}

fn title(command: Command) -> String {
    command.label().to_string().trim_end_matches('…').to_owned()
}
