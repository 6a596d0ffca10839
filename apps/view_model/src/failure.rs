//! Something that went wrong, as a person is told: what happened, why, what to do, and a button that does it.

use bundle::Problem;

use crate::Command;

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was attempted and what happened.
    pub what: String,
    /// What the layers below said.
    pub why: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// What is wrong with a configuration, key by key.
    pub problems: Vec<Problem>,
    /// What does it, where a command does.
    pub cures: Vec<Command>,
}

impl From<&library::Error> for Failure {
    fn from(error: &library::Error) -> Self {
        let what = error.to_string();
        let why = error.chain().strip_prefix(&what).and_then(|rest| rest.strip_prefix(": ")).map(str::to_owned);
        let cures = match error.kind() {
            library::ErrorKind::Timeout => vec![Command::ForceStop],
            library::ErrorKind::Supervisor => vec![Command::ShowLog],
            _ => Vec::new(),
        };
        Self { what, why, hint: error.hint().map(str::to_owned), problems: error.problems().to_vec(), cures }
    }
}
