//! What is wrong with a configuration: every finding names the key it is about.

use std::fmt;

use serde::Serialize;

/// The most problems that one reading reports; a hostile file could otherwise fill the memory with complaints.
const MAX_PROBLEMS: usize = 256;

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Read and kept as it stands; it may matter to some host, to UTM or to the guest.
    Ignored,
    /// Replaced by a value that works. The next save writes that value.
    Fixed,
    /// From reading: the configuration is refused. From validation: the machine cannot start before this is corrected.
    Fatal,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Ignored => "ignored",
            Level::Fixed => "fixed",
            Level::Fatal => "fatal",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How much it matters.
    pub level: Level,
    /// Where, such as `Drive[2].Interface`; empty for the configuration as a whole.
    pub key_path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A finding without advice.
    pub fn new(level: Level, key_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level, key_path: key_path.into(), message: message.into(), hint: None }
    }

    /// A finding of [`Level::Fatal`].
    pub fn fatal(key_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Fatal, key_path, message)
    }

    /// A finding of [`Level::Ignored`].
    pub fn ignored(key_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Ignored, key_path, message)
    }

    /// A finding of [`Level::Fixed`].
    pub fn fixed(key_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Fixed, key_path, message)
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it is [`Level::Fatal`].
    pub fn is_fatal(&self) -> bool {
        self.level == Level::Fatal
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key_path.is_empty() {
            write!(f, "{}: ", self.key_path)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// A configuration that was refused, with everything that was found on the way, fatal or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct ReadError {
    /// All findings, in the order of the file's sections.
    pub problems: Vec<Problem>,
}

impl ReadError {
    /// The findings that caused the refusal.
    pub fn fatal(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_fatal())
    }

    /// One line: the first fatal finding and how many follow.
    pub fn summary(&self) -> String {
        let mut fatal = self.fatal();
        let Some(first) = fatal.next() else {
            return "Configuration was refused".to_owned();
        };
        match fatal.count() {
            0 => format!("Configuration was refused: {first}"),
            1 => format!("Configuration was refused: {first}; and 1 more problem"),
            more => format!("Configuration was refused: {first}; and {more} more problems"),
        }
    }
}

/// Collects findings while something walks a configuration, and knows where it is.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    path: String,
    problems: Vec<Problem>,
    dropped: usize,
}

impl Findings {
    /// Runs `f` one key deeper.
    pub fn within<R>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&printable(key));
        let result = f(self);
        self.path.truncate(length);
        result
    }

    /// Runs `f` in the element `index` of the present array.
    pub fn at_index<R>(&mut self, index: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = f(self);
        self.path.truncate(length);
        result
    }

    /// Records a finding at the present place.
    pub fn report(&mut self, level: Level, message: impl Into<String>, hint: Option<String>) {
        let problem = Problem { level, key_path: self.path.clone(), message: message.into(), hint };
        self.push(problem);
    }

    /// Records a fatal finding at the present place.
    pub fn fatal(&mut self, message: impl Into<String>) {
        self.report(Level::Fatal, message, None);
    }

    /// Records a finding whose key path is already complete.
    pub fn push(&mut self, problem: Problem) {
        // Past the limit only the first fatal finding still counts: it decides whether the configuration is refused.
        if self.problems.len() < MAX_PROBLEMS || (problem.is_fatal() && !self.has_fatal()) {
            self.problems.push(problem);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether anything fatal was found.
    pub fn has_fatal(&self) -> bool {
        self.problems.iter().any(Problem::is_fatal)
    }

    /// Everything that was found.
    pub fn into_problems(mut self) -> Vec<Problem> {
        if self.dropped > 0 {
            let message = format!("{} more problems were found and are not listed", self.dropped);
            self.problems.push(Problem::ignored("", message));
        }
        self.problems
    }
}

/// `text` shortened and without control characters, fit to appear in a message.
pub(crate) fn printable(text: &str) -> String {
    const MAX: usize = 80;
    let mut shown: String = text.chars().take(MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX).is_some() {
        shown.push('…');
    }
    shown
}
