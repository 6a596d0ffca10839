//! Renaming.

use crate::{Library, Machine, Result};

impl Library {
    /// Gives a machine another name, and its bundle the file name that belongs to it (not that of a registered bundle, which stays where it is).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs.
    pub fn rename(&self, machine: &Machine, name: &str) -> Result<Machine> {
        let lock = self.lock(machine, "rename")?;
        let (_, path) = self.edit_locked(machine, |configuration| {
            name.clone_into(&mut configuration.information_mut().name);
            Ok(())
        })?;
        drop(lock);
        Ok(self.again(&path))
    }
}
