//! A long operation as its caller sees it: what it is doing, how far it is, and how to end it early.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::{Error, Result};

/// How far a long operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done now, for a person: `Copying disk.qcow2`.
    pub what: String,
    /// How much of it is done, in bytes, or in whatever `total` counts.
    pub done: u64,
    /// How much there is; `None` where that is not known.
    pub total: Option<u64>,
}

/// Ends a long operation early. Cheap to clone; every clone is the same switch.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Switch>);

#[derive(Default)]
struct Switch {
    pulled: AtomicBool,
    told: Notify,
}

impl Cancel {
    /// A switch that nobody has pulled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the operation to end. It undoes what it began and fails with [`crate::ErrorKind::Cancelled`]. Safe to call from a signal's task or
    /// any thread, more than once.
    pub fn cancel(&self) {
        self.0.pulled.store(true, Ordering::SeqCst);
        self.0.told.notify_waiters();
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.pulled.load(Ordering::SeqCst)
    }

    /// Returns when somebody has asked.
    pub async fn cancelled(&self) {
        loop {
            let told = self.0.told.notified();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }

    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0.pulled
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

/// What a long operation reports to and asks. Cheap to clone.
#[derive(Clone)]
pub struct Job {
    report: Arc<dyn Fn(Progress) + Send + Sync>,
    cancel: Cancel,
}

impl Job {
    /// Reports to `report`, which must not block, from any thread; ends when `cancel` says so.
    pub fn new(report: impl Fn(Progress) + Send + Sync + 'static, cancel: Cancel) -> Self {
        Self { report: Arc::new(report), cancel }
    }

    /// Nobody listens and nobody cancels.
    pub fn silent() -> Self {
        Self::new(|_| {}, Cancel::new())
    }

    /// The switch.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Reports how far something is that has no report of its own.
    pub fn tell(&self, progress: Progress) {
        (self.report)(progress);
    }

    pub(crate) fn report(&self, what: impl Into<String>, done: u64, total: Option<u64>) {
        (self.report)(Progress { what: what.into(), done, total });
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.cancel.check()
    }
}

impl Default for Job {
    fn default() -> Self {
        Self::silent()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}
