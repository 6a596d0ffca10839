//! What is in the removable drives.

use std::path::Path;

use crate::library::unfinished;
use crate::{Library, Machine, Result};

impl Library {
    /// Puts a medium into a removable drive. `drive` is its identifier, the beginning of it, or its place in the list of drives counted from 0.
    /// A running machine gets it at once; it stays there over restarts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for a drive or file that is not there, [`crate::ErrorKind::Unsupported`] for a drive whose image is in
    /// the bundle.
    pub async fn insert(&self, machine: &Machine, drive: &str, medium: &Path, read_only: bool) -> Result<()> {
        let _ = (drive, medium, read_only);
        Err(unfinished(&machine.path))
    }

    /// Takes the medium out of a removable drive, named as for [`Library::insert`]. Without `force`, a guest that has locked the tray is
    /// respected.
    ///
    /// # Errors
    /// As [`Library::insert`].
    pub async fn eject(&self, machine: &Machine, drive: &str, force: bool) -> Result<()> {
        let _ = (drive, force);
        Err(unfinished(&machine.path))
    }
}
