//! Deleting.

use crate::library::unfinished;
use crate::{Deletion, Library, Machine, Result};

impl Library {
    /// Removes a machine: its bundle, and what this host remembers of it. A broken one can be removed, a running one cannot.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] while it runs; [`crate::ErrorKind::Unsupported`] where its file system has no trash, and then nothing
    /// was removed.
    pub async fn delete(&self, machine: &Machine, deletion: Deletion) -> Result<()> {
        let _ = deletion;
        Err(unfinished(&machine.path))
    }
}
