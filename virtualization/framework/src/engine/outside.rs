//! The thread that is not confined: it opens what the configuration names, and starts programs.
//!
//! What runs here looks at nothing that a guest has written; that is left to those that ask.

use std::sync::mpsc::{Sender, channel, sync_channel};

use crate::error::{Error, ErrorKind, Result};

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
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

    /// Does something there, and waits for it.
    ///
    /// # Errors
    /// Where something that was done there before has ended the thread.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, result) = sync_channel(1);
        let gone = || Error::new(ErrorKind::Internal, "The machine's thread for opening files has ended");
        // Who asked waits for the result.
        self.jobs.send(Box::new(move || drop(sender.send(job())))).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())
    }
}
