//! What every command works with: the person's machines and a way to print.

use crate::error::Result;
use crate::output::Output;
use library::{Library, Machine};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use supervisor_api::Places;

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// How to print.
    pub output: Output,
    /// The machines.
    pub library: Library,
}

impl Context {
    /// Opens the library.
    pub fn open(output: Output) -> Result<Self> {
        Ok(Self { output, library: Library::open(Places::from_environment()?)? })
    }

    /// The machine that is meant.
    pub fn find(&self, query: &str) -> Result<Machine> {
        Ok(self.library.find(query)?)
    }

    /// The folder of a machine's logs.
    pub fn logs_of(&self, machine: &Machine) -> PathBuf {
        self.library.places().logs_of(&machine.id)
    }

    /// Prints a machine's status as JSON, or a sentence on what was done.
    pub async fn done(&self, machine: &Machine, sentence: impl AsRef<str>) -> Result {
        if self.output.json {
            return self.output.json(&self.library.status(machine).await?);
        }
        if self.output.quiet { Ok(()) } else { self.output.line(sentence) }
    }
}

/// A path that stays true when somebody else opens it.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Whether a path's name ends in this extension, in capitals or not.
pub fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
