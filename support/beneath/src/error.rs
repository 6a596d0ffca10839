//! Why a file below a folder cannot be used.

use std::io;
use std::path::PathBuf;

/// Why a file below a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A symbolic link on the way leads out of the folder.
    #[error("Symbolic link leads out of its folder; put the file itself there: {}", .0.display())]
    Escapes(PathBuf),
    /// A symbolic link leads to nothing.
    #[error("Symbolic link leads to nothing; put the file itself there: {}", .0.display())]
    Dangling(PathBuf),
    /// It is a folder, a device or the like.
    #[error("Expected a regular file: {}", .0.display())]
    NotAFile(PathBuf),
    /// It is larger than files of its kind are.
    #[error("File is larger than the limit of {limit} bytes: {}", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// The operating system failed.
    #[error("Could not open file: {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl FileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
