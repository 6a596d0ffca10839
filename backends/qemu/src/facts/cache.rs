//! Answers of QEMU, kept between runs.
//!
//! A file that is missing, damaged, of another layout or about another program is no error: the question is asked again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Changes when the layout or meaning of cached structures does.
const LAYOUT: u32 = 3;

/// More than any answer of ours; a larger file is not ours.
const MAX_SIZE: u64 = 16 << 20;

/// Which program was asked: the same values mean the same answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Path of the program, links resolved.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, nanoseconds since 1970.
    pub modified: u128,
    /// Inode number.
    pub inode: u64,
    /// Time of the last change of the directory of QEMU's modules, where one was found: packages add and remove modules without touching
    /// the program.
    pub modules_modified: Option<u128>,
}

impl Identity {
    /// Of the program at `path`.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let metadata = std::fs::metadata(&path)?;
        Ok(Self {
            size: metadata.size(),
            modified: nanoseconds(metadata.modified()?),
            inode: metadata.ino(),
            modules_modified: module_directory(&path).and_then(|directory| Some(nanoseconds(directory.metadata().ok()?.modified().ok()?))),
            path,
        })
    }
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_nanos())
}

/// Where distributions put QEMU's modules, relative to the prefix that the program is installed in.
fn module_directory(program: &Path) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    let triplet = format!("lib/{}-linux-gnu/qemu", std::env::consts::ARCH);
    [triplet.as_str(), "lib64/qemu", "lib/qemu"].iter().map(|place| prefix.join(place)).find(|directory| directory.is_dir())
}

/// Where one answer is kept.
#[derive(Debug)]
pub(crate) struct Place {
    file: PathBuf,
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    layout: u32,
    identity: Identity,
    answer: T,
}

impl Place {
    /// The answer of the program to `question`, in `directory`.
    pub fn new(directory: &Path, kind: &str, identity: &Identity, question: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(identity.path.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(question);
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { file: directory.join(format!("{kind}-{digest}.json")), identity: identity.clone() }
    }

    /// The kept answer, if there is one about this very program.
    pub fn load<T: DeserializeOwned>(&self) -> Option<T> {
        if std::fs::metadata(&self.file).ok()?.len() > MAX_SIZE {
            return None;
        }
        let kept: Kept<T> = serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()?;
        (kept.layout == LAYOUT && kept.identity == self.identity).then_some(kept.answer)
    }

    /// Keeps an answer. That it cannot be kept costs time at the next start and nothing else, so it is only logged.
    pub fn store<T: Serialize>(&self, answer: &T) {
        if let Err(error) = self.try_store(answer) {
            tracing::debug!(%error, file = %self.file.display(), "Could not keep what QEMU answered");
        }
    }

    fn try_store<T: Serialize>(&self, answer: &T) -> std::io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        let kept = Kept { layout: LAYOUT, identity: self.identity.clone(), answer };
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer(&mut file, &kept)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_until_the_program_changes() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("qemu-system-test");
        std::fs::write(&program, "one")?;
        let identity = Identity::of(&program)?;
        let place = Place::new(directory.path(), "test", &identity, "");
        assert_eq!(place.load::<u32>(), None);
        place.store(&7u32);
        assert_eq!(place.load::<u32>(), Some(7));
        std::fs::write(&program, "another")?;
        let changed = Identity::of(&program)?;
        assert_eq!(Place::new(directory.path(), "test", &changed, "").load::<u32>(), None);
        Ok(())
    }

    #[test]
    fn a_damaged_cache_is_no_answer() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("qemu-system-test");
        std::fs::write(&program, "one")?;
        let place = Place::new(directory.path(), "test", &Identity::of(&program)?, "");
        place.store(&7u32);
        for damage in ["", "{", "[1,2", "{\"layout\":2,\"identity\":null,\"answer\":7}"] {
            std::fs::write(&place.file, damage)?;
            assert_eq!(place.load::<u32>(), None, "{damage}");
        }
        Ok(())
    }
}
