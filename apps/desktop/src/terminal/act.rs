//! What only a terminal's window does of what is asked for, and what becomes of it.

use std::cell::RefMut;
use std::path::Path;
use std::rc::Rc;

use slint::{ComponentHandle as _, ModelRc, PlatformError, SharedString};
use view_model::Command;

use super::screen::{Inner, TerminalScreen};
use crate::StageButton;
use crate::display::menus::{Deed, Order, Orders};
use crate::display::{MachineWindows, Shows};
use crate::machine_window::OfMachine;
use crate::standing::Standing;

impl OfMachine for TerminalScreen {
    fn windows(&self) -> Option<Rc<MachineWindows>> {
        self.windows.upgrade()
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn shows(&self) -> Shows {
        Shows::Port(self.port)
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
        // All others are a display's, or what every window does alike.
        if let Order::Terminal(deed) = order {
            self.carry_out_here(deed);
        }
    }

    fn command_here(self: &Rc<Self>, command: Command) -> bool {
        let is_here = command == Command::OpenConsole;
        if is_here {
            // Nobody hears it where the machine is gone.
            let _ = self.again.send(());
        }
        is_here
    }
}

impl TerminalScreen {
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
}
