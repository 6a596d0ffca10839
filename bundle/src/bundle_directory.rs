//! A bundle as a directory: opened, saved atomically, created whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use beneath::{Access, FileError, Folder};

use crate::configuration::{Configuration, Origin};
use crate::file_name::FileName;
use crate::lock::{BundleLock, LockError};
use crate::problem::{Problem, ReadError};
use crate::{legacy, tree};

/// The extension of bundles, without the dot.
pub const BUNDLE_EXTENSION: &str = "utm";
/// The configuration in a bundle.
pub const CONFIGURATION_FILE: &str = "config.plist";
/// The folder of the files that the configuration names. UTM deletes others in it.
pub const DATA_FOLDER: &str = "Data";
/// What UTM before 4.0 called the folder.
pub const LEGACY_DATA_FOLDER: &str = "Images";
/// The folder of what only Vivarium knows.
pub const OWN_FOLDER: &str = "Vivarium";
/// UEFI variables, in `Data/`.
pub const EFI_VARIABLES_FILE: &str = "efi_vars.fd";
/// State of the TPM, in `Data/`.
pub const TPM_FILE: &str = "tpmdata";
/// Log of the last run, in `Data/`.
pub const DEBUG_LOG_FILE: &str = "debug.log";
/// The last screenshot.
pub const SCREENSHOT_FILE: &str = "screenshot.png";

/// Why a bundle could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such directory.
    #[error("Expected a bundle, which is a folder whose name ends in .utm: {}", .0.display())]
    NotABundle(PathBuf),
    /// It has no configuration.
    #[error("Bundle has no config.plist: {}", .0.display())]
    NoConfiguration(PathBuf),
    /// Its configuration could not be read.
    #[error("Could not read the bundle's configuration")]
    Unreadable(#[from] FileError),
    /// Its configuration is not usable.
    #[error("{source}: {}", .path.display())]
    Refused {
        /// The bundle.
        path: PathBuf,
        /// Everything that is wrong.
        source: ReadError,
    },
    /// The operating system failed.
    #[error("Could not open bundle: {}", .path.display())]
    Io {
        /// The bundle.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why a bundle could not be saved or created. The previous configuration is still in place.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The configuration cannot be written as a property list.
    #[error("{source}: {}", .path.display())]
    Unwritable {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
    /// Somebody else saved the configuration after it was opened here.
    #[error("Configuration was changed by somebody else meanwhile; open the bundle again and repeat the change: {}", .0.display())]
    Changed(PathBuf),
    /// Something of that name is already there.
    #[error("Already exists; choose another name: {}", .0.display())]
    Exists(PathBuf),
    /// The operating system failed.
    #[error("Could not {what}: {}", .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { inode: metadata.ino(), size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// A bundle that is open.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    origin: Origin,
    stamp: Option<Stamp>,
    /// The configuration. Changes reach the disk with [`Bundle::save`].
    pub configuration: Configuration,
    /// What was noticed while reading; none of it is fatal.
    pub problems: Vec<Problem>,
}

impl Bundle {
    /// Reads the bundle at `path`.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(failed)?;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(OpenError::NotABundle(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::NotABundle(path)),
            Err(source) => return Err(OpenError::Io { path, source }),
        }
        let folder = Folder::open(&path).map_err(failed)?;
        let (bytes, metadata) = match folder.read(Path::new(CONFIGURATION_FILE), tree::MAX_BYTES) {
            Ok(read) => read,
            Err(error) if error.is_not_found() => return Err(OpenError::NoConfiguration(path)),
            Err(error) => return Err(error.into()),
        };
        let fallback_name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match Configuration::read(&bytes, &fallback_name) {
            Ok(loaded) => Ok(Self {
                path,
                origin: loaded.origin,
                stamp: Some(Stamp::of(&metadata)),
                configuration: loaded.configuration,
                problems: loaded.problems,
            }),
            Err(source) => Err(OpenError::Refused { path, source }),
        }
    }

    /// Makes a new bundle at `path`, which must not exist. Nothing half-made is ever seen there.
    pub fn create(path: &Path, configuration: Configuration) -> Result<Self, SaveError> {
        Self::create_with(path, configuration, |_| Ok(()))
    }

    /// The same; `fill` gets the hidden directory that the bundle is built in, with its `Data/`, and may put files there. When it fails, everything is
    /// removed.
    pub fn create_with(path: &Path, configuration: Configuration, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<Self, SaveError> {
        let failed = |what| move |source| SaveError::Io { what, path: path.to_owned(), source };
        let xml = configuration.to_xml().map_err(|source| SaveError::Unwritable { path: path.to_owned(), source })?;
        let path = std::path::absolute(path).map_err(failed("create bundle"))?;
        if path.symlink_metadata().is_ok() {
            return Err(SaveError::Exists(path));
        }
        let failed = |what| {
            let path = path.clone();
            move |source| SaveError::Io { what, path, source }
        };
        let parent = path.parent().unwrap_or(Path::new("/"));
        let building = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(fs::Permissions::from_mode(0o777))
            .tempdir_in(parent)
            .map_err(failed("create bundle"))?;
        fs::create_dir(building.path().join(DATA_FOLDER)).map_err(failed("create bundle"))?;
        fill(building.path()).map_err(failed("fill bundle"))?;
        let file = building.path().join(CONFIGURATION_FILE);
        atomic_file::write(&file, &xml).map_err(failed("write configuration"))?;
        let stamp = fs::metadata(&file).map_err(failed("write configuration"))?;
        match atomic_file::rename_new(building.path(), &path) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {
                return Err(SaveError::Exists(path));
            }
            Err(error) => return Err(failed("create bundle")(error)),
        }
        // It has its own name now; there is nothing temporary left to remove.
        let _ = building.keep();
        atomic_file::sync_folder(parent).map_err(failed("create bundle"))?;
        Ok(Self { path, origin: Origin::V4, stamp: Some(Stamp::of(&stamp)), configuration, problems: Vec::new() })
    }

    /// The bundle's directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the configuration was when it was opened, or last saved.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Writes the configuration. The first save of a bundle of an old format also moves its files to where the present one has them.
    ///
    /// Nothing is deleted. If it fails, the previous configuration is in place.
    pub fn save(&mut self) -> Result<(), SaveError> {
        let path = self.path.as_path();
        let failed = |what| move |source| SaveError::Io { what, path: path.to_owned(), source };
        let xml = self.configuration.to_xml().map_err(|source| SaveError::Unwritable { path: path.to_owned(), source })?;
        let file = path.join(CONFIGURATION_FILE);
        if self.stamp != current_stamp(&file).map_err(failed("save configuration"))? {
            return Err(SaveError::Changed(path.to_owned()));
        }
        // A full disk shows here, before anything is moved.
        let staged = atomic_file::stage(&file, &xml).map_err(failed("save configuration"))?;
        if self.origin != Origin::V4 {
            legacy::move_files(path).map_err(failed("move the files of the old format"))?;
        }
        match fs::create_dir(path.join(DATA_FOLDER)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("create the folder Data")(error)),
            _ => {}
        }
        staged.commit().map_err(failed("save configuration"))?;
        self.stamp = current_stamp(&file).map_err(failed("save configuration"))?;
        self.origin = Origin::V4;
        Ok(())
    }

    /// Where the file `name` is, or would be created: in `Data/`, or in `Images/` of a bundle that still has its files there.
    ///
    /// Refused are symbolic links that lead out of the bundle or to nothing, and everything but regular files. Whoever may change the bundle may change
    /// that afterwards: a machine's files are opened with [`open_data`].
    pub fn data_path(&self, name: &FileName) -> Result<PathBuf, FileError> {
        data_path(&self.path, name)
    }

    /// Checks that the files that the configuration names are there. Files that the machine makes itself when they are missing are not checked.
    pub fn check_files(&self) -> Vec<Problem> {
        self.configuration
            .referenced_files()
            .into_iter()
            .filter_map(|(key_path, name)| {
                let path = match data_path(&self.path, &name) {
                    Ok(path) if path.exists() => return None,
                    Ok(path) => path,
                    Err(error) => return Some(Problem::fatal(key_path, error.to_string())),
                };
                let message = format!("File is missing: {}", path.display());
                Some(if key_path == "Information.Icon" {
                    Problem::ignored(key_path, message)
                } else {
                    Problem::fatal(key_path, message).with_hint("copy the file there, or unset the key")
                })
            })
            .collect()
    }

    /// Takes the lock that says that the machine runs.
    pub fn lock(path: &Path) -> Result<BundleLock, LockError> {
        BundleLock::acquire(path)
    }

    /// Whether somebody holds that lock.
    pub fn is_locked(path: &Path) -> Result<bool, LockError> {
        BundleLock::is_held(path)
    }
}

