//! The library itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bundle::registry::Registry;
use bundle::{Bundle, BundleLock, LockError, bundle_file_name};
use supervisor_api::Places;
use uuid::Uuid;

use crate::find::composed;
use crate::machine::Condition;
use crate::{Error, ErrorKind, Machine, Result, files, scan, staging};

/// How long a lock that is held may take to come free before somebody is told.
pub(crate) const GRACE: std::time::Duration = std::time::Duration::from_millis(400);

/// The machines of a person. Cheap to clone, and safe to use from several tasks and processes at once.
///
/// The `async` functions need a tokio runtime with time and I/O enabled; of the others each takes milliseconds.
#[derive(Debug, Clone)]
pub struct Library {
    places: Arc<Places>,
    pub(crate) asks_supervisor: bool,
}

impl Library {
    /// Opens the library, making its folders where they are missing, and clears away what operations left whose process has died.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where the folders cannot be made or read.
    pub fn open(places: Places) -> Result<Self> {
        for folder in [&places.machines, &places.state] {
            fs::create_dir_all(folder).map_err(|error| {
                Error::io(format!("Cannot make the folder {}", folder.display()), error)
                    .with_hint("Set VIVARIUM_HOME to a folder that can be written to")
            })?;
        }
        staging::clear_away(&places);
        Ok(Self { places: Arc::new(places), asks_supervisor: true })
    }

    /// Makes machines by what is known of their types by name, without asking the supervisor program what there is on this computer. For
    /// tests that must not depend on it.
    #[must_use]
    pub fn without_supervisor(self) -> Self {
        Self { asks_supervisor: false, ..self }
    }

    /// Where things are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Every machine, broken and unavailable ones included, sorted by name. What cannot be read is listed with the reason.
    pub fn machines(&self) -> Vec<Machine> {
        scan::list(&self.places)
    }

    /// The machine in the bundle at `path`, which need not belong to the library.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no bundle.
    pub fn machine_at(&self, path: &Path) -> Result<Machine> {
        let machine = scan::one(&self.places, &self.bundle_path(path));
        match &machine.condition {
            Condition::Unavailable { missing: true, why } => {
                Err(Error::new(ErrorKind::NotFound, format!("Cannot open {}: {why}", path.display()))
                    .with_hint("A bundle is a folder whose name ends in .utm"))
            }
            _ => Ok(machine),
        }
    }

    /// Whether the folder at `path` is a bundle and not any other folder: its name says so and it has a configuration, readable or not; in the
    /// library's own folder, and where it is registered, the name is enough. What is not must never be removed as if it were a machine.
    pub(crate) fn looks_like_bundle(&self, path: &Path) -> bool {
        let listed = || path.parent() == Some(self.places.machines.as_path()) || self.machines().iter().any(|listed| listed.path == path);
        scan::is_bundle_name(path) && (path.join(bundle::CONFIGURATION_FILE).symlink_metadata().is_ok() || listed())
    }

