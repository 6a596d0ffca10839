//! Reading and changing a configuration.

use std::path::{Path, PathBuf};

use bundle::{Bundle, Configuration, Loaded, OpenError, Problem, SaveError, bundle_file_name};
use uuid::Uuid;

use crate::find::composed;
use crate::library::check_name_text;
use crate::{Error, ErrorKind, Library, Machine, Result, files, registered};

impl Library {
    /// A machine's configuration as it is on disk now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] with every problem.
    pub fn configuration(&self, machine: &Machine) -> Result<Loaded> {
        let bundle = open(machine)?;
        let raw = bundle.configuration.to_dictionary();
        Ok(Loaded { origin: bundle.origin(), problems: bundle.problems, configuration: bundle.configuration, raw })
    }

    /// Changes a machine's configuration: `change` gets what is on disk now and alters it; where it fails, or leaves what cannot be stored
    /// or could no longer run, nothing is written. Returns what `change` returned. A changed name renames the bundle as [`Library::rename`]
    /// does.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] while it runs; [`crate::ErrorKind::Invalid`] with every problem; [`crate::ErrorKind::Exists`] for a
    /// name that is taken.
    pub fn edit<T>(&self, machine: &Machine, change: impl FnOnce(&mut Configuration) -> Result<T>) -> Result<T> {
        let _lock = self.lock(machine, "change")?;
        self.edit_locked(machine, change).map(|(result, _)| result)
    }

    /// Lets QEMU use the additional arguments of a machine's bundle as they are now, and returns them. Those that came with a bundle are left
    /// out until then.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] with every problem; [`crate::ErrorKind::Io`].
    pub fn trust_arguments(&self, machine: &Machine) -> Result<Vec<String>> {
        let configuration = open(machine)?.configuration;
        self.remember_arguments(&configuration, &machine.path)?;
        Ok(arguments(&configuration).to_vec())
    }

    fn remember_arguments(&self, configuration: &Configuration, path: &Path) -> Result<()> {
        let trusted = arguments(configuration).to_vec();
        let remembered = self.registry().update(configuration.uuid(), path, |entry| entry.trusted_arguments = trusted);
        remembered.map_err(|error| Error::io("Cannot remember that the additional arguments may be used".to_owned(), error))
    }

    /// A machine made from another may use the arguments that this one may.
    pub(crate) fn trust_as_in(&self, original: &Machine, copy: &Machine) -> Result<()> {
        let (ours, theirs) = (open(original)?.configuration, open(copy)?.configuration);
        let known = self.registry().read(ours.uuid(), &original.path);
        let (entry, _) = known.map_err(|error| Error::io("Cannot read what is known of the machine".to_owned(), error))?;
        if arguments(&theirs).is_empty() || entry.trusted_arguments != arguments(&theirs) {
            return Ok(());
        }
        self.remember_arguments(&theirs, &copy.path)
    }

    /// The same where the lock is held already. Returns where the bundle is then, as well.
    pub(crate) fn edit_locked<T>(&self, machine: &Machine, change: impl FnOnce(&mut Configuration) -> Result<T>) -> Result<(T, PathBuf)> {
        let mut bundle = open(machine)?;
        let before = bundle.configuration.clone();
        let result = change(&mut bundle.configuration)?;
        if bundle.configuration == before {
            return Ok((result, machine.path.clone()));
        }
        refuse_new_problems(&before, &bundle.configuration)?;
        let name = bundle.configuration.name().to_owned();
        let destination = if name == before.name() { None } else { self.renamed_path(machine, &name)? };
        bundle.save().map_err(|error| from_save(error, &machine.name))?;
        let uuid = bundle.configuration.uuid();
        if uuid != before.uuid() {
            self.move_registry_entry(before.uuid(), uuid, &machine.path);
        }
        // Whoever changes them has looked at them.
        if arguments(&bundle.configuration) != arguments(&before) {
            self.remember_arguments(&bundle.configuration, &machine.path)?;
        }
        let Some(destination) = destination else {
            // The change is made; that the list still has the old name undoes nothing.
            if let Err(error) = self.refresh_registered(&machine.path, &name, uuid) {
                tracing::warn!(error = %error.chain(), "cannot bring the list of registered bundles up to date");
            }
            return Ok((result, machine.path.clone()));
        };
        if let Err(error) = atomic_file::rename_new(&machine.path, &destination) {
            // The name goes back to what the bundle is called.
            bundle.configuration.information_mut().name = before.name().to_owned();
            bundle.save().map_err(|error| from_save(error, &machine.name))?;
            return Err(Error::io(format!("Cannot rename the bundle to {}", destination.display()), error));
        }
        self.follow_in_registry(uuid, &machine.path, &destination);
        Ok((result, destination))
    }

