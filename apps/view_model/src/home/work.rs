//! What is going on: copies, imports, starts, with progress and a way to cancel, and what became of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use library::{Cancel, Progress};

use crate::{Failure, Message};

/// Work that takes no longer is not shown at all: a bar that flashes only disturbs.
const QUIET: Duration = Duration::from_millis(300);
/// How long a success that has something to say stays.
const STAYS: Duration = Duration::from_secs(8);

/// Which work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId(pub u64);

/// What became of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; what a person should know, a sentence each.
    Done(Vec<String>),
    /// It failed. Stays until somebody has read it.
    Failed(Failure),
    /// Somebody cancelled it.
    Cancelled,
}

/// Something that is going on, or has just ended.
#[derive(Debug, Clone)]
pub struct Work {
    /// Which.
    pub id: WorkId,
    /// The machine that it is done to, where there is one already.
    pub machine: Option<PathBuf>,
    /// What it is: `Cloning "Debian"`.
    pub title: Message,
    /// What it is doing now, and how far it is.
    pub progress: Option<Progress>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    cancel: Option<Cancel>,
    began: Instant,
    ended: Option<Instant>,
}

impl Work {
    /// How much is done, from 0 to 1, where that is known.
    pub fn fraction(&self) -> Option<f32> {
        let progress = self.progress.as_ref()?;
        let total = progress.total.filter(|total| *total > 0)?;
        Some((progress.done as f64 / total as f64).clamp(0.0, 1.0) as f32)
    }

    /// Whether it can be cancelled, and has not been.
    pub fn can_cancel(&self) -> bool {
        self.outcome.is_none() && self.cancel.as_ref().is_some_and(|cancel| !cancel.is_cancelled())
    }

    /// Whether it is to be seen.
    fn is_shown(&self, now: Instant) -> bool {
        match (&self.outcome, self.ended) {
            (Some(Outcome::Failed(_)), _) => true,
            (Some(Outcome::Done(notes)), Some(ended)) => !notes.is_empty() && now < ended + STAYS,
            (Some(_), _) => false,
            (None, _) => now >= self.began + QUIET,
        }
    }

    /// When that changes by itself.
    fn changes_at(&self, now: Instant) -> Option<Instant> {
        let at = match self.ended {
            None => self.began + QUIET,
            Some(ended) => ended + STAYS,
        };
        (at > now).then_some(at)
    }
}

/// Everything that is going on.
#[derive(Debug, Default)]
pub struct Works {
    works: Vec<Work>,
    next: u64,
}

impl Works {
    /// Something begins. `cancel` ends it early, where that is possible.
    pub fn begin(&mut self, title: Message, machine: Option<&Path>, cancel: Option<Cancel>, now: Instant) -> WorkId {
        let id = WorkId(self.next);
        self.next += 1;
        let machine = machine.map(Path::to_path_buf);
        self.works.push(Work { id, machine, title, progress: None, outcome: None, cancel, began: now, ended: None });
        id
    }

    /// It is so far now. What has ended has no progress any more.
    pub fn progressed(&mut self, id: WorkId, progress: Progress) {
        if let Some(work) = self.work(id)
            && work.outcome.is_none()
        {
            work.progress = Some(progress);
        }
    }

    /// It has ended: the machine that it was done to, for [`super::Home::set_working`].
    pub fn ended(&mut self, id: WorkId, result: Result<Vec<String>, &library::Error>, now: Instant) -> Option<PathBuf> {
        let work = self.work(id)?;
        work.ended = Some(now);
        work.outcome = Some(match result {
            Ok(notes) => Outcome::Done(notes),
            Err(error) if error.kind() == library::ErrorKind::Cancelled => Outcome::Cancelled,
            Err(error) => Outcome::Failed(Failure::from(error)),
        });
        work.machine.clone()
    }

