//! The list.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use library::{LibraryEvent, Machine};
use machine::Capabilities;
use uuid::Uuid;

use super::entry::Key;
use super::{Entry, Filter, Group, Tag};
use crate::{Command, Refusal, Text, texts};

/// What a view has to draw again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Everything.
    Reset,
    /// A line is new, at this place.
    Inserted(usize),
    /// The line that was at this place is gone.
    Removed(usize),
    /// The line at this place looks different.
    Changed(usize),
    /// Another machine is selected, or the selected one has changed.
    Selection,
}

/// Why the list is empty, and what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty {
    /// In a few words.
    pub title: Text,
    /// What to do.
    pub help: Text,
    /// The buttons.
    pub commands: &'static [Command],
    /// The button that shows all machines again, where only the search hides them.
    pub clear: Option<Text>,
}

/// The machines of the home window.
#[derive(Debug, Default)]
pub struct Home {
    entries: HashMap<PathBuf, Entry>,
    visible: Vec<Arc<Key>>,
    filter: Filter,
    selected: Option<PathBuf>,
    /// The selected machine's identity: a renamed bundle is another path.
    identity: Option<Uuid>,
}

impl Home {
    /// The list of these machines. Nothing is selected.
    pub fn new(machines: Vec<Machine>) -> Self {
        let entries = machines.into_iter().map(|machine| (machine.path.clone(), Entry::new(machine))).collect();
        let mut home = Self { entries, ..Self::default() };
        home.look();
        home
    }

    /// How many lines the list has.
    pub const fn len(&self) -> usize {
        self.visible.len()
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.visible.is_empty()
    }

    /// The machine of a line.
    pub fn entry(&self, line: usize) -> Option<&Entry> {
        self.entries.get(&self.visible.get(line)?.path)
    }

    /// The heading above a line, where a group begins there.
    pub fn heading(&self, line: usize) -> Option<Group> {
        let group = self.visible.get(line)?.group;
        let before = line.checked_sub(1).and_then(|before| self.visible.get(before));
        (before.map(|key| key.group) != Some(group)).then_some(group)
    }

    /// The line of a machine, where the list shows it.
    pub fn line_of(&self, path: &Path) -> Option<usize> {
        self.visible.binary_search(&self.entries.get(path)?.key).ok()
    }

