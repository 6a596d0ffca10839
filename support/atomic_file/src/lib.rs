//! Replaces and removes files as a whole: whoever reads it finds the old content or the new, also after a crash.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// New content that is on the disk, under a hidden name beside its destination. Dropping it removes it.
pub(crate) struct Staged {
    file: NamedTempFile,
    destination: PathBuf,
}

/// Writes `bytes` beside `destination` and flushes them to the disk. The mode of an existing destination is kept.
pub(crate) fn stage(destination: &Path, bytes: &[u8]) -> io::Result<Staged> {
    let directory = parent(destination);
    // The mode of a new file is narrowed by the umask, as for any other file.
    let mut file = tempfile::Builder::new().prefix(".new-").permissions(Permissions::from_mode(0o666)).tempfile_in(directory)?;
    match fs::symlink_metadata(destination) {
        Ok(metadata) if metadata.is_file() => {
            file.as_file().set_permissions(Permissions::from_mode(metadata.permissions().mode() & 0o777))?;
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(Staged { file, destination: destination.to_owned() })
}

/// Removes a file, which may be gone already.
pub(crate) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Staged {
    /// Puts the new content in place.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(&self.destination).map_err(|error| error.error)?;
        sync_directory(parent(&self.destination))
    }
}

/// [`stage`] and [`Staged::commit`] at once.
pub(crate) fn write(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    stage(destination, bytes)?.commit()
}

/// Flushes a directory's entries to the disk.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Some network and FUSE file systems have no such operation on directories.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
