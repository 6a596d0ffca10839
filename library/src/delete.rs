//! Deleting.

use std::path::Path;

use crate::{Deletion, Error, ErrorKind, Library, Machine, Result, registered, staging};

impl Library {
    /// Removes a machine: its bundle, and what this host remembers of it. A broken one can be removed, a running one cannot. What is in the
    /// trash keeps what is remembered, so that it can come back as it was.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] while it runs; [`crate::ErrorKind::Invalid`] for a folder that is no bundle; [`crate::ErrorKind::Unsupported`] where its file system has no trash, and then nothing
    /// was removed.
    pub async fn delete(&self, machine: &Machine, deletion: Deletion) -> Result<()> {
        let machine = machine.clone();
        self.work(move |library| library.delete_now(&machine, deletion)).await
    }

    fn delete_now(&self, machine: &Machine, deletion: Deletion) -> Result<()> {
        if !machine.path.exists() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("The bundle of \"{}\" is not there: {}", machine.name, machine.path.display()),
            )
            .with_hint("Unregister it to take it from the list"));
        }
        if !self.looks_like_bundle(&machine.path) {
            return Err(Error::new(ErrorKind::Invalid, format!("Not a bundle, and therefore not deleted: {}", machine.path.display()))
                .with_hint("A bundle is a folder whose name ends in .utm"));
        }
        let _lock = self.lock(machine, "delete")?;
        match deletion {
            Deletion::Trash => to_trash(&machine.path)?,
            Deletion::Permanent => {
                staging::discard(self.places(), &machine.path)
                    .map_err(|error| Error::io(format!("Cannot delete {}", machine.path.display()), error))?;
                if let Some(uuid) = machine.uuid
                    && let Err(error) = self.registry().remove(uuid, &machine.path)
                {
                    tracing::warn!(%error, "cannot remove what is remembered of the machine");
                }
                self.forget_runs(&machine.id);
            }
        }
        if machine.registered {
            registered::remove(self.places(), &machine.path)?;
        }
        Ok(())
    }
}

/// Moves a file or folder into the desktop's trash.
pub(crate) fn to_trash(path: &Path) -> Result<()> {
    trash::delete(path).map_err(|error| {
        Error::new(ErrorKind::Unsupported, format!("Cannot move to the trash: {}", path.display()))
            .with_source(error)
            .with_hint("Delete it permanently instead")
    })
}
