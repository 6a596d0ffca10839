//! Taking in what was made elsewhere.

use std::path::Path;

use crate::library::unfinished;
use crate::{ImportOptions, Job, Library, Made, Result};

impl Library {
    /// Imports a `.utm` folder or `.utm.zip` file, or makes a machine around a disk image (raw, qcow2, vmdk, vdi, vhdx) or a CD image (`.iso`).
    /// The source is left as it is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a file of no known kind, [`crate::ErrorKind::Invalid`] for an archive that is not what it says,
    /// [`crate::ErrorKind::Exists`] for a name that was given and is taken.
    pub async fn import(&self, source: &Path, options: ImportOptions, job: &Job) -> Result<Made> {
        let _ = (options, job);
        Err(unfinished(source))
    }
}
