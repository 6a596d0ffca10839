//! What belongs to a machine on this host but not into its bundle: inserted media, shared folders, windows. One JSON document per machine, named by
//! its UUID, with the names of UTM's registry; paths stand where UTM has bookmarks.
//!
//! UUIDs are not unique: a bundle may be a copy of another, or made by somebody who wants what that one was given. A document belongs to the
//! bundle that it names as its package, as long as that is there. Another bundle with the same UUID has one of its own, with a hash of its
//! path in its name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::bundle_directory::Bundle;
use crate::problem::Problem;

/// The largest document that is read.
const MAX_BYTES: u64 = 4 << 20;

/// A file or folder of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostFile {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// Whether the guest may not write.
    #[serde(default)]
    pub read_only: bool,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Member of a [`HostFile`] for an external disk: the format that it had when a person inserted it, which is then believed for good.
pub const FORMAT_KEY: &str = "Format";

impl HostFile {
    /// A file or folder at `path`.
    pub fn new(path: impl Into<PathBuf>, read_only: bool) -> Self {
        Self { path: path.into(), read_only, extra: Map::new() }
    }
}

/// How a display was last shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Window {
    /// Magnification.
    pub scale: f64,
    /// Position of the picture.
    pub origin: [f64; 2],
    /// Whether the toolbar shows.
    pub toolbar_visible: bool,
    /// Whether the on-screen keyboard shows.
    pub keyboard_visible: bool,
    /// Whether the magnification is fixed.
    pub display_zoom_locked: bool,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            scale: 1.0,
            origin: [0.0, 0.0],
            toolbar_visible: true,
            keyboard_visible: false,
            display_zoom_locked: true,
            extra: Map::new(),
        }
    }
}

/// The size of a terminal window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24, extra: Map::new() }
    }
}

/// The resolution to give back to a display.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resolution {
    /// Width and height.
    pub size: [f64; 2],
    /// Whether the window filled the screen.
    pub fullscreen: bool,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What the host knows of one machine. Keys of the `_settings` are the display's or terminal's number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The last known name.
    pub name: String,
    /// Where the bundle is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<HostFile>,
    /// Whether there is a state to resume.
    pub suspended: bool,
    /// Media in external drives, by drive identifier.
    pub external_drives: BTreeMap<String, HostFile>,
    /// Shared folders. QEMU machines use the first.
    pub shared_directories: Vec<HostFile>,
    /// The `QEMU.AdditionalArguments` that a person has written or looked at here; a bundle may have come by others since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_arguments: Vec<String>,
    /// Which way the clipboard goes here (`off`, `to-guest`, `to-host`, `both`), where a person has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clipboard_policy: Option<String>,
    /// How displays were shown.
    pub window_settings: BTreeMap<String, Window>,
    /// Sizes of terminals.
    pub terminal_settings: BTreeMap<String, TerminalSize>,
    /// Resolutions of displays.
    pub resolution_settings: BTreeMap<String, Resolution>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Entry {
    fn from_map(mut map: Map<String, Value>, problems: &mut Vec<Problem>) -> Self {
        fn take<T: DeserializeOwned + Default>(map: &mut Map<String, Value>, key: &str, problems: &mut Vec<Problem>) -> T {
            let Some(value) = map.shift_remove(key) else { return T::default() };
            serde_json::from_value(value).unwrap_or_else(|error| {
                problems.push(Problem::fixed(key, format!("Registry value is not usable and was reset: {error}")));
                T::default()
            })
        }
        Self {
            name: take(&mut map, "Name", problems),
            package: take(&mut map, "Package", problems),
            suspended: take(&mut map, "Suspended", problems),
            external_drives: take(&mut map, "ExternalDrives", problems),
            shared_directories: take(&mut map, "SharedDirectories", problems),
            trusted_arguments: take(&mut map, "TrustedArguments", problems),
            clipboard_policy: take(&mut map, "ClipboardPolicy", problems),
            window_settings: take(&mut map, "WindowSettings", problems),
            terminal_settings: take(&mut map, "TerminalSettings", problems),
            resolution_settings: take(&mut map, "ResolutionSettings", problems),
            extra: map,
        }
    }
}

/// The registry of this host.
#[derive(Clone, Debug)]
pub struct Registry {
    directory: PathBuf,
}

impl Registry {
    /// A registry in `directory`, which is created when something is first written.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The document of a machine of which nothing is known yet, where no other has its UUID.
    pub fn path(&self, uuid: Uuid) -> PathBuf {
        self.directory.join(format!("{}.json", uuid.hyphenated().to_string().to_uppercase()))
    }

