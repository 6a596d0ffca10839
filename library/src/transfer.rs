//! Copying a whole bundle, holes as holes, and sharing blocks where the file system can.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use disk_image::copy::{self, CopyError};
use walkdir::WalkDir;

use crate::{Error, ErrorKind, Job, Result, files};

/// Folders in a bundle that are nested deeper are not a machine's.
const MAX_DEPTH: usize = 8;
/// More files than this are not a machine's.
const MAX_FILES: usize = 100_000;

/// One file, folder or link of a bundle.
#[derive(Debug)]
pub(crate) struct Item {
    /// Below the bundle.
    pub relative: PathBuf,
    pub kind: ItemKind,
}

#[derive(Debug)]
pub(crate) enum ItemKind {
    Folder,
    File {
        /// What it takes on disk, in bytes.
        allocated: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A link to something in the bundle.
    Link(PathBuf),
    /// A link that leads out of the bundle. No machine can use it, and copies are made without it.
    Outward,
}

/// Everything in a bundle, folders before what is in them. Sockets and the like are left out.
pub(crate) fn inventory(bundle: &Path) -> Result<Vec<Item>> {
    let failed = |source: io::Error| Error::io(format!("Cannot read {}", bundle.display()), source);
    let mut items = Vec::new();
    for entry in WalkDir::new(bundle).min_depth(1).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| failed(error.into()))?;
        let relative = entry.path().strip_prefix(bundle).unwrap_or(entry.path()).to_path_buf();
        if entry.depth() > MAX_DEPTH || items.len() >= MAX_FILES {
            return Err(Error::new(ErrorKind::Invalid, format!("Holds far more than a machine does: {}", bundle.display())));
        }
        // What another program is just writing.
        if relative.file_name().is_some_and(|name| is_temporary(&name.to_string_lossy())) {
            continue;
        }
        let kind = entry.file_type();
        let kind = if kind.is_dir() {
            ItemKind::Folder
        } else if kind.is_file() {
            let data = entry.metadata().map_err(|error| failed(error.into()))?;
            ItemKind::File { allocated: data.blocks().saturating_mul(512), length: data.len() }
        } else if kind.is_symlink() {
            match fs::read_link(entry.path()) {
                Ok(target) if stays_inside(&relative, &target) => ItemKind::Link(target),
                _ => ItemKind::Outward,
            }
        } else {
            continue;
        };
        items.push(Item { relative, kind });
    }
    Ok(items)
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".new-") || name.starts_with(".partial-")
}

/// Whether a link at `relative` to `target` leads to something below the same root, going by the names alone.
fn stays_inside(relative: &Path, target: &Path) -> bool {
    let mut depth = relative.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// Refuses a bundle of which [`copy_bundle`] would leave something out that a person made.
pub(crate) fn ensure_whole(bundle: &Path) -> Result<()> {
    let items = inventory(bundle)?;
    let Some(link) = items.iter().find(|item| matches!(item.kind, ItemKind::Outward)) else { return Ok(()) };
    let message = format!("A link leads out of the bundle and would be lost: {}", bundle.join(&link.relative).display());
    Err(Error::new(ErrorKind::Invalid, message).with_hint("Put the file itself there, or remove the link"))
}

/// Copies a bundle into `target`, an empty folder. Refuses before it begins where there is not enough space.
pub(crate) fn copy_bundle(source: &Path, target: &Path, job: &Job) -> Result<()> {
    let items = inventory(source)?;
    let sizes = |item: &Item| match item.kind {
        ItemKind::File { allocated, .. } => allocated,
        ItemKind::Folder | ItemKind::Link(_) | ItemKind::Outward => 0,
    };
    let total: u64 = items.iter().map(sizes).sum();
    if !shares_blocks(source, &items, target) {
        files::ensure_space(target, total)?;
    }
    let mut done: u64 = 0;
    for item in &items {
        job.check()?;
        let (from, to) = (source.join(&item.relative), target.join(&item.relative));
        let failed = |error| Error::io(format!("Cannot copy to {}", to.display()), error);
        match &item.kind {
            ItemKind::Folder => fs::create_dir(&to).map_err(failed)?,
            ItemKind::Outward => tracing::warn!(path = %from.display(), "left out a link that leads out of the bundle"),
            ItemKind::Link(link) => std::os::unix::fs::symlink(link, &to).map_err(failed)?,
            ItemKind::File { allocated, .. } => {
                let what = format!("Copying {}", item.relative.display());
                copy_file(&from, &to, job, |part, whole| {
                    let scaled = if whole == 0 { 0 } else { u128::from(*allocated) * u128::from(part) / u128::from(whole) };
                    job.report(what.as_str(), done.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX)), Some(total));
                })?;
                done = done.saturating_add(*allocated);
                job.report(what.as_str(), done, Some(total));
            }
        }
    }
    Ok(())
}

