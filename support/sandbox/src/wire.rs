//! What the starting process and the launcher tell each other over a pair of Unix sockets.
//!
//! The starting process sends one JSON document, [`Specification`], with the descriptors attached to its first bytes, and ends its side.
//! The launcher answers with lines of JSON: [`Report::Applied`] just before it becomes the program, [`Report::Failed`] when a step fails.
//! The end of its side after `Applied`, with nothing more, means that it has become the program.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Applied, Confinement, Step};

/// Launcher and library are built together; this makes sure.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of a specification that the launcher reads at most.
pub const SPECIFICATION_LIMIT: u64 = 16 << 20;
/// Descriptors that the kernel attaches to one message at most (`SCM_MAX_FD`).
pub const DESCRIPTOR_LIMIT: usize = 253;

#[derive(Debug, Serialize, Deserialize)]
pub struct Specification {
    pub version: String,
    #[serde(with = "path")]
    pub program: PathBuf,
    #[serde(with = "strings")]
    pub arguments: Vec<OsString>,
    #[serde(with = "path")]
    pub working_directory: PathBuf,
    pub new_session: bool,
    pub ends_with_starter: bool,
    pub confinement: Confinement,
    /// The numbers of the descriptors, in the order in which they are attached.
    pub numbers: Vec<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    Applied(Applied),
    NoLandlock,
    Failed(Failure),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    pub step: Step,
    #[serde(with = "optional_path")]
    pub path: Option<PathBuf>,
    pub errno: Option<i32>,
    pub detail: String,
}

/// A string of the system: text where it is, else bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&std::ffi::OsStr> for Text {
    fn from(value: &std::ffi::OsStr) -> Self {
        value.to_str().map_or_else(|| Self::Bytes(value.as_bytes().to_vec()), |text| Self::Text(text.to_owned()))
    }
}

impl From<Text> for OsString {
    fn from(value: Text) -> Self {
        match value {
            Text::Text(text) => text.into(),
            Text::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

macro_rules! as_text {
    ($module:ident, $type:ty, $borrowed:ty, $value:ident => $to:expr, $wire:ty, $text:ident => $from:expr) => {
        pub mod $module {
            use super::*;

            pub fn serialize<S: serde::Serializer>($value: &$borrowed, serializer: S) -> Result<S::Ok, S::Error> {
                let wire: $wire = $to;
                wire.serialize(serializer)
            }

            pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let $text = <$wire>::deserialize(deserializer)?;
                Ok($from)
            }
        }
    };
}

as_text!(path, PathBuf, Path, value => value.as_os_str().into(), Text, text => OsString::from(text).into());
as_text!(
    optional_path, Option<PathBuf>, Option<PathBuf>,
    value => value.as_ref().map(|path| path.as_os_str().into()), Option<Text>,
    text => text.map(|text| OsString::from(text).into())
);
as_text!(
    paths, Vec<PathBuf>, [PathBuf],
    value => value.iter().map(|path| path.as_os_str().into()).collect(), Vec<Text>,
    texts => texts.into_iter().map(|text| OsString::from(text).into()).collect()
);
as_text!(
    strings, Vec<OsString>, [OsString],
    value => value.iter().map(|string| string.as_os_str().into()).collect(), Vec<Text>,
    texts => texts.into_iter().map(OsString::from).collect()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_text_survive() {
        let odd = OsString::from_vec(vec![b'/', 0xff, b'x']);
        let sent = Specification {
            version: VERSION.to_owned(),
            program: PathBuf::from(&odd),
            arguments: vec![odd.clone(), "plain".into()],
            working_directory: "/".into(),
            new_session: true,
            ends_with_starter: true,
            confinement: Confinement { read: vec![PathBuf::from(&odd)], ..Confinement::default() },
            numbers: vec![0, 1, 2],
        };
        let text = serde_json::to_string(&sent).unwrap();
        let got: Specification = serde_json::from_str(&text).unwrap();
        assert_eq!(got.program, PathBuf::from(&odd));
        assert_eq!(got.arguments, sent.arguments);
        assert_eq!(got.confinement, sent.confinement);
    }
}
