//! The files of a legacy bundle, brought to where version 4 expects them.
//!
//! | legacy | version 4 |
//! |---|---|
//! | `Images/` | `Data/` |
//! | `debug.log`, the custom icon | the same name in `Data/` |
//! | `view.plist` | the registry of the host; the file stays until [`retire_view_state`] |
//!
//! Nothing is overwritten and nothing is deleted. Every step is one `rename` that either happens or does not, and each is skipped when there
//! is nothing left to move, so a move that was interrupted is completed by the next.

use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// A legacy `config.plist` is a few kilobytes. A larger one is not read here; then the icon stays where it is.
const CONFIG_LIMIT: u64 = 16 << 20;

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

    let log = Some("debug.log".to_owned());
    for name in log.into_iter().chain(icon_name(&bundle_dir.join("config.plist"))) {
        let from = bundle_dir.join(&name);
        if file_type(&from)?.is_some_and(|kind| kind.is_file()) {
            create_directory(&data)?;
            rename_beside(&from, &data)?;
        }
    }
    Ok(())
}

/// Renames `view.plist` to `view.plist.migrated`, once what [`super::view_state`] found in it is stored. UTM deletes the file; its bookmarks
/// mean something only on the Mac where they were made, and a person may go back there.
///
/// # Errors
/// When the file system refuses the rename. That there is no `view.plist` is no error.
pub fn retire_view_state(bundle_dir: &Path) -> io::Result<()> {
    let from = bundle_dir.join("view.plist");
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

/// The custom icon that a legacy QEMU configuration names, if it is a plain file name. Whatever is wrong with the file is for the reader of
/// the configuration to say; without a name, the icon stays where it is and nothing is lost.
fn icon_name(config: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(config).ok()?.take(CONFIG_LIMIT).read_to_end(&mut bytes).ok()?;
    let value = plist::Value::from_reader(io::Cursor::new(bytes)).ok()?;
    let root = value.as_dictionary()?;
    let info = root.get("Info")?.as_dictionary()?;
    if root.contains_key("Backend") || info.get("IconCustom")?.as_boolean() != Some(true) {
        return None;
    }
    let name = info.get("Icon")?.as_string()?;
    let reserved = ["config.plist", "view.plist", "screenshot.png", "debug.log"];
    (is_file_name(name) && !reserved.contains(&name)).then(|| name.to_owned())
}

/// Whether the text names an entry of a directory, and nothing in another one.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
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
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // A file system without this flag (9p, some FUSE): nobody else moves files of a bundle that is being saved, so look and rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if file_type(to)?.is_none() => fs::rename(from, to).map(|()| true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => {
            let error = io::Error::from(error);
            Err(io::Error::new(error.kind(), format!("Cannot move to {}: {error}: {}", to.display(), from.display())))
        }
    }
}

fn no_free_name(from: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("Cannot find a free name: {}", from.display()))
}
