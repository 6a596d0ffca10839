//! The terminal in raw mode, and back again on every way out: return, error, panic. Signals are the caller's to turn into a return.

use rustix::termios::{self, OptionalActions, Termios};
use std::io;
use std::sync::{Mutex, Once, PoisonError};

/// The mode to go back to.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode on standard input, for as long as it lives.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Takes the terminal on standard input into raw mode: keys come at once, unchanged and without echo, and none of them is a signal.
    ///
    /// # Errors
    /// Where standard input is no terminal or has gone away.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            // Restored before the report, which would otherwise be printed as a staircase.
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                report(panic);
            }));
        });
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let entered = Self(());
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(entered)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The terminal may be gone; then there is nothing to restore. Output that is still under way is let out first.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}
