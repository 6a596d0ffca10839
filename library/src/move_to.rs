//! Moving a machine elsewhere.

use std::path::Path;

use crate::library::unfinished;
use crate::{Job, Library, Machine, Result};

impl Library {
    /// Moves a machine's bundle into the folder `folder`, to another file system if need be, and keeps it in the list. What is inserted in its
    /// drives stays inserted.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs, [`crate::ErrorKind::NoSpace`].
    pub async fn move_to(&self, machine: &Machine, folder: &Path, job: &Job) -> Result<Machine> {
        let _ = (folder, job);
        Err(unfinished(&machine.path))
    }
}
