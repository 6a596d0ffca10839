//! Opens and makes files below a folder that a stranger may have arranged: a bundle from the internet, a folder that others write to.
//!
//! No symbolic link leads out of the folder, nothing but regular files is opened, and what was checked is what is opened: the check is made
//! on the descriptor that the caller gets. Links to other places inside are followed.

mod create;
mod error;
mod resolve;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

pub use error::FileError;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

impl Access {
    fn flags(self) -> OFlags {
        let mode = match self {
            Self::Read => OFlags::RDONLY,
            Self::ReadWrite => OFlags::RDWR,
        };
        mode | OFlags::CLOEXEC | OFlags::NOCTTY
    }
}

/// A folder, held by a descriptor: it stays the same one whatever its name comes to lead to.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`. Links on the way to it are followed: this path is the caller's own.
    ///
    /// # Errors
    /// What the kernel says; among others that it is no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let flags = OFlags::RDONLY;
        let descriptor = openat(CWD, path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// Where it was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the regular file `relative`. A device or pipe of that name is not even opened, for that alone can do something.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn file(&self, relative: &Path, access: Access) -> Result<File, FileError> {
        let failed = |source| FileError::Io { path: self.path.join(relative), source };
        #[cfg(target_os = "linux")]
        {
            reopen(self.found(relative)?, access).map_err(failed)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let file = File::from(self.resolved(relative, access.flags() | OFlags::NONBLOCK)?);
            if !file.metadata().map_err(failed)?.is_file() {
                return Err(FileError::NotAFile(self.path.join(relative)));
            }
            let flags = rustix::fs::fcntl_getfl(&file).map_err(|error| failed(error.into()))?;
            rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
            Ok(file)
        }
    }

    /// Whether `relative` is there; where it is, it is a regular file.
    ///
    /// # Errors
    /// [`FileError`], among others for a link to nothing: whoever made a file of that name would make it where the link points.
    pub fn has_file(&self, relative: &Path) -> Result<bool, FileError> {
        match self.found(relative) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the regular file `relative`, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self, relative: &Path, limit: usize) -> Result<(Vec<u8>, Metadata), FileError> {
        let path = self.path.join(relative);
        let failed = |source| FileError::Io { path: path.clone(), source };
        // Without NONBLOCK, a FIFO of that name would hang the reader.
        let file = File::from(self.resolved(relative, Access::Read.flags() | OFlags::NONBLOCK)?);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile(path));
        }
        let mut bytes = Vec::new();
        let count = file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if count > limit { Err(FileError::TooLarge { path, limit }) } else { Ok((bytes, metadata)) }
    }

    /// A descriptor by which `relative` can be asked what it is and opened; it is a regular file.
    fn found(&self, relative: &Path) -> Result<OwnedFd, FileError> {
        let path = self.path.join(relative);
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let descriptor = match self.resolved(relative, flags | OFlags::CLOEXEC) {
            Err(error) if error.is_not_found() && path.is_symlink() => return Err(FileError::Dangling(path)),
            opened => opened?,
        };
        match rustix::fs::fstat(&descriptor) {
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() => Ok(descriptor),
            Ok(_) => Err(FileError::NotAFile(path)),
            Err(error) => Err(FileError::Io { path, source: error.into() }),
        }
    }

    fn resolved(&self, relative: &Path, flags: OFlags) -> Result<OwnedFd, FileError> {
        resolve::open(self, relative, flags).map_err(|error| match error {
            Errno::XDEV => FileError::Escapes(self.path.join(relative)),
            error => FileError::Io { path: self.path.join(relative), source: error.into() },
        })
    }
}

/// Opens the very file that `file` is once more, with an offset, an access and locks of its own.
///
/// # Errors
/// What the kernel says; among others that the file may not be written.
#[cfg(target_os = "linux")]
pub fn reopen(file: impl AsFd, access: Access) -> io::Result<File> {
    use std::os::fd::AsRawFd;

    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(openat(CWD, path, access.flags(), Mode::empty())?.into())
}
