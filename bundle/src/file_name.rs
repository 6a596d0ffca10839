//! Names of files in a bundle's `Data/`.

use std::fmt;

use crate::problem::printable;

/// The longest name that Linux file systems take, in bytes.
const MAX_BYTES: usize = 255;

/// A plain file name: one component, never a path. Joined to `Data/` it cannot leave it, except through a symbolic link, which
/// [`crate::Bundle::data_path`] looks at.
///
/// A configuration may hold a string that is none. Such a key decodes as absent with a finding, and its text stays in the section's `extra`, so that
/// the machine can be listed and saved without loss; [`crate::Configuration::validate`] reports it as fatal, so it does not start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// Why a string is not a [`FileName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFileName {
    /// There is nothing.
    #[error("File name is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("`{0}` names a folder, not a file")]
    Folder(String),
    /// It holds a `/`.
    #[error("`{0}` is a path, not the name of a file in `Data/`")]
    Path(String),
    /// It holds a control character.
    #[error("`{0}` holds a control character")]
    Control(String),
    /// It is longer than 255 bytes.
    #[error("File name of {0} bytes is longer than 255")]
    TooLong(usize),
}

impl FileName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidFileName> {
        if name.is_empty() {
            Err(InvalidFileName::Empty)
        } else if name.len() > MAX_BYTES {
            Err(InvalidFileName::TooLong(name.len()))
        } else if name == "." || name == ".." {
            Err(InvalidFileName::Folder(name.to_owned()))
        } else if name.contains('/') {
            Err(InvalidFileName::Path(printable(name)))
        } else if name.contains(char::is_control) {
            Err(InvalidFileName::Control(printable(name)))
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for FileName {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl std::str::FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<&str> for FileName {
    type Error = InvalidFileName;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl PartialEq<str> for FileName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for FileName {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}
