//! Files and folders: sizes, free space, exchanging names, removing without following links.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use crate::{Error, ErrorKind, Result, staging};

/// What has to stay free besides what is written: metadata, and room for others.
const MARGIN: u64 = 16 << 20;

/// Gives each of two the other's name.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        // Some file systems cannot do that in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {}
        result => return Ok(result?),
    }
    // Never removed with what is in it: that is somebody's.
    let aside = tempfile::Builder::new().prefix(".aside-").tempdir_in(a.parent().unwrap_or(Path::new("/")))?.keep();
    let third = aside.join("it");
    fs::rename(b, &third)?;
    if let Err(error) = fs::rename(a, b) {
        fs::rename(&third, b)?;
        return Err(error);
    }
    fs::rename(&third, a)?;
    fs::remove_dir(aside)
}

/// Removes a file or a folder with everything in it, without following links. Nothing there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The space that a file or folder takes on disk, in bytes.
pub(crate) fn allocated(path: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(path).follow_links(false).into_iter().filter_map(std::result::Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|data| data.blocks().saturating_mul(512)).sum()
}

/// The free space of the file system that `folder` is on, in bytes.
pub(crate) fn free_space(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses where `needed` bytes do not fit. A file system that does not say how much is free is trusted.
pub(crate) fn ensure_space(folder: &Path, needed: u64) -> Result<()> {
    let Ok(free) = free_space(folder) else { return Ok(()) };
    if needed == 0 || needed.saturating_add(MARGIN) <= free {
        return Ok(());
    }
    Err(no_space(folder, needed, free))
}

/// A file system that is too small, or was filled meanwhile: for what is or was to be in `folder`.
pub(crate) fn no_space(folder: &Path, needed: u64, free: u64) -> Error {
    let folder = staging::place_of(folder);
    let message = format!("Not enough space: {} needed, {} free in {}", human(needed), human(free), folder.display());
    Error::new(ErrorKind::NoSpace, message).with_hint("Free some space, or use another file system")
}

/// A number of bytes for people.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// An absolute path without `.` and `..` where the file exists; otherwise as absolute as can be.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_path_buf())
}

/// A name in `folder` that nothing has: `file.ext`, `file-2.ext`, …
pub(crate) fn free_name(folder: &Path, wanted: &str) -> String {
    let (stem, extension) = match wanted.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (wanted, String::new()),
    };
    let numbered = (2_u64..).map(|number| format!("{stem}-{number}{extension}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names.find(|name| folder.join(name).symlink_metadata().is_err()).unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(human(12), "12 bytes");
        assert_eq!(human(1 << 30), "1.0 GiB");
        assert_eq!(human(1536 << 10), "1.5 MiB");
    }

    #[test]
    fn a_free_name_is_numbered_before_its_extension() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(free_name(folder.path(), "vmlinuz"), "vmlinuz");
        fs::write(folder.path().join("disk.qcow2"), "").unwrap();
        fs::write(folder.path().join("disk-2.qcow2"), "").unwrap();
        assert_eq!(free_name(folder.path(), "disk.qcow2"), "disk-3.qcow2");
    }

    #[test]
    fn more_than_there_is_does_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ensure_space(folder.path(), 1).is_ok());
        assert_eq!(ensure_space(folder.path(), u64::MAX / 2).unwrap_err().kind(), ErrorKind::NoSpace);
    }
}
