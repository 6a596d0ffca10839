//! A process that cannot be mistaken for another which got its number later.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

pub use rustix::process::Signal;

/// Which process: two processes of one boot never share both fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`, proc(5).
    pub start_time: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was another process's child, and only that one knows.
    Unknown,
}

impl Exit {
    /// Whether it ended by itself with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => f.write_str("ended"),
        }
    }
}

/// A process, held by a descriptor that stays its own even when the number is used again.
///
/// The descriptor ([`AsFd`]) becomes readable when the process ends, so that an event loop can watch it; then [`Process::try_wait`].
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: OwnedFd,
    exit: Mutex<Option<Exit>>,
}

impl Process {
    /// The process that has `identity`; `None` if it has ended, even if another has its number.
    ///
    /// # Errors
    ///
    /// When the kernel refuses for another reason than that there is no such process.
    pub fn open(identity: Identity) -> io::Result<Option<Self>> {
        Ok(Self::adopt(identity.pid)?.filter(|process| process.identity == identity))
    }

    /// The process that has this number now; `None` if there is none, or it has ended.
    ///
    /// # Errors
    ///
    /// When the kernel refuses for another reason than that there is no such process.
    pub fn adopt(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let Some(start_time) = start_time(pid)? else { return Ok(None) };
        let process = Self { identity: Identity { pid, start_time }, pidfd, exit: Mutex::new(None) };
        // The descriptor was opened before the start time was read: if its process still runs, both are of the same one.
        Ok(process.is_alive()?.then_some(process))
    }

    /// Takes over a child of this process: from now on only this may wait for it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a descriptor for it, or somebody has waited for it.
    #[expect(clippy::needless_pass_by_value, reason = "whoever keeps it could wait for it, and its number would be used again")]
    pub fn from_child(child: Child) -> io::Result<Self> {
        let pid = child.id();
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
        let start_time = start_time(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { identity: Identity { pid, start_time }, pidfd, exit: Mutex::new(None) })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// What to keep to find it again.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it runs. A process that has ended but was not waited for does not.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(!self.poll(Some(Duration::ZERO))?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it has ended ([`io::Error::raw_os_error`] is `ESRCH`) or belongs to somebody else.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// How it ended; `None` while it runs. Reaps it if it is a child.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        self.wait(Some(Duration::ZERO))
    }

    /// Waits until it ends and tells how; `None` when it still runs after `timeout`. Reaps it if it is a child. Blocks the thread: an event
    /// loop watches the descriptor instead.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<Exit>> {
        if !self.poll(timeout)? {
            return Ok(None);
        }
        // Held while asking, for the kernel tells only once; the question does not block.
        let mut exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if exit.is_some() {
            return Ok(*exit);
        }
        *exit = Some(match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            // Not our child.
            Ok(None) | Err(Errno::CHILD) => Exit::Unknown,
            Err(errno) => return Err(errno.into()),
        });
        Ok(*exit)
    }

    /// Whether the process ended within `timeout`.
    fn poll(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            let mut set = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut set, left.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn start_time(pid: u32) -> io::Result<Option<u64>> {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => parse_start_time(&stat)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("Could not read when process {pid} started"))),
        // ESRCH when it ends while the file is read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Field 22. The second field, the name in parentheses, may hold spaces and parentheses: counting starts after the last one.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|byte| *byte == b')')?.checked_add(1)?;
    std::str::from_utf8(stat.get(after..)?).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_a_hostile_name() {
        let stat = b"42 (a) R 1 (b c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 2";
        assert_eq!(parse_start_time(stat), Some(987_654));
        assert_eq!(parse_start_time(b"42 (a"), None);
        assert_eq!(parse_start_time(b""), None);
    }

    #[test]
    fn recycled_number_is_not_the_process() {
        let me = Process::adopt(std::process::id()).unwrap().unwrap();
        assert!(me.is_alive().unwrap());
        assert!(Process::open(me.identity()).unwrap().is_some());
        let earlier = Identity { start_time: me.identity().start_time - 1, ..me.identity() };
        assert!(Process::open(earlier).unwrap().is_none());
    }

    #[test]
    fn child_tells_how_it_ended_and_stays_told() {
        let child = std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let process = Process::from_child(child).unwrap();
        assert_eq!(process.wait(None).unwrap(), Some(Exit::Code(7)));
        assert_eq!(process.try_wait().unwrap(), Some(Exit::Code(7)));
        assert!(Process::open(process.identity()).unwrap().is_none());
        assert_eq!(process.signal(Signal::TERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn waiting_ends_with_the_time_or_the_signal() {
        let child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let process = Process::from_child(child).unwrap();
        assert_eq!(process.wait(Some(Duration::from_millis(1))).unwrap(), None);
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.wait(None).unwrap(), Some(Exit::Signal(libc::SIGTERM)));
    }
}
