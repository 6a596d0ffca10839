//! `surface.toml`: what the bindings cover.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The allow-list; its own comment describes the keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surface {
    pub raw: BTreeSet<String>,
    pub lenient: BTreeSet<String>,
    pub own: BTreeMap<String, String>,
    pub commands: BTreeMap<String, Wanted>,
    pub events: BTreeMap<String, Wanted>,
    pub types: BTreeMap<String, Named>,
}

/// A command or event.
#[derive(Debug, Deserialize)]
#[serde(from = "SentenceOrMore")]
pub struct Wanted {
    pub doc: String,
    pub open: bool,
    pub raw: bool,
    pub optional: bool,
}

/// A type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub at: String,
    pub doc: String,
    #[serde(default)]
    pub variants: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SentenceOrMore {
    Sentence(String),
    More {
        doc: String,
        #[serde(default)]
        open: bool,
        #[serde(default)]
        raw: bool,
        #[serde(default)]
        optional: bool,
    },
}

impl From<SentenceOrMore> for Wanted {
    fn from(entry: SentenceOrMore) -> Self {
        match entry {
            SentenceOrMore::Sentence(doc) => Self { doc, open: false, raw: false, optional: false },
            SentenceOrMore::More { doc, open, raw, optional } => Self { doc, open, raw, optional },
        }
    }
}
