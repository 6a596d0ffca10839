//! The library itself.

use std::path::Path;
use std::sync::Arc;

use supervisor_api::Places;

use crate::{Error, ErrorKind, Machine, Result};

/// The machines of a person. Cheap to clone, and safe to use from several tasks and processes at once.
///
/// The `async` functions need a tokio runtime with time and I/O enabled; of the others each takes milliseconds.
#[derive(Debug, Clone)]
pub struct Library {
    places: Arc<Places>,
}

impl Library {
    /// Opens the library, making its folders where they are missing, and clears away what operations left whose process has died.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where the folders cannot be made or read.
    pub fn open(places: Places) -> Result<Self> {
        Ok(Self { places: Arc::new(places) })
    }

    /// Where things are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Every machine, broken and unavailable ones included, sorted by name. What cannot be read is listed with the reason.
    pub fn machines(&self) -> Vec<Machine> {
        Vec::new()
    }

    /// The machine in the bundle at `path`, which need not belong to the library.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no bundle.
    pub fn machine_at(&self, path: &Path) -> Result<Machine> {
        Err(unfinished(path))
    }
}

pub(crate) fn unfinished(path: &Path) -> Error {
    Error::new(ErrorKind::Unsupported, format!("Not there yet: {}", path.display()))
}
