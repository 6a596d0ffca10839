//! Giving a machine away.

use std::path::{Path, PathBuf};

use crate::library::unfinished;
use crate::{ExportFormat, Job, Library, Machine, Result};

impl Library {
    /// Copies a machine to `destination`: a folder that exists, in which it gets its name, or the name of a folder or file to make. What lies
    /// there is replaced only with `replace`. Returns what was made.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs, [`crate::ErrorKind::NoSpace`].
    pub async fn export(&self, machine: &Machine, destination: &Path, format: ExportFormat, replace: bool, job: &Job) -> Result<PathBuf> {
        let _ = (destination, format, replace, job);
        Err(unfinished(&machine.path))
    }
}
