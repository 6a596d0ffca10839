//! Moving a machine elsewhere.

use std::fs;
use std::io;
use std::path::Path;

use crate::staging::{self, Part};
use crate::{Error, ErrorKind, Job, Library, Machine, Result, files, registered, transfer};

impl Library {
    /// Moves a machine's bundle into the folder `folder`, to another file system if need be, and keeps it in the list. What is inserted in its
    /// drives stays inserted.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs, [`crate::ErrorKind::NoSpace`].
    pub async fn move_to(&self, machine: &Machine, folder: &Path, job: &Job) -> Result<Machine> {
        let (machine, folder, job) = (machine.clone(), folder.to_path_buf(), job.clone());
        self.work(move |library| library.move_now(&machine, &folder, &job)).await
    }

    fn move_now(&self, machine: &Machine, folder: &Path, job: &Job) -> Result<Machine> {
        if !folder.is_dir() {
            return Err(Error::new(ErrorKind::NotFound, format!("There is no folder {}", folder.display())).with_hint("Make it first"));
        }
        let folder = files::absolute(folder);
        let home = folder == files::absolute(&self.places().machines);
        let folder = if home { self.places().machines.clone() } else { folder };
        let destination = folder.join(machine.path.file_name().unwrap_or_default());
        if destination == machine.path {
            return Ok(self.again(&destination));
        }
        if folder.starts_with(&machine.path) {
            return Err(Error::new(ErrorKind::Invalid, format!("\"{}\" cannot be moved into itself", machine.name)));
        }
        if destination.symlink_metadata().is_ok() {
            return Err(Error::new(ErrorKind::Exists, format!("Already exists: {}", destination.display()))
                .with_hint("Rename the machine, or move what is there"));
        }
        let lock = self.lock(machine, "move")?;
        // Listed at both places for a moment rather than at none.
        if !home {
            registered::add(self.places(), &destination, &machine.name, machine.uuid)?;
        }
        let moved = match atomic_file::rename_new(&machine.path, &destination) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.move_across(machine, &folder, &destination, job),
            Err(error) => Err(Error::io(format!("Cannot move to {}", destination.display()), error)),
            Ok(()) => Ok(()),
        };
        if let Err(error) = moved {
            if !home && destination.symlink_metadata().is_err() {
                registered::remove(self.places(), &destination)?;
            }
            return Err(error);
        }
        if let Some(uuid) = machine.uuid {
            self.follow_in_registry(uuid, &machine.path, &destination);
        }
        registered::remove(self.places(), &machine.path)?;
        drop(lock);
        Ok(self.again(&destination))
    }

    /// To another file system: the original goes only when the copy is complete and on the disk.
    fn move_across(&self, machine: &Machine, folder: &Path, destination: &Path, job: &Job) -> Result<()> {
        // The original goes afterwards.
        transfer::ensure_whole(&machine.path)?;
        let name = destination.file_name().unwrap_or_default().to_string_lossy();
        let part = Part::folder(self.places(), folder, &name)?;
        transfer::copy_bundle(&machine.path, part.path(), job)?;
        job.check()?;
        let _published = part.publish(destination)?;
        self.keep_runs(&machine.id, destination);
        staging::discard(self.places(), &machine.path).map_err(|error| {
            Error::io(format!("\"{}\" was copied, but the original cannot be removed: {}", machine.name, machine.path.display()), error)
        })
    }

    /// Records and logs are kept by an identity that another file system changes.
    fn keep_runs(&self, old: &str, destination: &Path) {
        let Ok(new) = bundle::bundle_id(destination) else { return };
        self.forget_runs(&new);
        for (from, to) in
            [(self.places().last_run_of(old), self.places().last_run_of(&new)), (self.places().logs_of(old), self.places().logs_of(&new))]
        {
            if let Err(error) = fs::rename(&from, &to)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %from.display(), "cannot keep the record of the last run");
            }
        }
    }
}
