//! The bundles that are listed though they lie elsewhere: `library.json` in the state folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use supervisor_api::Places;
use uuid::Uuid;

use crate::{Error, Result};

/// The largest document that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A registered bundle, and what was last known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// Where it is.
    pub path: PathBuf,
    /// What it was called.
    #[serde(default)]
    pub name: String,
    /// Its UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The document. Entries that cannot be understood are kept as they are.
#[derive(Debug, Default)]
struct Document {
    entries: Vec<Registered>,
    foreign: Vec<Value>,
    extra: Map<String, Value>,
    damaged: bool,
}

const KEY: &str = "registered";

fn file(places: &Places) -> PathBuf {
    places.state.join("library.json")
}

fn load(path: &Path) -> io::Result<Document> {
    let bytes = match fs::metadata(path) {
        Ok(data) if data.len() > MAX_BYTES => return Ok(Document { damaged: true, ..Document::default() }),
        Ok(_) => fs::read(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
        Err(error) => return Err(error),
    };
    let Ok(mut extra) = serde_json::from_slice::<Map<String, Value>>(&bytes) else {
        return Ok(Document { damaged: true, ..Document::default() });
    };
    let mut document = Document::default();
    match extra.shift_remove(KEY) {
        Some(Value::Array(values)) => {
            for value in values {
                match serde_json::from_value::<Registered>(value.clone()) {
                    Ok(entry) if entry.path.is_absolute() => document.entries.push(entry),
                    _ => document.foreign.push(value),
                }
            }
        }
        Some(_) => document.damaged = true,
        None => {}
    }
    document.extra = extra;
    Ok(document)
}

/// The registered bundles. What cannot be read counts as none.
pub(crate) fn read(places: &Places) -> Vec<Registered> {
    let path = file(places);
    match load(&path) {
        Ok(document) => {
            if document.damaged {
                tracing::warn!(path = %path.display(), "the list of registered bundles is damaged and counts as empty");
            }
            document.entries
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the list of registered bundles");
            Vec::new()
        }
    }
}

/// Changes the list. Of several processes that do so at the same time, each sees the changes of those before it. A damaged document is kept
/// beside the new one.
pub(crate) fn update(places: &Places, change: impl FnOnce(&mut Vec<Registered>)) -> Result<()> {
    let path = file(places);
    let attempt = || -> io::Result<()> {
        fs::create_dir_all(&places.state)?;
        let lock = File::open(&places.state)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut document = load(&path)?;
        if document.damaged {
            fs::copy(&path, path.with_extension("json.damaged"))?;
        }
        change(&mut document.entries);
        let mut values: Vec<Value> = document.entries.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        values.append(&mut document.foreign);
        document.extra.insert(KEY.to_owned(), Value::Array(values));
        let mut bytes = serde_json::to_vec_pretty(&document.extra)?;
        bytes.push(b'\n');
        atomic_file::write(&path, &bytes)
    };
    attempt().map_err(|error| Error::io(format!("Cannot change the list of registered bundles {}", path.display()), error))
}

/// Adds a bundle, or brings up to date what is known of it.
pub(crate) fn add(places: &Places, path: &Path, name: &str, uuid: Option<Uuid>) -> Result<()> {
    update(places, |entries| match entries.iter_mut().find(|entry| entry.path == path) {
        Some(entry) => {
            name.clone_into(&mut entry.name);
            entry.uuid = uuid;
        }
        None => entries.push(Registered { path: path.to_path_buf(), name: name.to_owned(), uuid, extra: Map::new() }),
    })
}

/// Forgets a bundle.
pub(crate) fn remove(places: &Places, path: &Path) -> Result<()> {
    update(places, |entries| entries.retain(|entry| entry.path != path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        let at = |name: &str| folder.join(name);
        Places { machines: at("m"), state: at("s"), cache: at("c"), runtime: at("r") }
    }

    #[test]
    fn unknown_keys_and_entries_survive() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        fs::create_dir_all(&places.state).unwrap();
        let text = r#"{"order":["b"],"registered":[{"path":"/a.utm","name":"A","colour":"red"},{"url":"x"},{"path":"relative"}]}"#;
        fs::write(file(&places), text).unwrap();
        assert_eq!(read(&places).len(), 1);
        add(&places, Path::new("/b.utm"), "B", None).unwrap();
        let value: Value = serde_json::from_slice(&fs::read(file(&places)).unwrap()).unwrap();
        assert_eq!(value["order"][0], "b");
        assert_eq!(value["registered"].as_array().unwrap().len(), 4);
        assert_eq!(value["registered"][0]["colour"], "red");
        remove(&places, Path::new("/b.utm")).unwrap();
        assert_eq!(read(&places).len(), 1);
    }

    #[test]
    fn a_damaged_document_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        fs::create_dir_all(&places.state).unwrap();
        fs::write(file(&places), "{{{").unwrap();
        assert!(read(&places).is_empty());
        add(&places, Path::new("/b.utm"), "B", None).unwrap();
        assert_eq!(read(&places).len(), 1);
        assert_eq!(fs::read(places.state.join("library.json.damaged")).unwrap(), b"{{{");
    }
}
