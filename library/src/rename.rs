//! Renaming.

use crate::library::unfinished;
use crate::{Library, Machine, Result};

impl Library {
    /// Gives a machine another name, and its bundle the file name that belongs to it (not that of a registered bundle, which stays where it is).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs.
    pub fn rename(&self, machine: &Machine, name: &str) -> Result<Machine> {
        let _ = name;
        Err(unfinished(&machine.path))
    }
}