    /// Asks it to end. It goes on until it has tidied up.
    pub fn cancel(&mut self, id: WorkId) {
        if let Some(cancel) = self.work(id).and_then(|work| work.cancel.as_ref()) {
            cancel.cancel();
        }
    }

    /// Somebody has read what became of it.
    pub fn dismiss(&mut self, id: WorkId) {
        self.works.retain(|work| work.id != id || work.outcome.is_none());
    }

    /// What is to be seen now, the oldest first; what is over and has been seen is forgotten.
    pub fn shown(&mut self, now: Instant) -> Vec<&Work> {
        self.works.retain(|work| work.outcome.is_none() || work.is_shown(now));
        self.works.iter().filter(|work| work.is_shown(now)).collect()
    }

    /// When to look again, without anything having happened.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.works.iter().filter_map(|work| work.changes_at(now)).min()
    }

    /// Whether anything is going on that quitting the app would interrupt.
    pub fn is_busy(&self) -> bool {
        self.works.iter().any(|work| work.outcome.is_none())
    }

    fn work(&mut self, id: WorkId) -> Option<&mut Work> {
        self.works.iter_mut().find(|work| work.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts;
    use library::{Error, ErrorKind};

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_is_quick_is_never_seen() {
        let (start, mut works) = (Instant::now(), Works::default());
        let id = works.begin(texts::WORK_CLONE.with([&"Debian"]), None, None, start);
        assert!(works.shown(at(start, 200)).is_empty());
        works.ended(id, Ok(Vec::new()), at(start, 250));
        assert!(works.shown(at(start, 300)).is_empty() && !works.is_busy());
    }

    #[test]
    fn what_is_slow_says_how_far_it_is_and_can_be_cancelled() {
        let (start, mut works) = (Instant::now(), Works::default());
        let cancel = Cancel::new();
        let id = works.begin(texts::WORK_CLONE.with([&"Debian"]), Some(Path::new("/d")), Some(cancel.clone()), start);
        assert_eq!(works.due(start), Some(at(start, 300)));
        works.progressed(id, Progress { what: "Copying disk.qcow2".to_owned(), done: 3, total: Some(4) });
        let shown = works.shown(at(start, 300));
        assert_eq!((shown[0].title.to_string().as_str(), shown[0].fraction()), ("Cloning \"Debian\"", Some(0.75)));
        assert!(shown[0].can_cancel());
        works.cancel(id);
        assert!(cancel.is_cancelled() && works.is_busy(), "it goes on until it has tidied up");
        let cancelled = Error::new(ErrorKind::Cancelled, "Cancelled");
        assert_eq!(works.ended(id, Err(&cancelled), at(start, 400)), Some("/d".into()));
        assert!(works.shown(at(start, 400)).is_empty());
    }

    #[test]
    fn a_failure_stays_until_it_was_read() {
        let (start, mut works) = (Instant::now(), Works::default());
        let id = works.begin(texts::WORK_IMPORT.with([&"x.ova"]), None, None, start);
        let error = Error::new(ErrorKind::NoSpace, "Cannot copy disk.vmdk").with_source("No space left").with_hint("Free some space");
        works.ended(id, Err(&error), at(start, 10));
        let shown = works.shown(at(start, 1_000_000));
        let Some(Outcome::Failed(failure)) = &shown[0].outcome else { panic!() };
        assert_eq!((failure.why.as_deref(), failure.hint.as_deref()), (Some("No space left"), Some("Free some space")));
        works.dismiss(id);
        assert!(works.shown(start).is_empty());
    }

    #[test]
    fn notes_stay_for_a_while() {
        let (start, mut works) = (Instant::now(), Works::default());
        let id = works.begin(texts::WORK_CREATE.with([&"x"]), None, None, start);
        works.ended(id, Ok(vec!["It starts with its BIOS".to_owned()]), start);
        assert_eq!(works.shown(at(start, 7000)).len(), 1);
        assert!(works.shown(at(start, 9000)).is_empty());
    }
}
