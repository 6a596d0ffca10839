//! Opens files of a bundle so that no symbolic link can lead out of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Why a file of a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A symbolic link on the way leads out of the bundle.
    #[error("Symbolic link leads out of the bundle; put the file itself there: {}", .0.display())]
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
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Opens `relative` below `directory`. The descriptor is not inherited.
pub(crate) fn open(directory: &Path, relative: &Path, flags: OFlags) -> Result<OwnedFd, FileError> {
    let path = directory.join(relative);
    match open_resolved(directory, relative, flags | OFlags::CLOEXEC) {
        Ok(descriptor) => Ok(descriptor),
        Err(rustix::io::Errno::XDEV) => Err(FileError::Escapes(path)),
        Err(error) => Err(FileError::Io { path, source: error.into() }),
    }
}

#[cfg(target_os = "linux")]
fn open_resolved(directory: &Path, relative: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    use rustix::fs::{CWD, ResolveFlags, openat, openat2};
    use rustix::io::Errno;

    let root = openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel gives up with EAGAIN when something is renamed while it resolves.
    for _ in 0..16 {
        match openat2(&root, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return open_compared(directory, relative, flags),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(not(target_os = "linux"))]
fn open_resolved(directory: &Path, relative: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    open_compared(directory, relative, flags)
}

/// Resolves the path, compares it with the bundle's and opens what it led to. Somebody who changes the bundle at the same moment could win the race.
fn open_compared(directory: &Path, relative: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    let errno = |error: io::Error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
    let root = directory.canonicalize().map_err(errno)?;
    let resolved = root.join(relative).canonicalize().map_err(errno)?;
    if !resolved.starts_with(&root) {
        return Err(rustix::io::Errno::XDEV);
    }
    rustix::fs::open(&resolved, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Checks that `relative` below `directory` is a regular file that lies there; `false` if there is nothing of that name.
pub(crate) fn is_file(directory: &Path, relative: &Path) -> Result<bool, FileError> {
    let path = directory.join(relative);
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let descriptor = match open(directory, relative, flags) {
        Ok(descriptor) => descriptor,
        // Whoever created a file of that name would create it where the link points.
        Err(error) if error.is_not_found() && path.is_symlink() => return Err(FileError::Dangling(path)),
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error),
    };
    let metadata = File::from(descriptor).metadata().map_err(|source| FileError::Io { path: path.clone(), source })?;
    if metadata.is_file() { Ok(true) } else { Err(FileError::NotAFile(path)) }
}

/// Reads `relative` below `directory`: a regular file of at most `limit` bytes.
pub(crate) fn read(directory: &Path, relative: &Path, limit: usize) -> Result<(Vec<u8>, std::fs::Metadata), FileError> {
    let path = directory.join(relative);
    let failed = |source| FileError::Io { path: path.clone(), source };
    // Without NONBLOCK, a FIFO of that name would hang the reader.
    let file = File::from(open(directory, relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path));
    }
    let mut bytes = Vec::new();
    let count = file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if count > limit { Err(FileError::TooLarge { path, limit }) } else { Ok((bytes, metadata)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::io::Errno;

    use super::*;

    /// Where the kernel cannot resolve beneath a directory, comparing paths refuses the same links.
    #[test]
    fn comparing_refuses_what_the_kernel_would() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("a.utm");
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(folder.path().join("secret"), "").unwrap();
        std::fs::write(bundle.join("file"), "").unwrap();
        symlink("../secret", bundle.join("out")).unwrap();
        symlink("file", bundle.join("in")).unwrap();
        let open = |name: &str| open_compared(&bundle, Path::new(name), OFlags::RDONLY | OFlags::CLOEXEC).map(drop);
        assert_eq!(open("file"), Ok(()));
        assert_eq!(open("in"), Ok(()));
        assert_eq!(open("out"), Err(Errno::XDEV));
        assert_eq!(open("../secret"), Err(Errno::XDEV));
        assert_eq!(open("missing"), Err(Errno::NOENT));
    }
}
