//! The desktop app: the home window over the library, and a window for each display and serial port.
//!
//! What is drawn is in `ui/`, in Slint; what is shown and what may be done is in `view_model` and `viewport`, without a toolkit. Here they
//! meet, each window in a module of its own:
//!
//! - [`engine`]: the thread where everything asynchronous runs. Windows ask there and are answered in the event loop.
//! - [`home`]: the home window; [`commands`] carries out what is asked for there.
//! - [`windows`]: which other windows are open; [`display`]: those of machines' displays; [`terminal`]: those of their serial ports.
//!   [`follow`] tells them what becomes of the machine, [`standing`] is what they know of it, `machine_window` what both do alike, and
//!   [`pace`] how often they draw.
//! - `session`: what a machine whose windows are open shares with this desktop; `sound` is what is heard of it.
//! - [`wizard`]: the window that makes a machine.
//! - [`editor`]: the window with a machine's settings.
//! - [`preferences`]: the window with what a person prefers; [`prefer`] keeps it and tells the others.
//!
//! Beside them, [`portal`] asks the desktop for files, [`rows`] changes what is drawn in place, and [`words`] says things to people.

#[allow(missing_docs, unsafe_code, clippy::all, clippy::todo, unused_qualifications, reason = "written by Slint's compiler")]
mod ui {
    slint::include_modules!();
}

/// Has a callback of a screen's window call the screen, as long as that is there.
macro_rules! on {
    ($self:ident, $callback:ident, |$screen:ident $(, $argument:ident)*| $body:expr) => {{
        let screen = std::rc::Rc::downgrade($self);
        $self.window.$callback(move |$($argument),*| {
            if let Some($screen) = screen.upgrade() {
                $body
            }
        });
    }};
}

pub mod commands;
pub mod display;
pub mod editor;
pub mod engine;
pub mod follow;
pub mod home;
mod machine_window;
pub mod pace;
pub mod portal;
pub mod prefer;
pub mod preferences;
pub mod rows;
mod session;
mod sound;
pub mod standing;
pub mod terminal;
pub mod windows;
pub mod wizard;
pub mod words;

pub use ui::*;
