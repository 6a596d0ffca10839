//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::TempDir;

/// What the directory of an unfinished file is called; a random part follows.
const PARTIAL: &str = ".partial-";

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The file system is full.
    #[error("The disk is full: {needed} bytes are needed and {available} are free; make room and try again: {}", path.display())]
    NoSpace {
        /// The file that was to be written.
        path: PathBuf,
        /// Bytes that it takes, at most.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// There is such a file.
    #[error("The file exists already; choose another name: {}", .0.display())]
    Exists(PathBuf),
    /// Something else failed.
    #[error("Could not {attempt}; check that the folder exists and may be written: {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SaveError {
    /// For `map_err`: recognizes a full disk. `needed` is what the whole file takes.
    pub(crate) fn on<'a>(attempt: &'static str, path: &'a Path, needed: u64) -> impl Fn(io::Error) -> Self + use<'a> {
        move |source| match source.raw_os_error().map(Errno::from_raw_os_error) {
            // A quota, or a limit of the process, is a full disk to a person.
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { path: path.to_owned(), needed, available: available(path) },
            _ => Self::Io { attempt, path: path.to_owned(), source },
        }
    }
}

/// Free bytes where `path` is or would be; 0 if that cannot be found out.
pub fn available(path: &Path) -> u64 {
    let place = if path.is_dir() { path } else { folder(path) };
    rustix::fs::statvfs(place).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
}

/// The folder of a file.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An unfinished file: it has its name, in a directory of its own beside its place. Dropping this removes it.
pub struct Partial {
    directory: TempDir,
    target: PathBuf,
}

impl Partial {
    /// Prepares to write `target`.
    pub fn new(target: &Path, replace: bool) -> Result<Self, SaveError> {
        if !replace && target.symlink_metadata().is_ok() {
            return Err(SaveError::Exists(target.to_owned()));
        }
        let directory = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(folder(target));
        let directory = directory.map_err(SaveError::on("write into the folder", folder(target), 0))?;
        Ok(Self { directory, target: target.to_owned() })
    }

    /// Makes the file, empty, so that whoever writes it does not choose who may read it, and gives the directory that it is in.
    pub fn make(&self) -> Result<PathBuf, SaveError> {
        let made = File::create_new(self.path());
        made.map_err(SaveError::on("write into the folder", folder(&self.target), 0)).map(|_| self.directory.path().to_owned())
    }

    /// Where to write.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(self.target.file_name().unwrap_or("image".as_ref()))
    }

    /// Makes the file last and gives it its place.
    pub fn finish(self, replace: bool) -> Result<(), SaveError> {
        let path = self.path();
        let length = path.metadata().map_or(0, |metadata| metadata.len());
        let failed = SaveError::on("write the file", &self.target, length);
        File::open(&path).and_then(|file| file.sync_all()).map_err(&failed)?;
        let renamed = if replace { fs::rename(&path, &self.target) } else { atomic_file::rename_new(&path, &self.target) };
        renamed.map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists { SaveError::Exists(self.target.clone()) } else { failed(error) }
        })?;
        atomic_file::sync_folder(folder(&self.target)).map_err(&failed)
    }
}

/// Makes a raw image of `size` bytes that takes no room until it is written to.
///
/// # Errors
///
/// [`SaveError`]; there is no file then, or the one that was there before.
pub fn create_raw(path: &Path, size: u64) -> Result<(), SaveError> {
    let partial = Partial::new(path, false)?;
    let failed = SaveError::on("make the image", path, size);
    File::create_new(partial.path()).and_then(|file| file.set_len(size)).map_err(failed)?;
    partial.finish(false)
}
