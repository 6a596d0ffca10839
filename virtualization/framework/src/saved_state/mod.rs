//! Saved machines: what a file says of one, and whether it can go on here.

mod file;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use hv::{GuestMemory, SavedState as ProcessorState};
use serde::de::DeserializeOwned;

use crate::engine::Outside;
use crate::error::{Error, ErrorKind, Result};
use file::{Contents, Unfinished, Unreadable};

/// A machine's state in a file, without the file having been read any further than to know what it is. Restoring is
/// [`crate::VirtualMachine::restore_machine_state_from`].
#[derive(Debug)]
pub struct SavedMachineState {
    path: PathBuf,
    contents: Contents,
    configuration: BTreeMap<String, String>,
}

/// What is kept of a machine beside its memory.
pub(crate) struct Parts<'a> {
    /// What machine it is: place in the configuration and what the guest sees of it.
    pub configuration: &'a BTreeMap<String, String>,
    /// What processor it ran on.
    pub processor: &'a ProcessorState,
    /// vCPUs and devices.
    pub machine: &'a serde_json::Value,
}

/// Writes a state in place of what has this path, or leaves everything as it is. Files get their names outside.
pub(crate) fn write(path: &Path, parts: &Parts<'_>, memory: &GuestMemory, outside: &Outside) -> Result<()> {
    let failed = |error: std::io::Error| {
        let next = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ": there is no room left, so make some and save again",
            _ => "",
        };
        Error::because(ErrorKind::Save, format!("Could not write the machine's state to {}{next}", path.display()), error)
    };
    let bytes = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| failed(error.into()));
    let parts = [
        bytes(serde_json::to_vec(parts.configuration))?,
        bytes(serde_json::to_vec(parts.processor))?,
        bytes(serde_json::to_vec(parts.machine))?,
    ];
    let to = path.to_owned();
    let unfinished = outside.run(move || Unfinished::new(to))?.map_err(failed)?;
    let written = unfinished.file().and_then(|file| file::write(&file, &parts, memory));
    let finish = move || match written {
        Ok(()) => unfinished.finish(),
        Err(error) => {
            unfinished.discard();
            Err(error)
        }
    };
    outside.run(finish)?.map_err(failed)
}

impl SavedMachineState {
    /// Opens a state that [`crate::VirtualMachine::save_machine_state_to`] wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Restore`] where the file is none, is damaged, not all there, or of another version of the format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let opened = file::open(&path);
        Self::read(path, opened)
    }

    /// The same, opened outside.
    pub(crate) fn open_outside(path: &Path, outside: &Outside) -> Result<Self> {
        let from = path.to_owned();
        let opened = outside.run(move || file::open(&from))?;
        Self::read(path.to_owned(), opened)
    }

    fn read(path: PathBuf, opened: std::result::Result<File, Unreadable>) -> Result<Self> {
        let contents = opened.and_then(file::read).map_err(|error| refused(&path, error))?;
        let configuration = parse(&path, &contents.parts[0])?;
        Ok(Self { path, contents, configuration })
    }

    /// What machine it is of: for each place in its configuration that a guest knows of, what is there.
    pub fn configuration(&self) -> &BTreeMap<String, String> {
        &self.configuration
    }

    /// Bytes of the machine's memory.
    pub fn memory_size(&self) -> u64 {
        self.contents.memory_size
    }

    /// What processor it ran on.
    pub(crate) fn processor(&self) -> Result<ProcessorState> {
        parse(&self.path, &self.contents.parts[1])
    }

    /// vCPUs and devices.
    pub(crate) fn machine<T: DeserializeOwned>(&self) -> Result<T> {
        parse(&self.path, &self.contents.parts[2])
    }

    /// Its memory, mapped: what the guest writes stays out of the file.
    pub(crate) fn memory(&self, ranges: &[(u64, u64)], outside: &Outside) -> Result<GuestMemory> {
        let wanted: u64 = ranges.iter().map(|(_, size)| size).sum();
        if wanted != self.memory_size() {
            let found = self.memory_size();
            return Err(refused(&self.path, format!("It has {found} bytes of memory, and the machine has {wanted}")));
        }
        let file = self.contents.file.try_clone().map_err(|error| refused(&self.path, error))?;
        let (offset, ranges) = (self.contents.memory_offset, ranges.to_vec());
        outside.run(move || hv::map_image(&file, offset, &ranges))?.map_err(|error| refused(&self.path, error))
    }

    /// Refuses a machine with another configuration, and says what is different.
    pub(crate) fn require_configuration(&self, now: &BTreeMap<String, String>) -> Result<()> {
        let mut differences = String::new();
        for (place, saved) in &self.configuration {
            let _ = match now.get(place) {
                Some(now) if now == saved => Ok(()),
                Some(now) => write!(differences, "; {place} was {saved} and is {now}"),
                None => write!(differences, "; {place} was {saved} and is not there"),
            };
        }
        for (place, value) in now.iter().filter(|(place, _)| !self.configuration.contains_key(*place)) {
            let _ = write!(differences, "; {place} is {value} and was not there");
        }
        match differences.strip_prefix("; ") {
            None => Ok(()),
            Some(differences) => Err(refused(&self.path, format!("It is of a machine with another configuration: {differences}"))),
        }
    }

    /// A failure to restore this.
    pub(crate) fn refuse(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        refused(&self.path, why)
    }
}

fn refused(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::because(ErrorKind::Restore, format!("Could not restore the machine from {}", path.display()), why)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| refused(path, error))
}
