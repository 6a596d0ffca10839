//! Saving, and why not.

use bundle::Configuration;
use library::ErrorKind;

use super::draft::count;
use super::{Applies, Editor, Group};
use crate::{Message, texts};

/// What "Save" does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// It writes the settings.
    Now,
    /// The machine runs: it is shut down, the settings are written, and it starts again.
    WithRestart,
}

/// Why nothing can be saved now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSaved {
    /// Nothing has changed.
    Unchanged,
    /// So many problems have to be corrected first.
    Problems(usize),
}

impl NotSaved {
    /// In words.
    pub fn message(self) -> Message {
        match self {
            Self::Unchanged => texts::EDITOR_UNCHANGED.into(),
            Self::Problems(1) => texts::EDITOR_PROBLEMS_ONE.into(),
            Self::Problems(count) => texts::EDITOR_PROBLEMS.with([&count]),
        }
    }
}

impl Editor {
    /// Whether leaving would lose something: a question is asked then, once.
    pub fn is_dirty(&self) -> bool {
        self.draft != self.stored || self.refused() > 0
    }

    /// What "Save" does now.
    ///
    /// # Errors
    /// Why there is nothing that could be saved. What was wrong before somebody came here keeps nobody from saving something else.
    pub fn save(&self, running: bool) -> Result<Save, NotSaved> {
        let known = self.stored.validate();
        let new = self.noticed().into_iter().filter(|problem| problem.is_fatal() && !known.contains(problem)).count();
        match self.refused() + new {
            0 if self.draft == self.stored => Err(NotSaved::Unchanged),
            0 if running => Ok(Save::WithRestart),
            0 => Ok(Save::Now),
            problems => Err(NotSaved::Problems(problems)),
        }
    }

    /// Puts the settings in the place of `on_disk`: for [`library::Library::edit`].
    ///
    /// # Errors
    /// [`ErrorKind::WrongState`] where another program has changed them meanwhile, unless that shall be lost (`overwrite`).
    pub fn store(&self, on_disk: &mut Configuration, overwrite: bool) -> library::Result<()> {
        if *on_disk != self.stored && !overwrite {
            return Err(library::Error::new(ErrorKind::WrongState, texts::EDITOR_CONFLICT.english)
                .with_hint("Save anyway to lose those changes, or revert to lose yours"));
        }
        self.draft.clone_into(on_disk);
        Ok(())
    }

    /// The settings are on disk now as they are here.
    pub fn saved(&mut self) {
        self.stored = self.draft.clone();
    }

    /// Goes back to what is on disk.
    pub fn revert(&mut self, on_disk: Configuration) {
        self.draft = on_disk.clone();
        self.stored = on_disk;
        self.forget_typed();
    }

    /// The key paths of what was changed and a running machine does not feel before it starts again.
    pub fn needs_restart(&self) -> Vec<String> {
        let settings = self.pages().into_iter().flat_map(|page| self.settings(page.group, page.element));
        let mut paths: Vec<String> = settings.filter(|setting| setting.needs_restart).map(|setting| setting.path).collect();
        // A device that was removed has no page any more.
        for list in Group::ALL.into_iter().filter_map(Group::list) {
            let fields = super::fields_of(self.draft.schema());
            let felt = fields.iter().any(|field| field.path == list && field.applies == Applies::NextStart);
            if felt && count(&self.stored, list) != self.count(list) {
                paths.push(list.to_owned());
            }
        }
        paths
    }
}
