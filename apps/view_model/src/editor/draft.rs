//! The draft, and what is typed into it.

use std::collections::BTreeMap;

use bundle::key_path::{self, Change, KeyError};
use bundle::{Architecture, Configuration, Kind, Level, Problem, tables};

use library::Host;

use super::field::{describe, shown};
use crate::{Message, texts};

const NAME: &str = "Information.Name";

/// What was typed and makes no sense yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Typed {
    text: String,
    problems: Vec<Problem>,
}

/// The settings of a machine while somebody changes them.
#[derive(Debug, Clone)]
pub struct Editor {
    pub(super) stored: Configuration,
    pub(super) draft: Configuration,
    typed: BTreeMap<String, Typed>,
    pub(super) host: Host,
}

impl Editor {
    /// The settings as they are on disk, on this computer.
    pub fn new(stored: Configuration, host: Host) -> Self {
        Self { draft: stored.clone(), stored, typed: BTreeMap::new(), host }
    }

    /// What would be saved: for the command line that it comes to, and for what depends on other settings.
    pub const fn draft(&self) -> &Configuration {
        &self.draft
    }

    /// The text of a setting: what was typed, or its value; empty where it has none.
    pub fn text(&self, path: &str) -> String {
        match self.typed.get(path) {
            Some(typed) => typed.text.clone(),
            None => value(&self.draft, path),
        }
    }

    /// Changes a setting. An empty text takes a setting away that can do without. What is refused stays as it was typed, with its problems,
    /// and is tried again whenever another setting has changed.
    pub fn set(&mut self, path: &str, text: &str) {
        if value(&self.draft, path) == text {
            self.typed.remove(path);
            return;
        }
        if self.reset_for(path, text) {
            self.keep_what_is_still_there();
        } else if let Err(error) = put(&mut self.draft, path, text) {
            self.typed.insert(path.to_owned(), Typed { text: text.to_owned(), problems: problems_of(path, error) });
            // Two settings that only make sense together were typed one after the other.
            self.try_together();
            return;
        }
        self.typed.remove(path);
        self.try_again();
    }

    /// Gives a setting the value that it has in a new machine.
    pub fn reset(&mut self, path: &str) {
        self.typed.remove(path);
        match key_path::edit(&mut self.draft, &[Change::Unset { path: path.to_owned() }]) {
            Ok(_) | Err(KeyError::NotSet(_)) => self.try_again(),
            Err(error) => {
                let text = value(&self.draft, path);
                self.typed.insert(path.to_owned(), Typed { text, problems: problems_of(path, error) });
            }
        }
    }

    /// What else a change would change, for a question before [`Self::set`].
    pub fn consequence(&self, path: &str, text: &str) -> Option<Message> {
        let (architecture, target) = self.machine_after(path, text)?;
        let qemu = self.draft.as_qemu()?;
        let is_other = (qemu.system.architecture, &qemu.system.target) != (architecture, &target);
        is_other.then(|| texts::EDITOR_RESETS.with([&target]))
    }

    /// Everything that is wrong: with what was typed, then with the draft.
    pub fn problems(&self) -> Vec<Problem> {
        let typed = self.typed.values().flat_map(|typed| typed.problems.iter().cloned());
        typed.chain(self.noticed()).collect()
    }

    /// What is wrong with the draft: what `bundle` says, and a new name that the library would refuse.
    pub(super) fn noticed(&self) -> Vec<Problem> {
        let mut problems = self.draft.validate();
        let name = self.draft.name();
        if name != self.stored.name()
            && let Err(error) = library::check_name_text(name)
        {
            problems.retain(|problem| problem.key_path != NAME);
            problems.push(Problem::fatal(NAME, error.to_string()));
        }
        problems
    }

    /// What is wrong with one setting.
    pub fn problems_of(&self, path: &str) -> Vec<Problem> {
        match self.typed.get(path) {
            Some(typed) => typed.problems.clone(),
            None => self.noticed().into_iter().filter(|problem| problem.key_path == path).collect(),
        }
    }

    /// What was typed at a setting and makes no sense yet, with what is wrong.
    pub(super) fn typed(&self, path: &str) -> Option<(&str, &[Problem])> {
        self.typed.get(path).map(|typed| (typed.text.as_str(), typed.problems.as_slice()))
    }

    /// What was typed and not accepted.
    pub(super) fn refused(&self) -> usize {
        self.typed.len()
    }

    /// Forgets everything that was typed and not accepted.
    pub(super) fn forget_typed(&mut self) {
        self.typed.clear();
    }

