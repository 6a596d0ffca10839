//! The recorded formats of a bundle's images, in `Vivarium/images.json`: an image's format is looked at once and then never guessed again, because a
//! guest can write the header of any format into its own disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use beneath::{FileError, Folder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bundle_directory::OWN_FOLDER;
use crate::file_name::FileName;
use crate::problem::printable;

/// The file, in [`OWN_FOLDER`].
pub const IMAGES_FILE: &str = "images.json";
/// The largest file that is read.
const MAX_BYTES: usize = 1 << 20;

/// What is recorded of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// QEMU's name of the format, such as `qcow2` or `raw`.
    pub format: String,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What is recorded of a bundle's images, by the name of the file in `Data/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Images {
    images: BTreeMap<String, Image>,
}

/// Why the record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The file could not be read.
    #[error("Could not read the recorded image formats")]
    File(#[from] FileError),
    /// It is damaged. It is not simply taken for empty: formats would then be guessed again.
    #[error("Recorded image formats are damaged; correct or remove the file: {}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl Images {
    /// Reads the record of the bundle at `bundle`; where there is none, it is empty.
    pub fn read(bundle: &Path) -> Result<Self, ImagesError> {
        let relative = Path::new(OWN_FOLDER).join(IMAGES_FILE);
        let folder = Folder::open(bundle).map_err(|source| FileError::Io { path: bundle.to_owned(), source })?;
        match folder.read(&relative, MAX_BYTES) {
            Ok((bytes, _)) => serde_json::from_slice(&bytes).map_err(|source| ImagesError::Damaged { path: bundle.join(relative), source }),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record, as a whole.
    pub fn write(&self, bundle: &Path) -> io::Result<()> {
        let folder = bundle.join(OWN_FOLDER);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if folder.is_symlink() {
            let message = format!("Refused to write through a symbolic link: {}", printable(&folder.to_string_lossy()));
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        atomic_file::write(&folder.join(IMAGES_FILE), &bytes)
    }

    /// The recorded format of the file `name`.
    pub fn format(&self, name: &FileName) -> Option<&str> {
        self.images.get(name.as_str()).map(|image| image.format.as_str())
    }

    /// Records the format of the file `name`.
    pub fn set_format(&mut self, name: &FileName, format: &str) {
        let image = self.images.entry(name.as_str().to_owned());
        image.or_insert_with(|| Image { format: String::new(), extra: Map::new() }).format = format.to_owned();
    }

    /// Forgets the file `name`, because it is gone or was replaced.
    pub fn remove(&mut self, name: &FileName) -> Option<Image> {
        self.images.remove(name.as_str())
    }

    /// All records, by file name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.images.iter().map(|(name, image)| (name.as_str(), image))
    }
}
