//! Reading and changing a configuration.

use bundle::{Configuration, Loaded};

use crate::library::unfinished;
use crate::{Library, Machine, Result};

impl Library {
    /// A machine's configuration as it is on disk now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] with every problem.
    pub fn configuration(&self, machine: &Machine) -> Result<Loaded> {
        Err(unfinished(&machine.path))
    }

    /// Changes a machine's configuration: `change` gets what is on disk now and alters it; where it fails, or leaves what cannot be stored,
    /// nothing is written. Returns what `change` returned.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] while it runs; [`crate::ErrorKind::Invalid`] with every problem.
    pub fn edit<T>(&self, machine: &Machine, change: impl FnOnce(&mut Configuration) -> Result<T>) -> Result<T> {
        let _ = change;
        Err(unfinished(&machine.path))
    }
}
