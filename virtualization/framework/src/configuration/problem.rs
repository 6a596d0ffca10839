//! What is wrong with a configuration.

use std::fmt;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place in the configuration, such as `storage_devices[1].identifier`.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationError {
    problems: Vec<Problem>,
}

impl ConfigurationError {
    /// Every problem, in the order of the configuration; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigurationError {}

/// Collects problems below a path.
pub(crate) struct Problems<'a> {
    path: String,
    found: &'a mut Vec<Problem>,
}

impl<'a> Problems<'a> {
    /// Runs a check, and says whether it found anything.
    pub fn collect(check: impl FnOnce(&mut Problems<'_>)) -> Result<(), ConfigurationError> {
        let mut found = Vec::new();
        check(&mut Problems { path: String::new(), found: &mut found });
        if found.is_empty() { Ok(()) } else { Err(ConfigurationError { problems: found }) }
    }

    /// The same collection, for a field.
    pub fn field(&mut self, name: &str) -> Problems<'_> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Problems { path, found: self.found }
    }

    /// The same collection, for an element.
    pub fn element(&mut self, index: impl fmt::Display) -> Problems<'_> {
        Problems { path: format!("{}[{index}]", self.path), found: self.found }
    }

    /// Adds a problem of this place.
    pub fn add(&mut self, message: impl Into<String>) {
        self.found.push(Problem { path: self.path.clone(), message: message.into() });
    }

    /// Adds a problem unless what should hold does.
    pub fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.add(message());
        }
    }
}
