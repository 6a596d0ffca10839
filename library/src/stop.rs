//! Stopping a machine, gently first.

use std::time::Duration;

use machine::{EndReason, Ending, StartOptions, StopMethod};
use sandbox::Signal;
use supervisor_api::{Client, ClientError};

use crate::holder::{self, Holder};
use crate::running::from_client;
use crate::{Error, ErrorKind, Library, Machine, Result, StopPlan, Stopped};

/// How long the supervisor may take to end after the machine has, and a killed machine to be gone.
const AFTERMATH: Duration = Duration::from_secs(20);

impl Library {
    /// Stops it as the plan says; `progress` hears each step. A machine that does not run is no error.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Timeout`] where the last step of the plan did not end it.
    pub async fn stop(&self, machine: &Machine, plan: StopPlan, mut progress: impl FnMut(&str)) -> Result<Stopped> {
        let client = match self.client(machine).await {
            Ok(Some(client)) => client,
            Ok(None) => return Ok(Stopped { by: None, ending: None }),
            Err(error) => return self.end_unreachable(machine, plan, error, progress).await,
        };
        let steps =
            [(StopMethod::Request, plan.request), (StopMethod::Force, plan.force), (StopMethod::Kill, plan.kill.then_some(AFTERMATH))];
        let mut last = None;
        let mut refused = None;
        for (method, wait) in steps {
            let Some(wait) = wait else { continue };
            progress(match method {
                StopMethod::Request => "Asking the guest to power off",
                StopMethod::Force => "Ending the machine",
                StopMethod::Kill => "Killing the machine",
            });
            last = Some(wait);
            match self.step(machine, &client, method, wait).await {
                Ok(Some(ending)) => return Ok(Stopped { by: Some(method), ending }),
                Ok(None) => {}
                // A guest that cannot be asked, or a backend that no longer listens, is what the next step is for.
                Err(error) => refused = Some(error),
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let waited = last.unwrap_or_default().as_secs();
        Err(Error::new(ErrorKind::Timeout, format!("\"{}\" did not stop within {waited} s", machine.name))
            .with_hint("The guest may not listen to the power button; stop it by force, or wait longer"))
    }

    /// Ends a machine that no supervisor can reach, as far as the plan allows. What stood in the way is the error where that is not far enough,
    /// or no machine holds the bundle.
    async fn end_unreachable(&self, machine: &Machine, plan: StopPlan, reason: Error, mut progress: impl FnMut(&str)) -> Result<Stopped> {
        // A backend that is terminated closes its images first.
        let steps = [
            (plan.force, Signal::TERM, StopMethod::Force, EndReason::Forced, "Ending the machine"),
            (plan.kill.then_some(AFTERMATH), Signal::KILL, StopMethod::Kill, EndReason::Killed, "Killing the machine"),
        ];
        for (wait, signal, method, why, what) in steps {
            let Some(wait) = wait else { continue };
            let Some(holder) = holder::find(&machine.path).filter(Holder::is_machine) else { break };
            progress(what);
            holder.signal(signal).map_err(|error| Error::io(format!("Cannot end {holder}"), error))?;
            if let Ok(freed) = tokio::time::timeout(wait, self.until_free(machine)).await {
                freed?;
                let ending = Ending::new(why, format!("It was ended without a supervisor, as {holder}"));
                return Ok(Stopped { by: Some(method), ending: Some(ending) });
            }
        }
        Err(reason)
    }

    /// Takes one step and waits for the end: `Some` where the machine has ended.
    async fn step(&self, machine: &Machine, client: &Client, method: StopMethod, wait: Duration) -> Result<Option<Option<Ending>>> {
        // Listening begins before asking, so that no end is missed.
        let events = match client.events().await {
            Ok(events) => events,
            Err(ClientError::Absent { .. }) => {
                self.until_free(machine).await?;
                return self.last_ending(machine).await.map(Some);
            }
            Err(error) => return Err(from_client(error)),
        };
        let ended = self.until_ended(machine, events);
        let asked = async {
            match client.stop(method).await {
                Ok(()) | Err(ClientError::Absent { .. } | ClientError::Protocol(_)) => {}
                Err(error) => return Err(from_client(error)),
            }
            // Asked; the end comes from the other side.
            std::future::pending().await
        };
        let both = async {
            tokio::select! {
                ending = ended => ending.map(Some),
                refusal = asked => refusal,
            }
        };
        match tokio::time::timeout(wait, both).await {
            Ok(result) => result,
            Err(_) => Ok(None),
        }
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
        mut progress: impl FnMut(&str),
    ) -> Result<()> {
        let before = match self.client(machine).await? {
            Some(client) => client.status().await.ok().map(|status| status.options),
            None => None,
        };
        // A machine that was started paused should not stand still again after a restart.
        let before = before.map(|options| StartOptions { paused: false, ..options });
        self.stop(machine, plan, &mut progress).await?;
        progress("Starting");
        self.start(&self.again(&machine.path), options.or(before).unwrap_or_default(), progress).await
    }
}
