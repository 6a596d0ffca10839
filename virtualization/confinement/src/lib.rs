//! What each kind of a machine's threads may ask the kernel for.
//!
//! A guest that has taken over a thread of the engine is to find little there: every thread begins by giving up, for good, the system calls
//! that its kind does not need (seccomp; the tables are in `table`), and the control thread, from which all others come, gives up every
//! file (Landlock). What has to be opened is opened by a thread that is not confined, and handed over.
//!
//! A call that is not in a thread's table ends the process, with a line on standard error that names the thread and the call, and the signal
//! `SIGSYS`: nothing that the engine does makes one, so somebody else is in control of the thread, and a refusal would let them try the
//! next call. A process that has a handler for `SIGSYS` of its own keeps it and decides. A few calls that libraries make in passing, and
//! can do without, are refused instead; the table says which.
//!
//! What others do on a machine's threads has to go by the same tables: wakers of futures, and what receives the events of `tracing`. Both
//! may write to descriptors that are open.
//!
//! Threads of one process share their memory. Confinement makes a bad guest's next step hard; it is no wall between threads.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod files;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod filter;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod names;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod table;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod violation;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "elsewhere.rs"]
mod filter;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
use filter as files;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// Puts the machine together and changes it; starts the other threads.
    Control,
    /// Brings a kernel into a guest's memory.
    Loader,
    /// Runs a vCPU, and carries out what the guest does to devices' registers.
    Vcpu,
    /// Serves devices that never wait: serial port, network cards' first queues, sockets, entropy, balloon,
    /// connections to those that serve shared directories.
    Events,
    /// Serves a queue of a disk that is a file.
    Disk,
    /// Serves a queue of a disk that is an export of a server, or reads and writes the export.
    Nbd,
    /// Reads and writes a disk's file, where there is no io_uring.
    DiskTransfers,
    /// Serves a console.
    Console,
    /// Serves a further pair of a network card's queues.
    Network,
    /// Passes on what a program says that was started for the machine.
    Relay,
    /// Does that, too, and waits for the end of the program and of those that it has started.
    Reaper,
    /// Speaks with a debugger.
    Debugger,
}

impl Thread {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Control,
        Self::Loader,
        Self::Vcpu,
        Self::Events,
        Self::Disk,
        Self::Nbd,
        Self::DiskTransfers,
        Self::Console,
        Self::Network,
        Self::Relay,
        Self::Reaper,
        Self::Debugger,
    ];
}

/// What of it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Status {
    /// Each of the machine's threads is filtered (seccomp).
    pub system_calls: bool,
    /// The machine's threads can open no files: the version of Landlock's interface. The fourth and later ones also keep them from
    /// TCP ports, the sixth and later ones from Unix sockets that have no path.
    pub landlock: Option<u32>,
}

/// Told which thread panicked.
type Told = Arc<dyn Fn(&str) + Send + Sync>;

/// How a machine's threads are confined, and who is told when one of them panics. Clones are cheap.
#[derive(Clone)]
pub struct Confinement {
    filters: Option<Arc<filter::Filters>>,
    landlock: Option<u32>,
    panicked: Option<Told>,
}

impl fmt::Debug for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confinement").field("filters", &self.filters).field("landlock", &self.landlock).finish_non_exhaustive()
    }
}

impl Confinement {
    /// As far as this kernel can.
    ///
    /// # Errors
    /// Where the tables make no filters, which they always do.
    pub fn new() -> io::Result<Self> {
        let filters = if filter::supported() { Some(Arc::new(filter::Filters::new()?)) } else { None };
        Ok(Self { filters, landlock: files::version(), panicked: None })
    }

    /// Not at all.
    pub const fn off() -> Self {
        Self { filters: None, landlock: None, panicked: None }
    }

    /// The same, for threads of whose panics this is told, by name, on the thread itself.
    #[must_use]
    pub fn telling(&self, panicked: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { panicked: Some(Arc::new(panicked)), ..self.clone() }
    }

    /// What of it is on.
    pub fn status(&self) -> Status {
        Status { system_calls: self.filters.is_some(), landlock: self.landlock }
    }

    /// Starts a thread that is confined before it does anything else. What it starts is confined at least as much.
    ///
    /// # Errors
    /// Where there are no threads left, or the kernel does not confine it.
    pub fn spawn(&self, kind: Thread, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        self.start(name, run, move |this| this.filter(kind))
    }

    /// Starts a thread that, and all that come from it, can open no files, and neither connect nor listen by TCP; and is confined as
    /// [`Self::spawn`] says.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_without_files(&self, kind: Thread, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        self.start(name, run, move |this| {
            if let Some(version) = this.landlock {
                files::give_up(version)?;
            }
            this.filter(kind)
        })
    }

    fn filter(&self, kind: Thread) -> io::Result<()> {
        self.filters.as_ref().map_or(Ok(()), |filters| filters.install(kind))
    }

    fn start(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
        confine: impl FnOnce(&Self) -> io::Result<()> + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let ((sender, confined), this) = (sync_channel(1), self.clone());
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            let result = confine(&this);
            let is_confined = result.is_ok();
            // Whoever starts it waits for this.
            let _ = sender.send(result);
            drop(sender);
            // What it left half done goes with the machine, which whoever is told ends.
            if is_confined && let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                if let Some(told) = this.panicked {
                    told(&name);
                }
                resume_unwind(panic);
            }
        })?;
        confined.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended before it was confined")))?;
        Ok(thread)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_thread_that_panics_is_told_of() {
        let (sender, told) = channel();
        let confinement = Confinement::off().telling(move |name| sender.send(name.to_owned()).unwrap());
        for panics in [false, true] {
            let run = move || assert!(!panics, "as it should");
            let ended = confinement.spawn(Thread::Events, format!("panics: {panics}"), run).unwrap().join();
            assert_eq!(ended.is_err(), panics);
        }
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["panics: true"]);
    }
}