    /// Follows the elements of a list to their new places; `None` for what is gone.
    pub(super) fn renumber(&mut self, list: &str, place: impl Fn(usize) -> Option<usize>) {
        let typed = std::mem::take(&mut self.typed);
        self.typed = typed
            .into_iter()
            .filter_map(|(path, typed)| {
                let Some((index, rest)) =
                    path.strip_prefix(list).and_then(|rest| rest.strip_prefix('[')).and_then(|rest| rest.split_once(']'))
                else {
                    return Some((path, typed));
                };
                let new = place(index.parse().ok()?)?;
                Some((format!("{list}[{new}]{rest}"), typed))
            })
            .collect();
        self.try_again();
    }

    /// The machine type after a change of architecture or machine type that resets what depends on it.
    fn machine_after(&self, path: &str, text: &str) -> Option<(Architecture, String)> {
        let system = &self.draft.as_qemu()?.system;
        match path {
            "System.Architecture" => {
                let architecture: Architecture = text.parse().ok()?;
                let stays = tables::machine_is_known(architecture, &system.target);
                let target = if stays { &system.target } else { tables::default_machine(architecture) };
                Some((architecture, target.to_owned()))
            }
            "System.Target" if tables::machine_is_known(system.architecture, text) => Some((system.architecture, text.to_owned())),
            _ => None,
        }
    }

    /// Changes the machine type, and what depends on it to what suits it.
    fn reset_for(&mut self, path: &str, text: &str) -> bool {
        let Some((architecture, target)) = self.machine_after(path, text) else { return false };
        let Configuration::Qemu(qemu) = &mut self.draft else { return false };
        (qemu.system.architecture, qemu.system.target) = (architecture, target);
        tables::reset_for_machine(qemu, self.host.architecture);
        true
    }

    /// What was typed into devices that are gone is gone, too.
    fn keep_what_is_still_there(&mut self) {
        let draft = &self.draft;
        self.typed.retain(|path, _| matches!(key_path::get(draft, path), Ok(_) | Err(KeyError::NotSet(_))));
    }

    /// What was refused may make sense by now.
    fn try_again(&mut self) {
        let waiting: Vec<(String, String)> = self.typed.iter().map(|(path, typed)| (path.clone(), typed.text.clone())).collect();
        for (path, text) in waiting {
            match put(&mut self.draft, &path, &text) {
                Ok(_) => drop(self.typed.remove(&path)),
                Err(error) => drop(self.typed.insert(path.clone(), Typed { text, problems: problems_of(&path, error) })),
            }
        }
        self.try_together();
    }

    fn try_together(&mut self) {
        if self.typed.len() < 2 {
            return;
        }
        let changes: Vec<Change> = self.typed.iter().map(|(path, typed)| change(&self.draft, path, &typed.text)).collect();
        if key_path::edit(&mut self.draft, &changes).is_ok() {
            self.typed.clear();
        }
    }
}

/// The value of a setting as text.
pub(super) fn value(configuration: &Configuration, path: &str) -> String {
    match (key_path::get(configuration, path), describe(configuration, path)) {
        (Ok(value), Some(described)) => shown(described.kind, &value),
        (Ok(value), None) => key_path::format_value(&value),
        (Err(_), _) => String::new(),
    }
}

/// How many elements a list has.
pub(super) fn count(configuration: &Configuration, list: &str) -> usize {
    key_path::get(configuration, list).ok().and_then(|value| value.as_array().map(Vec::len)).unwrap_or(0)
}

/// Changes a setting to what a text means.
fn put(configuration: &mut Configuration, path: &str, text: &str) -> Result<(), KeyError> {
    let change = change(configuration, path, text);
    key_path::edit(configuration, &[change]).map(drop)
}

/// The change that a text means.
fn change(configuration: &Configuration, path: &str, text: &str) -> Change {
    let described = describe(configuration, path);
    let is_text = |kind: &Kind| matches!(kind, Kind::Text | Kind::List(_) | Kind::Arguments);
    let takes_away = text.is_empty() && described.is_some_and(|described| !described.key.required || !is_text(described.kind));
    let has = key_path::get(configuration, path).is_ok();
    match (takes_away, described.map(|described| described.key.required)) {
        // A number or a choice that is not there yet: nothing is no value, and says so.
        (true, Some(false)) if has => Change::Unset { path: path.to_owned() },
        _ => Change::Set { path: path.to_owned(), text: text.to_owned() },
    }
}

/// What is wrong with a text that was refused.
fn problems_of(path: &str, error: KeyError) -> Vec<Problem> {
    match error {
        // What reading would replace is refused as well as what it would not take.
        KeyError::Refused(problems) if !problems.is_empty() => {
            problems.into_iter().map(|problem| Problem { level: Level::Fatal, ..problem }).collect()
        }
        KeyError::Value { message, .. } => vec![Problem::fatal(path, message)],
        other => vec![Problem::fatal(path, other.to_string())],
    }
}
