//! `view.plist`: what UTM before 4.0 remembered about a machine's windows, media and folders. All of it belongs to the host now.
//!
//! The file comes with the bundle, so whoever made the bundle chose the paths in it. On a Mac a path without the bookmark that a person granted
//! opens nothing; here it would hand the guest any file of whoever starts the machine. [`ViewState::apply_to`] therefore takes over the state of
//! the machine and its windows only. Folders and media are for a person to look at and choose again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use beneath::Folder;
use plist::{Dictionary, Value};
use uuid::Uuid;

use super::reader::Reader;
use super::{VIEW_STATE_FILE, retire_view_state};
use crate::problem::{Findings, Level, Problem};
use crate::registry::{Entry, Registry, Window};
use crate::schema::type_name;
use crate::{Data, tree};

/// What a `view.plist` holds, for the registry of the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewState {
    /// Whether the machine was suspended: its drives hold a snapshot `suspend`. (`Suspended`)
    pub suspended: bool,
    /// How much the screen was enlarged. (`WindowSettings[0].Scale`)
    pub scale: Option<f64>,
    /// Where the screen was in its window, in points. (`WindowSettings[0].Origin`)
    pub origin: Option<[f64; 2]>,
    /// Whether the toolbar was shown. (`WindowSettings[0].ToolbarVisible`)
    pub toolbar_visible: Option<bool>,
    /// The shared folder. (`SharedDirectories[0]`)
    pub shared_directory: Option<RememberedFile>,
    /// Where the bundle itself was, for a machine outside UTM's folder. (`Package.BookmarkRemote`)
    pub shortcut: Option<RememberedFile>,
    /// Media in removable drives, by the drive's `Identifier`. (`ExternalDrives`)
    pub external_drives: BTreeMap<String, RememberedFile>,
}

/// A file or folder that a Mac or an iPad remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RememberedFile {
    /// Its path on that device, where one was stored.
    pub path: Option<String>,
    /// The bookmark that opens it there and nowhere else.
    pub bookmark: Option<Data>,
}

impl ViewState {
    /// What is not taken over but for a person to choose again, and what they should know: one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let path = |file: &RememberedFile| file.path.clone().unwrap_or_else(|| "whose path is not known".to_owned());
        let mut notes = Vec::new();
        if !self.external_drives.is_empty() {
            let media: Vec<String> = self.external_drives.iter().map(|(drive, file)| format!("{} ({drive})", path(file))).collect();
            notes.push(format!("Media were in its drives where it comes from, and can be inserted again: {}", media.join(", ")));
        }
        if let Some(folder) = &self.shared_directory {
            notes.push(format!("A folder was shared with it where it comes from, and one can be shared again: {}", path(folder)));
        }
        if self.suspended {
            notes.push("It was suspended where it comes from; here it starts anew, as after a power cut".to_owned());
        }
        notes
    }

    /// Takes over what is safe to take over: that the machine is suspended, and how its display was shown where the entry does not know yet.
    pub fn apply_to(&self, entry: &mut Entry) {
        entry.suspended |= self.suspended;
        if self.scale.is_some() || self.origin.is_some() || self.toolbar_visible.is_some() {
            let usual = Window::default();
            entry.window_settings.entry("0".to_owned()).or_insert_with(|| Window {
                scale: self.scale.unwrap_or(usual.scale),
                origin: self.origin.unwrap_or(usual.origin),
                toolbar_visible: self.toolbar_visible.unwrap_or(usual.toolbar_visible),
                ..usual
            });
        }
    }
}

/// Reads the `view.plist` of a bundle. `None` where there is none, or none that is a property list.
pub fn read_view_state(bundle: &Path) -> Option<ViewState> {
    let (bytes, _) = Folder::open(bundle).ok()?.read(Path::new(VIEW_STATE_FILE), tree::MAX_BYTES).ok()?;
    let root = tree::read(&bytes).ok()?.into_dictionary()?;
    Some(view_state(&root).0)
}

/// Hands what the `view.plist` of a bundle holds to the registry, as far as [`ViewState::apply_to`] takes it over, retires the file and returns
/// what was in it. One that cannot be read stays as it is, and so does one whose state could not be stored.
///
/// # Errors
/// When the registry cannot be written, or the file not be renamed.
pub fn hand_over_view_state(bundle: &Path, registry: &Registry, uuid: Uuid) -> io::Result<Option<ViewState>> {
    let Some(state) = read_view_state(bundle) else { return Ok(None) };
    registry.update(uuid, bundle, |entry| state.apply_to(entry))?;
    retire_view_state(bundle)?;
    Ok(Some(state))
}

/// Reads a `view.plist`. Nothing in it is needed to run the machine, so no problem is fatal.
pub fn view_state(root: &Dictionary) -> (ViewState, Vec<Problem>) {
    let mut findings = Findings::default();
    let state = Reader::read(root, &mut findings, |root| {
        // Whether the keyboard was on the screen of an iPad matters to nobody here.
        root.obsolete(&["ShowKeyboard"]);
        let origin = match (root.real("DisplayOriginX"), root.real("DisplayOriginY")) {
            (None, None) => None,
            (x, y) => Some([x.unwrap_or(0.0), y.unwrap_or(0.0)]),
        };
        ViewState {
            suspended: root.boolean("Suspended").unwrap_or(false),
            scale: root.real("DisplayScale").filter(|scale| *scale > 0.0),
            origin,
            toolbar_visible: root.boolean("ShowToolbar"),
            shared_directory: remembered(root.filled("SharedDirectoryPath"), root.data("SharedDirectory")),
            shortcut: remembered(root.filled("ShortcutBookmarkPath"), root.data("ShortcutBookmark")),
            external_drives: external_drives(root),
        }
    });
    (state, findings.into_problems())
}

fn remembered(path: Option<String>, bookmark: Option<Vec<u8>>) -> Option<RememberedFile> {
    (path.is_some() || bookmark.is_some()).then(|| RememberedFile { path, bookmark: bookmark.map(Data) })
}

/// Joins the two dictionaries. Drives had their QEMU names there, `drive0`; identifiers are those without `drive`.
fn external_drives(root: &mut Reader<'_>) -> BTreeMap<String, RememberedFile> {
    let mut drives: BTreeMap<String, RememberedFile> = BTreeMap::new();
    let identifier = |name: &str| name.strip_prefix("drive").unwrap_or(name).to_owned();
    for (name, value) in root.dictionary("RemovableDrives").into_iter().flatten() {
        match value {
            Value::Data(bytes) => drives.entry(identifier(name)).or_default().bookmark = Some(Data(bytes.clone())),
            other => wrong(root, "RemovableDrives", name, "data", other),
        }
    }
    for (name, value) in root.dictionary("RemovableDrivesPath").into_iter().flatten() {
        match value {
            Value::String(path) if path.is_empty() => {}
            Value::String(path) => drives.entry(identifier(name)).or_default().path = Some(path.clone()),
            other => wrong(root, "RemovableDrivesPath", name, "string", other),
        }
    }
    drives
}

fn wrong(root: &mut Reader<'_>, key: &str, name: &str, expected: &str, found: &Value) {
    let message = format!("expected {expected}, found {}; the drive is left empty", type_name(found));
    root.report(&format!("{key}.{name}"), Level::Fixed, message, None);
}
