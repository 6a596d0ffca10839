//! Why a QEMU ended: from what it was asked to do, what it said, and how its process ended.

use machine::{EndReason, Ending, StopMethod};
use qmp::types::ShutdownCause;
use sandbox::Exit;

/// Lines of the log that are shown with a failure.
const LOG_LINES: usize = 12;

/// What is known when the process has ended.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Whether the guest was running, or could have been.
    pub started: bool,
    /// How a person asked for it, where one did.
    pub asked: Option<StopMethod>,
    /// What QEMU gave as the reason of its shutdown.
    pub shutdown: Option<ShutdownCause>,
    /// Whether the guest reported a panic.
    pub panicked: bool,
    /// How the process ended.
    pub exit: Option<Exit>,
    /// The log of this run.
    pub log: String,
}

impl Evidence {
    /// The verdict.
    pub fn conclude(&self) -> Ending {
        let (exit_status, signal) = match self.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            Some(Exit::Unknown) | None => (None, None),
        };
        let (reason, message) = self.reason();
        let log = if reason.is_failure() { self.last_lines() } else { Vec::new() };
        Ending { reason, message, exit_status, signal, log }
    }

    fn reason(&self) -> (EndReason, String) {
        match self.asked {
            Some(StopMethod::Kill) => return (EndReason::Killed, "QEMU was killed on request".into()),
            Some(StopMethod::Force) => return (EndReason::Forced, "The machine was stopped without asking the guest".into()),
            Some(StopMethod::Request) | None => {}
        }
        match &self.shutdown {
            _ if self.panicked => (EndReason::GuestPanic, "The guest reported a panic and was stopped".into()),
            Some(ShutdownCause::GuestPanic) => (EndReason::GuestPanic, "The guest reported a panic and was stopped".into()),
            Some(ShutdownCause::GuestShutdown | ShutdownCause::SubsystemReset | ShutdownCause::GuestReset) => {
                (EndReason::GuestShutdown, "The guest powered off".into())
            }
            Some(ShutdownCause::HostSignal) => {
                (EndReason::BackendDied, "QEMU was asked to end by a signal that did not come from here; disks were closed properly".into())
            }
            Some(cause) if self.exited_well() => (EndReason::Forced, format!("QEMU ended properly ({})", cause.as_str())),
            _ => self.death(),
        }
    }

    fn exited_well(&self) -> bool {
        matches!(self.exit, Some(Exit::Code(0) | Exit::Unknown))
    }

    fn death(&self) -> (EndReason, String) {
        let how = match self.exit {
            Some(Exit::Signal(9)) => {
                "was killed (signal 9); if nobody did it, the system may have run out of memory: see `journalctl -k`".into()
            }
            Some(Exit::Signal(31)) => "made a forbidden system call (signal 31)".into(),
            Some(Exit::Signal(signal)) => format!("crashed (signal {signal})"),
            Some(Exit::Code(code)) => format!("ended with status {code}"),
            Some(Exit::Unknown) | None => "is gone".into(),
        };
        // Who is killed says nothing about it; what it said last is about something else.
        let killed = matches!(self.exit, Some(Exit::Signal(9)));
        let said = self.last_lines().pop().filter(|_| !killed).map(|line| format!(": {line}")).unwrap_or_default();
        if self.started {
            (EndReason::BackendDied, format!("QEMU {how}{said}"))
        } else {
            (EndReason::StartFailed, format!("QEMU {how} while it was being started{said}"))
        }
    }

    fn last_lines(&self) -> Vec<String> {
        let lines: Vec<&str> = self.log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Evidence {
        Evidence { started: true, ..Evidence::default() }
    }

    #[test]
    fn a_guest_that_powers_off_is_no_failure() {
        let evidence =
            Evidence { shutdown: Some(ShutdownCause::GuestShutdown), exit: Some(Exit::Code(0)), log: "a warning".into(), ..running() };
        let ending = evidence.conclude();
        assert_eq!(ending.reason, EndReason::GuestShutdown);
        assert!(ending.log.is_empty(), "the log is not shown where nothing went wrong");
    }

    #[test]
    fn a_crash_shows_its_signal_and_last_words() {
        let evidence = Evidence { exit: Some(Exit::Signal(6)), log: "one\nassertion failed\n\n".into(), ..running() };
        let ending = evidence.conclude();
        assert_eq!((ending.reason, ending.signal), (EndReason::BackendDied, Some(6)));
        assert_eq!(ending.message, "QEMU crashed (signal 6): assertion failed");
        assert_eq!(ending.log, ["one", "assertion failed"]);
    }

    #[test]
    fn a_death_before_the_guest_ran_is_a_failed_start() {
        let evidence = Evidence { exit: Some(Exit::Code(1)), log: "bad option".into(), ..Evidence::default() };
        let ending = evidence.conclude();
        assert_eq!(ending.reason, EndReason::StartFailed);
        assert_eq!(ending.message, "QEMU ended with status 1 while it was being started: bad option");
    }

    #[test]
    fn what_a_person_asked_for_counts_first() {
        let evidence = Evidence { asked: Some(StopMethod::Kill), exit: Some(Exit::Signal(9)), ..running() };
        assert_eq!(evidence.conclude().reason, EndReason::Killed);
        let evidence = Evidence { asked: Some(StopMethod::Request), shutdown: Some(ShutdownCause::GuestShutdown), ..running() };
        assert_eq!(evidence.conclude().reason, EndReason::GuestShutdown);
    }
}