    /// A machine by its bundle, whether or not the list shows it.
    pub fn machine(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Whether a machine has this name, whether or not the list shows it.
    pub fn has_name(&self, name: &str) -> bool {
        self.entries.values().any(|entry| entry.machine().name == name)
    }

    /// The name with the first number that no machine has yet, for a copy of one with this name.
    pub fn free_name(&self, name: &str) -> String {
        let taken: HashSet<&str> = self.entries.values().map(|entry| entry.machine().name.as_str()).collect();
        let numbered = |number: u32| format!("{name} {number}");
        (2..).map(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or_default()
    }

    /// What to say instead of a list without lines.
    pub fn empty(&self) -> Option<Empty> {
        match (self.visible.is_empty(), self.entries.is_empty()) {
            (false, _) => None,
            (true, true) => Some(Empty {
                title: texts::EMPTY_TITLE,
                help: texts::EMPTY_HELP,
                commands: &[Command::NewMachine, Command::Import],
                clear: None,
            }),
            (true, false) => {
                Some(Empty { title: texts::NO_MATCH_TITLE, help: texts::NO_MATCH_HELP, commands: &[], clear: Some(texts::CLEAR_SEARCH) })
            }
        }
    }

    /// The tags that there are, with how many machines have each.
    pub fn tags(&self) -> BTreeMap<Tag, usize> {
        let mut tags = BTreeMap::new();
        for tag in self.entries.values().flat_map(Entry::tags) {
            *tags.entry(tag).or_default() += 1;
        }
        tags
    }

    /// The selected machine.
    pub fn selected(&self) -> Option<&Entry> {
        self.entries.get(self.selected.as_ref()?)
    }

    /// Selects a machine, or none.
    pub fn select(&mut self, path: Option<&Path>) -> Vec<Change> {
        let selected = path.and_then(|path| self.entries.get(path));
        let (path, identity) = selected.map(|entry| (entry.machine().path.clone(), entry.machine().uuid)).unzip();
        self.identity = identity.flatten();
        if self.selected == path {
            return Vec::new();
        }
        self.selected = path;
        vec![Change::Selection]
    }

    /// Selects the line that is so many further down, as arrow keys do; the first one where none is selected.
    pub fn step(&mut self, lines: isize) -> Vec<Change> {
        let Some(last) = self.visible.len().checked_sub(1) else { return Vec::new() };
        let now = self.selected.as_deref().and_then(|path| self.line_of(path));
        let line = now.map_or(0, |now| now.saturating_add_signed(lines).min(last));
        let path = self.visible.get(line).map(|key| key.path.clone());
        self.select(path.as_deref())
    }

    /// Whether a command can be asked of the selected machine now.
    ///
    /// # Errors
    /// Why not.
    pub fn available(&self, command: Command) -> Result<(), Refusal> {
        command.available(self.selected().map(Entry::subject).as_ref())
    }

    /// Shows other machines. The selection stays, also where the list no longer shows it.
    pub fn set_filter(&mut self, filter: Filter) -> Vec<Change> {
        if self.filter == filter {
            return Vec::new();
        }
        self.filter = filter;
        self.look();
        vec![Change::Reset]
    }

    /// Hears what happened.
    pub fn heard(&mut self, event: LibraryEvent) -> Vec<Change> {
        match event {
            LibraryEvent::MachineAdded(machine) | LibraryEvent::MachineChanged(machine) => {
                let path = machine.path.clone();
                if self.entries.contains_key(&path) { self.alter(&path, |entry| entry.change(machine)) } else { self.add(machine) }
            }
            LibraryEvent::MachineRemoved { path, .. } => self.remove(&path),
            LibraryEvent::StateChanged { path, state } => self.alter(&path, |entry| entry.set_state(state)),
        }
    }

    /// What a machine can do has become known.
    pub fn set_capabilities(&mut self, path: &Path, capabilities: Capabilities) -> Vec<Change> {
        self.alter(path, |entry| entry.set_capabilities(capabilities))
    }

    /// Something is being done to a machine now, or one thing less.
    pub fn set_working(&mut self, path: &Path, working: bool) -> Vec<Change> {
        self.alter(path, |entry| entry.set_working(working))
    }

    fn add(&mut self, machine: Machine) -> Vec<Change> {
        let entry = Entry::new(machine);
        let (key, shown) = (entry.key.clone(), self.filter.shows(&entry));
        self.entries.insert(key.path.clone(), entry);
        let mut changes = Vec::new();
        if shown {
            self.insert(key, &mut changes);
        }
        changes
    }

    fn remove(&mut self, path: &Path) -> Vec<Change> {
        let Some(entry) = self.entries.remove(path) else { return Vec::new() };
        let mut changes = Vec::new();
        let line = self.take(&entry.key, &mut changes);
        if self.selected.as_deref() == Some(path) {
            // A renamed bundle is there under its new path already; else whatever has come to its place.
            let renamed = self.identity.and_then(|uuid| self.entries.values().find(|other| other.machine().uuid == Some(uuid)));
            let beside = || line.and_then(|line| self.visible.get(line).or(self.visible.last())).map(|key| key.path.clone());
            let next = renamed.map(|entry| entry.machine().path.clone()).or_else(beside);
            changes.extend(self.select(next.as_deref()));
        }
        changes
    }

    /// Changes a machine, and its line with it.
    fn alter(&mut self, path: &Path, change: impl FnOnce(&mut Entry)) -> Vec<Change> {
        let Some(entry) = self.entries.get_mut(path) else { return Vec::new() };
        let before = entry.key.clone();
        change(entry);
        let (after, shown) = (entry.key.clone(), self.filter.shows(entry));
        let mut changes = Vec::new();
        match self.visible.binary_search(&before) {
            Ok(line) if shown && before == after => changes.push(Change::Changed(line)),
            _ => {
                self.take(&before, &mut changes);
                if shown {
                    self.insert(after, &mut changes);
                }
            }
        }
        if self.selected.as_deref() == Some(path) {
            changes.push(Change::Selection);
        }
        changes
    }

    fn insert(&mut self, key: Arc<Key>, changes: &mut Vec<Change>) {
        if let Err(line) = self.visible.binary_search(&key) {
            self.visible.insert(line, key);
            changes.push(Change::Inserted(line));
            self.heading_moved(line, line + 1, changes);
        }
    }

    fn take(&mut self, key: &Arc<Key>, changes: &mut Vec<Change>) -> Option<usize> {
        let line = self.visible.binary_search(key).ok()?;
        let had_heading = self.heading(line).is_some();
        self.visible.remove(line);
        changes.push(Change::Removed(line));
        if had_heading && self.heading(line).is_some_and(|group| group == key.group) {
            changes.push(Change::Changed(line));
        }
        Some(line)
    }

    /// A line that came before another has taken its heading.
    fn heading_moved(&self, line: usize, next: usize, changes: &mut Vec<Change>) {
        let same = self.visible.get(next).is_some_and(|key| self.visible.get(line).is_some_and(|new| new.group == key.group));
        if same && self.heading(line).is_some() {
            changes.push(Change::Changed(next));
        }
    }

    /// Looks at all machines again.
    fn look(&mut self) {
        self.visible = self.entries.values().filter(|entry| self.filter.shows(entry)).map(|entry| entry.key.clone()).collect();
        self.visible.sort_unstable();
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