/// [`Bundle::data_path`] for a bundle that is not open.
pub fn data_path(bundle: &Path, name: &FileName) -> Result<PathBuf, FileError> {
    let folder = Folder::open(bundle).map_err(|source| FileError::Io { path: bundle.to_owned(), source })?;
    for data in [DATA_FOLDER, LEGACY_DATA_FOLDER] {
        let relative = Path::new(data).join(name);
        if folder.has_file(&relative)? {
            return Ok(bundle.join(relative));
        }
    }
    Ok(bundle.join(DATA_FOLDER).join(name))
}

/// Opens the file `name` of the bundle; `None` where there is none. Refuses what [`Bundle::data_path`] refuses; what it gives stays the same
/// file whatever happens to its name.
pub fn open_data(bundle: &Folder, name: &FileName, access: Access) -> Result<Option<(PathBuf, File)>, FileError> {
    for data in [DATA_FOLDER, LEGACY_DATA_FOLDER] {
        let relative = Path::new(data).join(name);
        match bundle.file(&relative, access) {
            Ok(file) => return Ok(Some((bundle.path().join(relative), file))),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The file name of the bundle of a machine that is called `name`: UTM's rule, and beyond it never hidden and never too long for a file system.
pub fn bundle_file_name(name: &str) -> String {
    const MAX_BYTES: usize = 255;
    let unusable = |c: char| matches!(c, ',' | '/' | ':' | '\\' | '?' | '%' | '*' | '|' | '"' | '<' | '>') || c.is_control();
    let mut file_name: String = name.chars().map(|c| if unusable(c) { '-' } else { c }).collect();
    if file_name.starts_with('.') {
        file_name.replace_range(..1, "-");
    }
    if file_name.is_empty() {
        file_name.push('-');
    }
    while file_name.len() > MAX_BYTES - 1 - BUNDLE_EXTENSION.len() {
        file_name.pop();
    }
    file_name + "." + BUNDLE_EXTENSION
}

fn current_stamp(file: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
