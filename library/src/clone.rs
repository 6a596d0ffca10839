//! Making a second machine like the first.

use crate::library::unfinished;
use crate::{Job, Library, Machine, Made, Result};

impl Library {
    /// Copies a machine under another name, `Base 2` where none is given, with a UUID and MAC addresses of its own. Where the file system can
    /// share blocks between files it takes no time and no space.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs, [`crate::ErrorKind::NoSpace`].
    pub async fn clone_machine(&self, machine: &Machine, name: Option<&str>, job: &Job) -> Result<Made> {
        let _ = (name, job);
        Err(unfinished(&machine.path))
    }
}
