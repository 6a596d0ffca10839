//! A machine's generation, in `Vivarium/generation.json`: an identifier that stays the same as long as the machine goes on from where it was,
//! and is another one after it was copied. A guest that sees it change takes its state for a copy's: a Windows domain controller gives up what
//! it shared with others. Copies are made without it, and the first start makes a new one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use beneath::{FileError, Folder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bundle_directory::OWN_FOLDER;

/// The file, in [`OWN_FOLDER`].
pub const GENERATION_FILE: &str = "generation.json";
/// The largest file that is read.
const MAX_BYTES: usize = 1 << 16;

#[derive(Serialize, Deserialize)]
struct Generation {
    id: Uuid,
}

/// Why the generation could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is damaged. It is left for a person to correct, with whatever else is in it.
    #[error("Damaged; correct or remove the file: {}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// The generation of the machine in `bundle`; `None` where it has none yet.
pub fn generation(bundle: &Path) -> Result<Option<Uuid>, GenerationError> {
    let relative = Path::new(OWN_FOLDER).join(GENERATION_FILE);
    let folder = Folder::open(bundle).map_err(|source| FileError::Io { path: bundle.to_owned(), source })?;
    match folder.read(&relative, MAX_BYTES) {
        Ok((bytes, _)) => match serde_json::from_slice::<Generation>(&bytes) {
            Ok(generation) => Ok(Some(generation.id)),
            Err(source) => Err(GenerationError::Damaged { path: bundle.join(relative), source }),
        },
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives the machine in `bundle`, which has none, a generation. Whoever calls holds the bundle's lock.
pub fn begin_generation(bundle: &Path) -> io::Result<Uuid> {
    let generation = Generation { id: Uuid::new_v4() };
    let mut bytes = serde_json::to_vec_pretty(&generation)?;
    bytes.push(b'\n');
    let folder = Folder::open(bundle)?.folder(OWN_FOLDER).map_err(io::Error::other)?;
    folder.create(GENERATION_FILE, |file| file.write_all(&bytes))?;
    Ok(generation.id)
}

/// Takes the generation from a copy of a bundle, which is another machine's.
pub fn forget_generation(bundle: &Path) -> io::Result<()> {
    atomic_file::remove(&bundle.join(OWN_FOLDER).join(GENERATION_FILE))
}
