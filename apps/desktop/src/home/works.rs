//! What is going on: shown at the foot of the list, with progress and a way to cancel; what failed stays until somebody has read it.

use std::future::Future;
use std::path::Path;
use std::time::Instant;

use library::{Cancel, Job, Progress};
use slint::{ModelRc, TimerMode, VecModel};
use tokio::sync::watch;
use view_model::home::{Outcome, Work, WorkId};
use view_model::{Command, Failure, Message};

use super::HomeScreen;
use crate::words::{command, say};
use crate::{WorkLine, commands, rows};

impl HomeScreen {
    /// Does something to a machine, and shows how far it is. `cancellable` says whether `work` heeds its job's switch. What it returns is
    /// given to `done`, with what a person should know besides.
    pub(crate) fn begin<T, F>(
        &self,
        title: Message,
        machine: Option<&Path>,
        cancellable: bool,
        work: impl FnOnce(Job) -> F,
        done: impl FnOnce(&Self, &T) -> Vec<String> + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = library::Result<T>> + Send + 'static,
    {
        let cancel = Cancel::new();
        let id = self.works.borrow_mut().begin(title, machine, cancellable.then(|| cancel.clone()), Instant::now());
        if let Some(path) = machine {
            let changes = self.home.borrow_mut().set_working(path, true);
            self.apply(&changes);
        }
        // Only the newest is worth drawing.
        let (said, mut progress) = watch::channel(None::<Progress>);
        let job = Job::new(move |progress| drop(said.send(Some(progress))), cancel);
        let task = self.engine().spawn(work(job));
        let this = self.this.clone();
        let telling = slint::spawn_local(async move {
            while progress.changed().await.is_ok() {
                let newest = progress.borrow_and_update().clone();
                let Some(screen) = this.upgrade() else { return };
                if let Some(newest) = newest {
                    screen.works.borrow_mut().progressed(id, newest);
                    screen.draw_works();
                }
            }
            let result = task.await;
            let Some(screen) = this.upgrade() else { return };
            let result =
                result.unwrap_or_else(|error| Err(library::Error::new(library::ErrorKind::Io, format!("It was given up: {error}"))));
            screen.over(id, result, done);
        });
        debug_assert!(telling.is_ok());
        self.draw_works();
    }

    fn over<T>(&self, id: WorkId, result: library::Result<T>, done: impl FnOnce(&Self, &T) -> Vec<String>) {
        let result = result.map(|result| done(self, &result));
        let machine = match &result {
            Ok(notes) => self.works.borrow_mut().ended(id, Ok(notes.clone()), Instant::now()),
            Err(error) => self.works.borrow_mut().ended(id, Err(error), Instant::now()),
        };
        if let Some(path) = machine {
            let changes = self.home.borrow_mut().set_working(&path, false);
            self.apply(&changes);
            self.reload();
        }
        self.draw_works();
    }

    /// Something failed that is no work: a window that cannot be opened, a dialog that is not there.
    pub(crate) fn failed(&self, title: Message, machine: Option<&Path>, error: &library::Error) {
        let mut works = self.works.borrow_mut();
        let id = works.begin(title, machine, None, Instant::now());
        works.ended(id, Err(error), Instant::now());
        drop(works);
        self.draw_works();
    }

    /// Draws what is going on, and comes back when that changes by itself.
    pub(super) fn draw_works(&self) {
        let now = Instant::now();
        let mut works = self.works.borrow_mut();
        let lines = works.shown(now).into_iter().map(|work| self.line(work)).collect();
        let due = works.due(now);
        drop(works);
        rows::put(&self.models.works, lines);
        match due {
            Some(at) => self.later.start(TimerMode::SingleShot, at - now, self.with(|screen| screen.draw_works())),
            None => self.later.stop(),
        }
    }

    fn line(&self, work: &Work) -> WorkLine {
        let mut line = WorkLine {
            number: i32::try_from(work.id.0).unwrap_or(-1),
            title: say(work.title.clone()),
            fraction: work.fraction().unwrap_or(-1.0),
            can_cancel: work.can_cancel(),
            over: work.outcome.is_some(),
            ..WorkLine::default()
        };
        match &work.outcome {
            None => line.what = work.progress.as_ref().map(|progress| progress.what.as_str().into()).unwrap_or_default(),
            Some(Outcome::Done(notes)) => line.what = notes.join("\n").into(),
            Some(Outcome::Failed(failure)) => {
                line.failed = true;
                line.what = said(failure).into();
                line.help = failure.hint.clone().unwrap_or_default().into();
                let cures = failure.cures.iter().filter(|command| commands::is_here(**command));
                line.cures = ModelRc::new(VecModel::from_iter(cures.map(|command| self.action(*command, true))));
            }
            Some(Outcome::Cancelled) => {}
        }
        line
    }

    pub(super) fn connect_works(&self) {
        let model = self.model();
        model.on_cancel(self.with_value(|screen, number: i32| {
            screen.works.borrow_mut().cancel(id_of(number));
            screen.draw_works();
        }));
        model.on_dismiss(self.with_value(|screen, number: i32| {
            screen.works.borrow_mut().dismiss(id_of(number));
            screen.draw_works();
        }));
        let this = self.this.clone();
        model.on_cure(move |number, cure| {
            let (Some(screen), Some(cure)) = (this.upgrade(), command(cure)) else { return };
            screen.cure(id_of(number), cure);
        });
    }

    /// Does what cures a failure, to the machine that it is of.
    fn cure(&self, id: WorkId, cure: Command) {
        let machine =
            self.works.borrow_mut().shown(Instant::now()).into_iter().find(|work| work.id == id).and_then(|work| work.machine.clone());
        self.works.borrow_mut().dismiss(id);
        self.draw_works();
        if let Some(path) = machine {
            self.select(&path);
            self.run(cure);
        }
    }

    /// Whether something goes on that quitting would interrupt.
    pub(crate) fn is_busy(&self) -> bool {
        self.works.borrow().is_busy()
    }
}

/// The work that the window has named.
fn id_of(number: i32) -> WorkId {
    WorkId(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A failure in a paragraph.
fn said(failure: &Failure) -> String {
    let mut said = failure.what.clone();
    if let Some(why) = &failure.why {
        said.push('\n');
        said.push_str(why);
    }
    for problem in &failure.problems {
        said.push_str(&format!("\n{problem}"));
    }
    said
}
