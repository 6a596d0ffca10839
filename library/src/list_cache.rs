//! What a list needs of each bundle, remembered, so that ten thousand configurations need not be read again. Nothing depends on it being
//! there: an entry counts only while its file is the very same.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bundle::{Architecture, Level, Problem};
use machine::BackendKind;
use serde::{Deserialize, Serialize};
use supervisor_api::Places;
use uuid::Uuid;

use crate::machine::{Condition, Summary};

/// Goes up when configurations are understood differently, or this file is.
const VERSION: u32 = 1;
/// The largest cache that is read.
const MAX_BYTES: u64 = 256 << 20;

/// What tells one state of a bundle from another: its folder's device and inode, and of its configuration inode, size, and the times of the
/// last change of content and of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp([u64; 8]);

impl Stamp {
    pub fn of(folder: &fs::Metadata, configuration: &fs::Metadata) -> Self {
        let time = |seconds: i64, nanoseconds: i64| [seconds.cast_unsigned(), nanoseconds.cast_unsigned()];
        let [modified, modified_ns] = time(configuration.mtime(), configuration.mtime_nsec());
        let [changed, changed_ns] = time(configuration.ctime(), configuration.ctime_nsec());
        Self([folder.dev(), folder.ino(), configuration.ino(), configuration.size(), modified, modified_ns, changed, changed_ns])
    }
}

/// One bundle as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub stamp: Stamp,
    pub id: String,
    pub name: String,
    pub uuid: Option<Uuid>,
    what: What,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum What {
    Usable(StoredSummary),
    Broken(Vec<StoredProblem>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredSummary {
    backend: BackendKind,
    architecture: String,
    target: String,
    memory_mib: u64,
    cpu_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    icon_custom: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<StoredProblem>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredProblem(u8, String, String, Option<String>);

impl Entry {
    /// What is worth remembering; `None` where what was found may be different the next time.
    pub fn new(stamp: Stamp, id: &str, name: &str, uuid: Option<Uuid>, condition: &Condition) -> Option<Self> {
        let what = match condition {
            Condition::Usable(summary) => What::Usable(StoredSummary {
                backend: summary.backend,
                architecture: summary.architecture.as_str().to_owned(),
                target: summary.target.clone(),
                memory_mib: summary.memory_mib,
                cpu_count: summary.cpu_count,
                icon: summary.icon.clone(),
                icon_custom: summary.icon_custom,
                problems: summary.problems.iter().map(StoredProblem::from).collect(),
            }),
            Condition::Broken(problems) => What::Broken(problems.iter().map(StoredProblem::from).collect()),
            Condition::Unavailable { .. } => return None,
        };
        Some(Self { stamp, id: id.to_owned(), name: name.to_owned(), uuid, what })
    }

    /// What it said; `None` where it cannot be understood any more.
    pub fn condition(&self) -> Option<Condition> {
        Some(match &self.what {
            What::Usable(stored) => Condition::Usable(Summary {
                backend: stored.backend,
                architecture: stored.architecture.parse::<Architecture>().ok()?,
                target: stored.target.clone(),
                memory_mib: stored.memory_mib,
                cpu_count: stored.cpu_count,
                icon: stored.icon.clone(),
                icon_custom: stored.icon_custom,
                problems: stored.problems.iter().map(Problem::from).collect(),
            }),
            What::Broken(problems) => Condition::Broken(problems.iter().map(Problem::from).collect()),
        })
    }
}

impl From<&Problem> for StoredProblem {
    fn from(problem: &Problem) -> Self {
        let level = match problem.level {
            Level::Ignored => 0,
            Level::Fixed => 1,
            Level::Fatal => 2,
        };
        Self(level, problem.key_path.clone(), problem.message.clone(), problem.hint.clone())
    }
}

impl From<&StoredProblem> for Problem {
    fn from(StoredProblem(level, key_path, message, hint): &StoredProblem) -> Self {
        let level = match level {
            0 => Level::Ignored,
            1 => Level::Fixed,
            _ => Level::Fatal,
        };
        Self { level, key_path: key_path.clone(), message: message.clone(), hint: hint.clone() }
    }
}

/// All entries, by the bundle's path.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ListCache {
    version: (u32, String),
    entries: HashMap<PathBuf, Entry>,
}

impl ListCache {
    fn path(places: &Places) -> PathBuf {
        places.cache.join("machines.json")
    }

    fn version() -> (u32, String) {
        (VERSION, env!("CARGO_PKG_VERSION").to_owned())
    }

    /// What is remembered; nothing where it cannot be read.
    pub fn load(places: &Places) -> Self {
        let path = Self::path(places);
        let small = fs::metadata(&path).is_ok_and(|data| data.len() <= MAX_BYTES);
        let loaded: Option<Self> = small.then(|| fs::read(&path).ok()).flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        loaded.filter(|cache| cache.version == Self::version()).unwrap_or_default()
    }

    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Replaces everything that is remembered. A failure costs time only.
    pub fn store(places: &Places, entries: HashMap<PathBuf, Entry>) {
        let cache = Self { version: Self::version(), entries };
        let stored = serde_json::to_vec(&cache).map_err(std::io::Error::from).and_then(|bytes| {
            fs::create_dir_all(&places.cache)?;
            atomic_file::write(&Self::path(places), &bytes)
        });
        if let Err(error) = stored {
            tracing::debug!(%error, "cannot store the cache of the list");
        }
    }
}