    /// The document of the machine `uuid` whose bundle is `package`, and what is in it.
    fn document(&self, uuid: Uuid, package: &Path) -> io::Result<(PathBuf, Entry, Vec<Problem>)> {
        let package = place(package);
        let name = format!("{}-{:016x}.json", uuid.hyphenated().to_string().to_uppercase(), fnv1a(package.as_os_str().as_encoded_bytes()));
        let path = self.directory.join(name);
        if !path.try_exists()? {
            let first = self.path(uuid);
            let (entry, problems) = read(&first)?;
            let another = |other: &HostFile| place(&other.path) != package && is_bundle_of(&other.path, uuid);
            if !entry.package.as_ref().is_some_and(another) {
                return Ok((first, entry, problems));
            }
        }
        let (entry, problems) = read(&path)?;
        Ok((path, entry, problems))
    }

    /// Reads what is known of the machine whose bundle is `package`; where that is nothing, the entry is empty. Values that are not usable are
    /// reset, with a finding.
    pub fn read(&self, uuid: Uuid, package: &Path) -> io::Result<(Entry, Vec<Problem>)> {
        self.document(uuid, package).map(|(_, entry, problems)| (entry, problems))
    }

    /// Whether a machine with this UUID, wherever its bundle is or was, has been given media or folders.
    pub fn has_given(&self, uuid: Uuid) -> io::Result<bool> {
        for (of, path) in self.documents()? {
            let (entry, _) = if of == uuid { read(&path)? } else { continue };
            if !entry.external_drives.is_empty() || !entry.shared_directories.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes what is known of the machine whose bundle is, or will be, `package`. Of several processes that do so at the same time, each sees the
    /// changes of those before it. A document that had to be reset is kept beside the new one, with `.damaged` at the end of its name.
    pub fn update<R>(&self, uuid: Uuid, package: &Path, change: impl FnOnce(&mut Entry) -> R) -> io::Result<R> {
        fs::create_dir_all(&self.directory)?;
        let lock = File::open(&self.directory)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let (path, mut entry, problems) = self.document(uuid, package)?;
        if !problems.is_empty() {
            fs::copy(&path, path.with_extension("json.damaged"))?;
        }
        let result = change(&mut entry);
        entry.package.get_or_insert_default().path = place(package);
        write(&path, &entry)?;
        Ok(result)
    }

    /// The bundle `from` is `to` now.
    pub fn moved(&self, uuid: Uuid, from: &Path, to: &Path) -> io::Result<()> {
        let (old, entry, _) = self.document(uuid, from)?;
        if !old.try_exists()? {
            return Ok(());
        }
        self.update(uuid, to, |new| *new = entry)?;
        if self.document(uuid, to)?.0 == old { Ok(()) } else { atomic_file::remove(&old) }
    }

    /// Forgets the machine whose bundle is or was `package`.
    pub fn remove(&self, uuid: Uuid, package: &Path) -> io::Result<()> {
        let (path, entry, _) = self.document(uuid, package)?;
        // The bundle of another may only be out of reach, on a disk that is not there now.
        if entry.package.is_some_and(|other| place(&other.path) != place(package)) { Ok(()) } else { atomic_file::remove(&path) }
    }

    /// All machines that something is known of.
    pub fn machines(&self) -> io::Result<Vec<Uuid>> {
        let mut machines: Vec<Uuid> = self.documents()?.into_iter().map(|(uuid, _)| uuid).collect();
        machines.sort_unstable();
        machines.dedup();
        Ok(machines)
    }

    fn documents(&self) -> io::Result<Vec<(Uuid, PathBuf)>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut documents = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| path.extension().is_some_and(|end| end == "json"));
            if let Some(uuid) = stem.and_then(|stem| stem.get(..UUID_LENGTH)).and_then(|uuid| Uuid::try_parse(uuid).ok()) {
                documents.push((uuid, path));
            }
        }
        Ok(documents)
    }
}

/// Characters of a UUID with hyphens.
const UUID_LENGTH: usize = 36;

fn read(document: &Path) -> io::Result<(Entry, Vec<Problem>)> {
    let mut bytes = Vec::new();
    match File::open(document) {
        Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error),
    };
    let mut problems = Vec::new();
    let parsed = if bytes.len() as u64 > MAX_BYTES {
        Err(format!("larger than {MAX_BYTES} bytes"))
    } else {
        serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|error| error.to_string())
    };
    let map = parsed.unwrap_or_else(|error| {
        let message = format!("Registry document is damaged and was reset: {error}: {}", document.display());
        problems.push(Problem::fixed("", message));
        Map::new()
    });
    let entry = Entry::from_map(map, &mut problems);
    Ok((entry, problems))
}

fn write(document: &Path, entry: &Entry) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(entry)?;
    bytes.push(b'\n');
    atomic_file::write(document, &bytes)
}

/// The bundle's path without links, also of one that is gone or to come.
fn place(package: &Path) -> PathBuf {
    let by_folder = || Some(package.parent()?.canonicalize().ok()?.join(package.file_name()?));
    package.canonicalize().ok().or_else(by_folder).unwrap_or_else(|| package.to_owned())
}

fn is_bundle_of(package: &Path, uuid: Uuid) -> bool {
    Bundle::open(package).is_ok_and(|bundle| bundle.configuration.uuid() == uuid)
}

/// FNV-1a of 64 bits: the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
