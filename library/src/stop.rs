//! Stopping a machine, gently first.

use machine::StartOptions;

use crate::library::unfinished;
use crate::{Library, Machine, Result, StopPlan, Stopped};

impl Library {
    /// Stops it as the plan says; `progress` hears each step. A machine that does not run is no error.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Timeout`] where the last step of the plan did not end it.
    pub async fn stop(&self, machine: &Machine, plan: StopPlan, progress: impl FnMut(&str)) -> Result<Stopped> {
        let _ = (plan, progress);
        Err(unfinished(&machine.path))
    }

    /// Stops it as the plan says and starts it again with the same options, or with `options`.
    ///
    /// # Errors
    /// As [`Library::stop`] and [`Library::start`].
    pub async fn restart(
        &self,
        machine: &Machine,
        plan: StopPlan,
        options: Option<StartOptions>,
        progress: impl FnMut(&str),
    ) -> Result<()> {
        let _ = (plan, options, progress);
        Err(unfinished(&machine.path))
    }
}
