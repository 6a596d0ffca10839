//! Which machine a person means.

use std::borrow::Cow;
use std::path::Path;

use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::{Error, ErrorKind, Library, Machine};

/// How many names are suggested at most.
const SUGGESTIONS: usize = 3;

/// Why a query does not lead to one machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FindError {
    /// None is meant.
    #[error("There is no machine \"{query}\"")]
    NotFound {
        /// What was asked for.
        query: String,
        /// Names that look alike, best first.
        suggestions: Vec<String>,
    },
    /// More than one is meant.
    #[error("\"{query}\" can mean {} machines: {}", .candidates.len(), .candidates.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was asked for.
        query: String,
        /// Those that it can mean.
        candidates: Vec<Machine>,
    },
}

impl From<FindError> for Error {
    fn from(error: FindError) -> Self {
        let message = error.to_string();
        match error {
            FindError::NotFound { suggestions, .. } => {
                let error = Self::new(ErrorKind::NotFound, message);
                match suggestions.first() {
                    Some(first) => error.with_hint(format!("Did you mean \"{first}\"?")),
                    None => error.with_hint("List the machines to see their names"),
                }
            }
            FindError::Ambiguous { candidates, .. } => {
                let paths: Vec<String> = candidates.iter().map(|machine| machine.path.display().to_string()).collect();
                Self::new(ErrorKind::Ambiguous, message).with_hint(format!("Name one by its path: {}", paths.join(", ")))
            }
        }
    }
}

impl Library {
    /// The machine that is meant by `query`: its exact name, its UUID, the path of its bundle, or the beginning of one name or UUID only.
    /// Upper and lower case count first, and then do not. How an accented letter is written in Unicode, as one character or two, does not.
    ///
    /// # Errors
    /// See [`FindError`], which turns into [`Error`].
    pub fn find(&self, query: &str) -> Result<Machine, FindError> {
        let machines = self.machines();
        // A path counts as one only where it looks like one, so that a bundle in the current folder never hides a machine's name.
        if query.contains('/') || query.ends_with(".utm") {
            let path = self.bundle_path(Path::new(query));
            if let Some(machine) = machines.iter().find(|machine| machine.path == path) {
                return Ok(machine.clone());
            }
            // Nor does a bundle elsewhere hide a machine that is called just so, and a folder that is no bundle is never meant.
            if !machines.iter().any(|machine| machine.name == query)
                && self.looks_like_bundle(&path)
                && let Ok(machine) = self.machine_at(&path)
            {
                return Ok(machine);
            }
        }
        let composed_query = composed(query);
        let (wanted, folded) = (composed_query.as_ref(), composed_query.to_lowercase());
        let folded_name = |machine: &Machine| composed(&machine.name).to_lowercase();
        let uuid = Uuid::try_parse(query).ok();
        let uuid_text = |machine: &Machine| machine.uuid.map(|uuid| uuid.hyphenated().to_string()).unwrap_or_default();
        let rules: [&dyn Fn(&Machine) -> bool; 6] = [
            &|machine| machine.name == query,
            &|machine| composed(&machine.name) == wanted,
            &|machine| uuid.is_some() && machine.uuid == uuid,
            &|machine| folded_name(machine) == folded,
            &|machine| !query.is_empty() && composed(&machine.name).starts_with(wanted),
            &|machine| !query.is_empty() && (folded_name(machine).starts_with(&folded) || uuid_text(machine).starts_with(&folded)),
        ];
        for rule in rules {
            let mut meant: Vec<Machine> = machines.iter().filter(|machine| rule(machine)).cloned().collect();
            match meant.len() {
                0 => {}
                1 => return Ok(meant.swap_remove(0)),
                _ => return Err(FindError::Ambiguous { query: query.to_owned(), candidates: meant }),
            }
        }
        Err(FindError::NotFound { query: query.to_owned(), suggestions: suggestions(&folded, &machines) })
    }
}

/// A name in Unicode's composed form (NFC): a Mac's file system and keyboards write accented letters differently from Linux's.
pub(crate) fn composed(name: &str) -> Cow<'_, str> {
    if name.is_ascii() { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

fn suggestions(folded: &str, machines: &[Machine]) -> Vec<String> {
    // The distance costs time quadratic in length.
    if folded.is_empty() || folded.len() > 64 {
        return Vec::new();
    }
    let likeness = |name: &str| if name.contains(folded) { 1.0 } else { strsim::jaro_winkler(folded, name) };
    let mut alike: Vec<(f64, &str)> = machines
        .iter()
        .map(|machine| (likeness(&composed(&machine.name).to_lowercase()), machine.name.as_str()))
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike.dedup_by_key(|(_, name)| *name);
    alike.into_iter().take(SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}
