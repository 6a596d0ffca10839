//! Bundles that are listed where they are.

use std::path::Path;

use crate::library::unfinished;
use crate::{Library, Machine, Made, Result};

impl Library {
    /// Lists a bundle that lies elsewhere. It is not touched: a UUID that another machine has is reported, not replaced.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Invalid`] where it is no bundle.
    pub fn register(&self, path: &Path) -> Result<Made> {
        Err(unfinished(path))
    }

    /// Forgets a registered bundle, and does nothing to it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for one in the library's own folder.
    pub fn unregister(&self, machine: &Machine) -> Result<()> {
        Err(unfinished(&machine.path))
    }
}