    /// The path by which a bundle is known: links are followed, except for the last component where that lies in the library's own folder.
    pub(crate) fn bundle_path(&self, path: &Path) -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        match (absolute.parent(), absolute.file_name()) {
            (Some(parent), Some(name)) if files::absolute(parent) == files::absolute(&self.places.machines) => {
                self.places.machines.join(name)
            }
            _ => files::absolute(&absolute),
        }
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(self.places.registry())
    }

    /// Looks again at a machine that was changed.
    pub(crate) fn again(&self, path: &Path) -> Machine {
        scan::one(&self.places, path)
    }

    /// Takes a machine's lock, so that nobody starts or changes it.
    ///
    /// A holder that is about to let go is waited for: a small change in another process, or a program that this process is just starting and
    /// that has everything open until it executes.
    pub(crate) fn lock(&self, machine: &Machine, what: &str) -> Result<BundleLock> {
        let deadline = std::time::Instant::now() + GRACE;
        let locked = loop {
            match Bundle::lock(&machine.path) {
                Err(LockError::Held(_))
                    if std::time::Instant::now() < deadline && self.again(&machine.path).activity != crate::Activity::Running =>
                {
                    std::thread::sleep(GRACE / 20);
                }
                result => break result,
            }
        };
        locked.map_err(|error| match error {
            LockError::Held(_) => {
                let running = self.again(&machine.path).activity == crate::Activity::Running;
                let (message, hint) = if running {
                    (format!("Cannot {what} \"{}\": it is running", machine.name), "Stop it first")
                } else {
                    (format!("Cannot {what} \"{}\": another program is using it", machine.name), "Try again when it is done")
                };
                Error::new(ErrorKind::WrongState, message).with_hint(hint)
            }
            LockError::Io { source, .. } => Error::io(format!("Cannot {what} \"{}\": {}", machine.name, machine.path.display()), source),
        })
    }

    /// A name that no machine of the library has and whose bundle can be made: `wanted`, `wanted 2`, …
    pub(crate) fn free_name(&self, wanted: &str) -> String {
        let machines = self.machines();
        // `Debian 2` is followed by `Debian 3` where there is a `Debian`; `Windows 11` by `Windows 11 2`.
        let base = base_of(wanted).filter(|base| machines.iter().any(|machine| machine.name == *base)).unwrap_or(wanted);
        let numbered = (2_u64..).map(|number| format!("{base} {number}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        names.find(|name| self.name_is_free(&machines, name)).unwrap_or_else(|| wanted.to_owned())
    }

    pub(crate) fn name_is_free(&self, machines: &[Machine], name: &str) -> bool {
        let file = self.places.machines.join(bundle_file_name(name));
        file.symlink_metadata().is_err() && !machines.iter().any(|machine| composed(&machine.name) == composed(name))
    }

    /// Refuses a name that is taken or none.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] with a name that is free; [`ErrorKind::Invalid`] as [`check_name_text`].
    pub fn check_name(&self, name: &str) -> Result<()> {
        check_name_text(name)?;
        if self.name_is_free(&self.machines(), name) {
            return Ok(());
        }
        let hint = format!("Choose another name, such as \"{}\"", self.free_name(name));
        Err(Error::new(ErrorKind::Exists, format!("There is already a machine \"{name}\"")).with_hint(hint))
    }

    /// Whether a machine of the library, other than the one at `except`, has this UUID.
    pub(crate) fn uuid_is_taken(&self, uuid: Uuid, except: Option<&Path>) -> bool {
        self.machines().iter().any(|machine| machine.uuid == Some(uuid) && Some(machine.path.as_path()) != except)
    }

    /// Forgets what an earlier bundle of the same identity left: inodes are used again.
    pub(crate) fn forget_runs(&self, id: &str) {
        if id.is_empty() {
            return;
        }
        let places = &self.places;
        let runtime = places.runtime_of(id).path().to_path_buf();
        for path in [places.last_run_of(id), places.logs_of(id), places.disposable().join(id), runtime] {
            if let Err(error) = files::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what is left of an earlier machine");
            }
        }
    }
}

/// Refuses what cannot be a machine's name, whichever there are.
///
/// # Errors
/// [`ErrorKind::Invalid`] with what is wrong.
pub fn check_name_text(name: &str) -> Result<()> {
    let wrong = if name.trim().is_empty() {
        "it is empty"
    } else if name.trim() != name {
        "it begins or ends with a blank"
    } else if name.contains(char::is_control) {
        "it holds control characters"
    } else if name.len() > 200 {
        "it is longer than 200 bytes"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("\"{}\" cannot be a machine's name: {wrong}", name.escape_debug())))
}

/// `Base` of `Base 2`.
fn base_of(name: &str) -> Option<&str> {
    let (base, number) = name.rsplit_once(' ')?;
    (!base.is_empty() && number.parse::<u64>().is_ok_and(|number| number >= 2)).then_some(base)
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::cancelled()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_end_are_counted_on() {
        assert_eq!(base_of("Debian 2"), Some("Debian"));
        assert_eq!(base_of("Debian 1"), None);
        assert_eq!(base_of("Windows 11"), Some("Windows"));
        assert_eq!(base_of("7"), None);
    }

    #[test]
    fn names_that_nobody_could_see_are_refused() {
        for name in ["", "  ", " a", "a\n", &"x".repeat(201)] {
            assert_eq!(check_name_text(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        }
        assert!(check_name_text("Ubuntu 24.04: \"server\"").is_ok());
    }
}
