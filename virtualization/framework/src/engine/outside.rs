//! The thread that is not confined: it opens what the configuration names, and starts programs.
//!
//! What runs here looks at nothing that a guest has written; that is left to those that ask.

use std::sync::mpsc::{Sender, channel, sync_channel};

use crate::error::{Error, ErrorKind, Result};

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this and its clones are dropped.
#[derive(Debug, Clone)]
pub struct Outside {
    jobs: Sender<Job>,
}

impl Outside {
    /// A thread with the rights of the calling one.
    pub fn new() -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let thread = std::thread::Builder::new().name("vm-outside".to_owned());
        let started = thread.spawn(move || inbox.into_iter().for_each(|job| job()));
        started.map_err(|error| Error::because(ErrorKind::Host, "Could not start the machine's thread for opening files", error))?;
        Ok(Self { jobs })
    }

    /// Does something there, and does not wait for it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn post(&self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        self.jobs.send(Box::new(job)).map_err(|_| gone())
    }

    /// Does something there, and waits for it.
    ///
    /// # Errors
    /// Where something that was done there before has ended the thread.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, result) = sync_channel(1);
        // Who asked waits for the result.
        self.post(move || drop(sender.send(job())))?;
        result.recv().map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Internal, "The machine's thread for opening files has ended")
}
