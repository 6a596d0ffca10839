//! The files of a legacy bundle, brought to where version 4 expects them.
//!
//! | legacy | version 4 |
//! |---|---|
//! | `Images/` | `Data/` |
//! | `debug.log`, the custom icon | the same name in `Data/` |
//! | `config.plist` | the new `config.plist`; a copy stays as `config.plist.migrated` |
//! | `view.plist` | the registry of the host, by [`super::hand_over_view_state`]; the file stays as `view.plist.migrated` |
//!
//! UTM keeps neither of the last two. It leaves files in the bundle's root alone, so the copies are safe there, and in them is what version 4
//! has no place for.
//!
//! Nothing is overwritten and nothing is deleted. Every step is one `rename` that either happens or does not, and each is skipped when there
//! is nothing left to move, so a move that was interrupted is completed by the next.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use beneath::Folder;
use plist::{Dictionary, Value};

use super::VIEW_STATE_FILE;
use crate::{FileName, tree};

/// How many free names are tried.
const FREE_NAMES: u32 = 1000;

/// Moves the files of a legacy QEMU bundle. To be called before the migrated `config.plist` replaces the legacy one, which names the icon.
///
/// # Errors
/// When both `Images` and a `Data` with something in it exist (nobody can tell which of two disks of the same name is the right one), when
/// `Images` is not a directory, and when the file system refuses a rename.
pub fn move_files(bundle_dir: &Path) -> io::Result<()> {
    let data = bundle_dir.join("Data");
    move_images(&bundle_dir.join("Images"), &data)?;

    let mut names = vec!["debug.log".to_owned()];
    if let Some((bytes, configuration)) = legacy_configuration(bundle_dir) {
        names.extend(icon_name(&configuration));
        keep_copy(&bytes, &bundle_dir.join("config.plist.migrated"))?;
    }
    for name in names {
        let from = bundle_dir.join(&name);
        if file_type(&from)?.is_some_and(|kind| kind.is_file()) {
            create_directory(&data)?;
            rename_beside(&from, &data)?;
        }
    }
    Ok(())
}

/// Renames `view.plist` to `view.plist.migrated`, once what [`super::view_state()`] found in it is stored. UTM deletes the file; its bookmarks
/// mean something only on the Mac where they were made, and a person may go back there.
///
/// # Errors
/// When the file system refuses the rename. That there is no `view.plist` is no error.
pub fn retire_view_state(bundle_dir: &Path) -> io::Result<()> {
    let from = bundle_dir.join(VIEW_STATE_FILE);
    if file_type(&from)?.is_none() {
        return Ok(());
    }
    for number in 1..=FREE_NAMES {
        let name = if number == 1 { "view.plist.migrated".to_owned() } else { format!("view.plist.migrated-{number}") };
        if rename_if_free(&from, &bundle_dir.join(name))? {
            return Ok(());
        }
    }
    Err(no_free_name(&from))
}

fn move_images(images: &Path, data: &Path) -> io::Result<()> {
    match file_type(images)? {
        None => return Ok(()),
        Some(kind) if kind.is_dir() => {}
        // A link could lead anywhere, and `Data` must be inside the bundle.
        Some(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("Not a directory: {}", images.display()))),
    }
    // rename(2) replaces a directory only if it is empty.
    fs::rename(images, data).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!(
                "The bundle has disk images both in Images and in Data, and only one can be its Data; \
                 move the images that belong to the machine into Images and remove Data: {}",
                data.display()
            ),
        ),
        _ => io::Error::new(error.kind(), format!("Cannot rename Images to Data: {error}: {}", images.display())),
    })
}

/// The configuration that is about to be replaced, if it is a legacy one. Whatever is wrong with the file is for its reader to say; without it
/// the icon stays where it is, and nothing is lost.
fn legacy_configuration(bundle_dir: &Path) -> Option<(Vec<u8>, Dictionary)> {
    let (bytes, _) = Folder::open(bundle_dir).ok()?.read(Path::new("config.plist"), tree::MAX_BYTES).ok()?;
    let root = tree::read(&bytes).ok()?.into_dictionary()?;
    let legacy = matches!(root.get("Backend").map(Value::as_string), None | Some(Some("Unknown")));
    legacy.then_some((bytes, root))
}

/// The file name of the custom icon.
fn icon_name(configuration: &Dictionary) -> Option<String> {
    let info = configuration.get("Info")?.as_dictionary()?;
    if info.get("IconCustom")?.as_boolean() != Some(true) {
        return None;
    }
    let name = info.get("Icon")?.as_string()?;
    let reserved = ["config.plist", "config.plist.migrated", VIEW_STATE_FILE, "screenshot.png", "debug.log"];
    (FileName::new(name).is_ok() && !reserved.contains(&name)).then(|| name.to_owned())
}

/// Writes the copy, unless there is one from a move that was interrupted.
fn keep_copy(bytes: &[u8], path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// The type of what is at `path` itself, links not followed.
fn file_type(path: &Path) -> io::Result<Option<FileType>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    match file_type(path)? {
        Some(kind) if kind.is_dir() => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, format!("Not a directory: {}", path.display()))),
        None => fs::create_dir(path),
    }
}

/// Moves the file into the directory under its name, or under `name-2.ext`, `name-3.ext`, ... when that is taken.
fn rename_beside(from: &Path, directory: &Path) -> io::Result<()> {
    for number in 1..=FREE_NAMES {
        if rename_if_free(from, &directory.join(numbered(from, number)))? {
            return Ok(());
        }
    }
    Err(no_free_name(from))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    if number > 1 {
        name.push(format!("-{number}"));
    }
    if let Some(extension) = path.extension() {
        name.push(OsStr::new("."));
        name.push(extension);
    }
    PathBuf::from(name)
}

/// Whether `to` was free and now holds what `from` held.
fn rename_if_free(from: &Path, to: &Path) -> io::Result<bool> {
    match atomic_file::rename_new(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io::Error::new(error.kind(), format!("Cannot move to {}: {error}: {}", to.display(), from.display()))),
    }
}

fn no_free_name(from: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("Cannot find a free name: {}", from.display()))
}
