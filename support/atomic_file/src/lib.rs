//! Files that appear, are replaced and removed as a whole: whoever looks finds the old content or the new, also after a crash.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use rustix::fs::{CWD, RenameFlags, renameat_with};
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// New content that is on the disk, under a hidden name beside its destination. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    destination: PathBuf,
}

/// Writes `bytes` beside `destination` and flushes them to the disk. The mode of an existing destination is kept.
///
/// # Errors
/// What the file system says.
pub fn stage(destination: &Path, bytes: &[u8]) -> io::Result<Staged> {
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
///
/// # Errors
/// What the file system says.
pub fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Staged {
    /// Puts the new content in place.
    ///
    /// # Errors
    /// What the file system says; the old content is then still there.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(&self.destination).map_err(|error| error.error)?;
        sync_folder(parent(&self.destination))
    }
}

/// [`stage`] and [`Staged::commit`] at once.
///
/// # Errors
/// As theirs.
pub fn write(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    stage(destination, bytes)?.commit()
}

/// Flushes a folder's entries to the disk.
///
/// # Errors
/// What the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems have no such operation on folders.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// Renames a file or folder to a name that nothing has.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where something has it; else what the file system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step (9p, some FUSE).
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        result => return Ok(result?),
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renaming_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        assert_eq!(rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        rename_new(&a, &folder.path().join("c")).unwrap();
        assert!(!a.exists());
    }

    #[test]
    fn content_is_replaced_as_a_whole_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write(&file, b"old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let staged = stage(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"old");
        drop(staged);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
