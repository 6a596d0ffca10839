//! A machine as a list shows it.

use std::path::PathBuf;

use bundle::{Architecture, Problem};
use machine::BackendKind;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// A machine: one bundle on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its name; where the configuration cannot be read, the bundle's file name without `.utm`.
    pub name: String,
    /// Its UUID, where the configuration can be read.
    pub uuid: Option<Uuid>,
    /// The bundle, absolute.
    pub path: PathBuf,
    /// What names it among sockets, logs and records on this host (see `supervisor_api::Places`). Empty for a bundle that is not there.
    pub id: String,
    /// Whether it lies outside the library's own folder and is only remembered.
    pub registered: bool,
    /// Whether it can be used, and what it is.
    pub condition: Condition,
    /// Whether somebody uses it now. A hint: it may have changed since; [`crate::Library::status`] asks.
    pub activity: Activity,
    /// Another machine of the library that has the same UUID.
    pub duplicate_of: Option<PathBuf>,
}

/// Whether a machine can be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Its configuration was read.
    Usable(Summary),
    /// Its configuration was refused: everything that was found.
    Broken(Vec<Problem>),
    /// The bundle is not there or may not be read. An external disk that comes back brings the machine back.
    Unavailable {
        /// Whether it is not there.
        missing: bool,
        /// What stands in the way.
        why: String,
    },
}

/// What a list shows of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What runs it.
    pub backend: BackendKind,
    /// The guest's architecture.
    pub architecture: Architecture,
    /// QEMU's machine type; empty for [`BackendKind::Native`].
    pub target: String,
    /// The guest's memory, in MiB.
    pub memory_mib: u64,
    /// The number of vCPUs; 0 where the host decides.
    pub cpu_count: u32,
    /// The icon's name: a built-in one, or a file in `Data/` with `icon_custom`.
    pub icon: Option<String>,
    /// Whether the icon is a file in `Data/`.
    pub icon_custom: bool,
    /// What was noticed when the configuration was read; none of it is fatal.
    pub problems: Vec<Problem>,
}

/// Whether somebody uses a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Nobody.
    Stopped,
    /// It runs: [`crate::Library::status`] tells in which state.
    Running,
    /// It does not run, but somebody holds it: it is being changed, copied or started.
    Busy,
}

impl Activity {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Busy => "busy",
        }
    }
}

impl Machine {
    /// What it is, where its configuration can be read.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.condition {
            Condition::Usable(summary) => Some(summary),
            Condition::Broken(_) | Condition::Unavailable { .. } => None,
        }
    }

    /// What is wrong with it, fatal or not.
    pub fn problems(&self) -> &[Problem] {
        match &self.condition {
            Condition::Usable(summary) => &summary.problems,
            Condition::Broken(problems) => problems,
            Condition::Unavailable { .. } => &[],
        }
    }

    /// Fails with what is wrong where it cannot be used.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a broken one, [`ErrorKind::NotFound`] for one that is not there, [`ErrorKind::Io`] for one that may not be
    /// read.
    pub fn usable(&self) -> Result<&Summary> {
        match &self.condition {
            Condition::Usable(summary) => Ok(summary),
            Condition::Broken(problems) => {
                Err(Error::new(ErrorKind::Invalid, format!("The configuration of \"{}\" cannot be used", self.name))
                    .with_problems(problems.clone())
                    .with_hint(format!("Correct {}", self.path.join("config.plist").display())))
            }
            Condition::Unavailable { missing, why } => {
                let kind = if *missing { ErrorKind::NotFound } else { ErrorKind::Io };
                let error = Error::new(kind, format!("\"{}\" is not available: {why}: {}", self.name, self.path.display()));
                Err(match (missing, self.registered) {
                    (true, true) => error.with_hint("Connect the disk that it is on; if it is gone for good, unregister it"),
                    (true, false) => error,
                    (false, _) => error
                        .with_hint("Check who may read the folder and what is in it: `ls -l` shows that, `chmod` and `chown` change it"),
                })
            }
        }
    }
}
