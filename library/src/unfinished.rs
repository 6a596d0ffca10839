//! What a change of drives leaves in `Data/` when its process dies, and how the next change clears it away.

use std::fs::{self, File};
use std::path::Path;

use bundle::{Bundle, FileName};
use tempfile::TempDir;

use crate::{Error, Result, files, images};

/// What unfinished things in `Data/` are called, as `disk_image` calls them, too; a random part follows.
const PARTIAL: &str = ".partial-";
/// What a [`Note`] is called.
const NOTE: &str = ".partial-change-";

/// A note in `Data/` of images that a change brings in or takes out. As long as it is there, those of them that no drive uses are left from a
/// change that was never finished. Dropping this removes the note.
pub(crate) struct Note(#[expect(dead_code, reason = "removed when it is dropped")] TempDir);

impl Note {
    /// Writes the note, which must be there before the first of the images appears.
    pub(crate) fn write(data: &Path, images: &[&FileName]) -> Result<Self> {
        let failed = |error| Error::io(format!("Cannot write to {}", data.display()), error);
        let note = tempfile::Builder::new().prefix(NOTE).tempdir_in(data).map_err(failed)?;
        for image in images {
            File::create_new(note.path().join(image.as_str())).map_err(failed)?;
        }
        atomic_file::sync_folder(note.path()).and_then(|()| atomic_file::sync_folder(data)).map_err(failed)?;
        Ok(Self(note))
    }
}

/// A folder in `Data/` for files that are not finished; with it goes what is in it.
pub(crate) fn folder(data: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(data);
    made.map_err(|error| Error::io(format!("Cannot write to {}", data.display()), error))
}

/// Removes what is left of changes whose process has died. The bundle's lock is held, so there is no other. `used` says whether a drive of
/// the machine uses an image.
pub(crate) fn clear(bundle: &Bundle, data: &Path, used: impl Fn(&FileName) -> bool) {
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if !name.as_encoded_bytes().starts_with(PARTIAL.as_bytes()) {
            continue;
        }
        let is_note = name.as_encoded_bytes().starts_with(NOTE.as_bytes()) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let cleared = if is_note { clear_noted(bundle, data, &path, &used) } else { Ok(()) };
        if let Err(error) = cleared.and_then(|()| files::remove(&path)) {
            tracing::warn!(path = %path.display(), %error, "cannot remove what an unfinished change has left");
        }
    }
}

fn clear_noted(bundle: &Bundle, data: &Path, note: &Path, used: impl Fn(&FileName) -> bool) -> std::io::Result<()> {
    for noted in fs::read_dir(note)? {
        let name = noted?.file_name();
        let Some(name) = name.to_str().and_then(|name| FileName::new(name).ok()).filter(|name| !used(name)) else { continue };
        match fs::remove_file(data.join(name.as_str())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        images::record(bundle.path(), |images| drop(images.remove(&name))).map_err(|error| std::io::Error::other(error.chain()))?;
    }
    Ok(())
}
