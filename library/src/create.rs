//! Making a machine.

use std::path::Path;

use crate::library::unfinished;
use crate::{CreateSpec, Job, Library, Made, Result};

impl Library {
    /// Makes a machine in the library's own folder.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] for a name that is taken, [`crate::ErrorKind::Invalid`] with every problem for a combination that cannot
    /// run, [`crate::ErrorKind::NoSpace`] before anything is copied.
    pub async fn create(&self, spec: CreateSpec, job: &Job) -> Result<Made> {
        let _ = (spec, job);
        Err(unfinished(Path::new("")))
    }
}