/// Copies one file with its permissions; `progress` hears bytes of bytes.
pub(crate) fn copy_file(from: &Path, to: &Path, job: &Job, mut progress: impl FnMut(u64, u64)) -> Result<()> {
    copy::copy(from, to, &mut progress, job.cancel().flag()).map_err(|error| from_copy(error, to))?;
    let failed = |error| Error::io(format!("Cannot copy to {}", to.display()), error);
    // The owner must be able to go on with it, whatever the source allowed.
    let mode = fs::metadata(from).map_err(failed)?.permissions().mode() & 0o777 | 0o600;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed)
}

pub(crate) fn from_copy(error: CopyError, to: &Path) -> Error {
    match error {
        CopyError::Cancelled => Error::cancelled(),
        CopyError::Read { path, source } => Error::io(format!("Cannot read {}", path.display()), source),
        CopyError::Write(error) => from_image_save(error, to),
        other => Error::new(ErrorKind::Io, format!("Cannot copy to {}", to.display())).with_source(other),
    }
}

pub(crate) fn from_image_save(error: disk_image::SaveError, to: &Path) -> Error {
    match error {
        disk_image::SaveError::NoSpace { path, needed, available } => files::no_space(path.parent().unwrap_or(&path), needed, available),
        disk_image::SaveError::Exists(_) => Error::new(ErrorKind::Exists, error.to_string()),
        disk_image::SaveError::Io { source, .. } => Error::io(format!("Cannot write {}", to.display()), source),
        other => Error::new(ErrorKind::Io, format!("Cannot write {}", to.display())).with_source(other),
    }
}

/// Whether the file system can make a copy that takes no space, tried on the largest file.
fn shares_blocks(source: &Path, items: &[Item], target: &Path) -> bool {
    let largest = items
        .iter()
        .filter_map(|item| match item.kind {
            ItemKind::File { allocated, .. } if allocated > 0 => Some((allocated, &item.relative)),
            _ => None,
        })
        .max_by_key(|(allocated, _)| *allocated);
    let Some((_, relative)) = largest else { return true };
    let same_device = |a: &Path, b: &Path| Some(fs::metadata(a).ok()?.dev() == fs::metadata(b).ok()?.dev());
    if same_device(source, target) != Some(true) {
        return false;
    }
    let attempt = || -> io::Result<bool> {
        let from = File::open(source.join(relative))?;
        let to = tempfile::tempfile_in(target)?;
        Ok(rustix::fs::ioctl_ficlone(&to, &from).is_ok())
    };
    attempt().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_by_name_only_inside() {
        assert!(stays_inside(Path::new("Data/a"), Path::new("b")));
        assert!(stays_inside(Path::new("Data/a"), Path::new("../screenshot.png")));
        assert!(!stays_inside(Path::new("Data/a"), Path::new("../../b")));
        assert!(!stays_inside(Path::new("Data/a"), Path::new("/etc/passwd")));
        assert!(!stays_inside(Path::new("a"), Path::new("b/../../c")));
    }
}