    /// Where the bundle goes with another name; `None` where it stays.
    fn renamed_path(&self, machine: &Machine, name: &str) -> Result<Option<PathBuf>> {
        check_name_text(name)?;
        let taken = self.machines().into_iter().any(|other| composed(&other.name) == composed(name) && other.path != machine.path);
        let exists = || {
            Error::new(ErrorKind::Exists, format!("There is already a machine \"{name}\""))
                .with_hint(format!("Choose another name, such as \"{}\"", self.free_name(name)))
        };
        if taken {
            return Err(exists());
        }
        if machine.path.parent() != Some(self.places().machines.as_path()) {
            return Ok(None);
        }
        let destination = self.places().machines.join(bundle_file_name(name));
        if destination == machine.path {
            return Ok(None);
        }
        // On a file system that takes `a` for `A`, the bundle itself is what is in the way.
        let in_the_way = destination.symlink_metadata().is_ok() && files::absolute(&destination) != files::absolute(&machine.path);
        if in_the_way { Err(exists()) } else { Ok(Some(destination)) }
    }

    /// What this host knows of a machine follows it to another UUID.
    fn move_registry_entry(&self, from: Uuid, to: Uuid, path: &Path) {
        let registry = self.registry();
        let moved = registry.read(from, path).and_then(|(entry, _)| registry.update(to, path, |new| *new = entry));
        let moved = moved.and_then(|()| registry.remove(from, path));
        if let Err(error) = moved {
            tracing::warn!(%error, "cannot move what is known of the machine to its new UUID");
        }
    }

    /// What this host knows of a machine follows its bundle.
    pub(crate) fn follow_in_registry(&self, uuid: Uuid, from: &Path, to: &Path) {
        if let Err(error) = self.registry().moved(uuid, from, to) {
            tracing::warn!(%error, "cannot move what is known of the machine to where its bundle is now");
        }
    }

    fn refresh_registered(&self, path: &Path, name: &str, uuid: Uuid) -> Result<()> {
        let known = registered::read(self.places()).into_iter().find(|entry| entry.path == path);
        match known {
            Some(entry) if entry.name != name || entry.uuid != Some(uuid) => registered::add(self.places(), path, name, Some(uuid)),
            _ => Ok(()),
        }
    }
}

/// What a machine's QEMU is told beside its configuration.
fn arguments(configuration: &Configuration) -> &[String] {
    configuration.as_qemu().map_or(&[], |qemu| &qemu.qemu.additional_arguments)
}

/// Opens a machine's bundle.
pub(crate) fn open(machine: &Machine) -> Result<Bundle> {
    open_at(&machine.path, &machine.name)
}

pub(crate) fn open_at(path: &Path, name: &str) -> Result<Bundle> {
    Bundle::open(path).map_err(|error| match error {
        OpenError::Refused { source, .. } => Error::new(ErrorKind::Invalid, format!("The configuration of \"{name}\" cannot be used"))
            .with_problems(source.problems)
            .with_hint(format!("Correct {}", path.join(bundle::CONFIGURATION_FILE).display())),
        OpenError::NotABundle(_) => Error::new(ErrorKind::NotFound, error.to_string()),
        OpenError::NoConfiguration(_) => Error::new(ErrorKind::Invalid, error.to_string()),
        OpenError::Unreadable(_) | OpenError::Io { .. } => {
            Error::new(ErrorKind::Io, format!("Cannot read \"{name}\": {}", path.display())).with_source(error)
        }
    })
}

pub(crate) fn from_save(error: SaveError, name: &str) -> Error {
    match error {
        SaveError::Unwritable { source, .. } => {
            Error::new(ErrorKind::Invalid, format!("The configuration of \"{name}\" cannot be stored")).with_problems(source.problems)
        }
        SaveError::Changed(_) => Error::new(ErrorKind::WrongState, error.to_string()),
        SaveError::Exists(_) => Error::new(ErrorKind::Exists, error.to_string()),
        SaveError::Io { what, path, source } => Error::io(format!("Cannot {what}: {}", path.display()), source),
    }
}

/// Refuses a change after which something keeps the machine from running that did not before.
fn refuse_new_problems(before: &Configuration, after: &Configuration) -> Result<()> {
    let known = before.validate();
    let is_new = |problem: &Problem| problem.is_fatal() && !known.contains(problem);
    let problems: Vec<Problem> = after.validate().into_iter().filter(is_new).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("\"{}\" could not run with this change", before.name())).with_problems(problems))
}

/// An error of a layer below that has a type of its own.
pub(crate) fn refuse(message: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, message).with_source(source)
}
