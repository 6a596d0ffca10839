//! Running machines: their supervisor is asked, started, or found again.

use machine::{Ending, StartOptions};
use supervisor_api::Client;
use supervisor_api::wire::Status;

use crate::library::unfinished;
use crate::{Library, Machine, Result};

impl Library {
    /// Everything there is to know about a machine now. A running one's supervisor is asked; one that runs without a supervisor is adopted
    /// first; of a stopped one the status is put together from its bundle, with how its last run ended.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] where the configuration cannot be read, [`crate::ErrorKind::Supervisor`] where it runs and nobody answers.
    pub async fn status(&self, machine: &Machine) -> Result<Status> {
        Err(unfinished(&machine.path))
    }

    /// A client of the machine's supervisor; `None` where the machine does not run. One that runs without a supervisor is adopted first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Supervisor`] where it runs and nobody answers.
    pub async fn client(&self, machine: &Machine) -> Result<Option<Client>> {
        Err(unfinished(&machine.path))
    }

    /// Starts it; `progress` hears what goes on meanwhile. Returns when the guest runs, or stands before its first instruction where the
    /// options say so.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it runs already; otherwise the supervisor's reason.
    pub async fn start(&self, machine: &Machine, options: StartOptions, progress: impl FnMut(&str)) -> Result<()> {
        let _ = (options, progress);
        Err(unfinished(&machine.path))
    }

    /// Halts the vCPUs.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it does not run.
    pub async fn pause(&self, machine: &Machine) -> Result<()> {
        Err(unfinished(&machine.path))
    }

    /// Lets the vCPUs go on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it is not paused.
    pub async fn resume(&self, machine: &Machine) -> Result<()> {
        Err(unfinished(&machine.path))
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongState`] where it does not run.
    pub async fn reset(&self, machine: &Machine) -> Result<()> {
        Err(unfinished(&machine.path))
    }

    /// Returns when the machine has ended, at once where it does not run, with what it said.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Supervisor`] where it runs and nobody answers.
    pub async fn wait(&self, machine: &Machine) -> Result<Option<Ending>> {
        Err(unfinished(&machine.path))
    }
}
