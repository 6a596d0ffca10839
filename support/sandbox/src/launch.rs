//! The starting process's side: tells the launcher what to start and hears how it went.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};

use crate::descriptors;
use crate::process::{Process, Signal};
use crate::wire::{self, Report, Specification};
use crate::{Confinement, LaunchError};

/// How long the launcher may take to open its paths, perhaps on a slow network file system.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the three standard descriptors of a program.
#[derive(Debug, Default)]
pub enum Stdio {
    /// `/dev/null`.
    #[default]
    Null,
    /// This process's own.
    Inherit,
    /// This one.
    Descriptor(OwnedFd),
}

impl From<OwnedFd> for Stdio {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Descriptor(descriptor)
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self::Descriptor(file.into())
    }
}

/// A program to start, and how.
#[derive(Debug)]
pub struct Launch {
    /// The program's path; there is no search.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// What it may use.
    pub confinement: Confinement,
    /// Descriptors for it, with the numbers (from 3 up, each once, at most 250) that they have there. It gets no others.
    pub descriptors: Vec<(OwnedFd, i32)>,
    /// Its standard input.
    pub stdin: Stdio,
    /// Its standard output.
    pub stdout: Stdio,
    /// Its standard error.
    pub stderr: Stdio,
    /// Whether it starts a session of its own, so that a closing terminal does not reach it.
    pub new_session: bool,
    /// Whether it is killed when the thread that started it ends, or this process does.
    pub ends_with_starter: bool,
    /// Its working directory.
    pub working_directory: PathBuf,
}

impl Launch {
    /// A program with nothing but its standard descriptors on `/dev/null`, in a session of its own, in the root directory.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, confinement: Confinement) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            confinement,
            descriptors: Vec::new(),
            stdin: Stdio::Null,
            stdout: Stdio::Null,
            stderr: Stdio::Null,
            new_session: true,
            ends_with_starter: false,
            working_directory: "/".into(),
        }
    }
}

/// How a program was really confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The version of Landlock's interface that was used; `None` without Landlock.
    pub landlock_abi: Option<u32>,
    /// Whether sockets are restricted.
    pub socket_filter: bool,
    /// What could not be confined, in words for a person.
    pub missing: Vec<String>,
}

/// A program that was started.
#[derive(Debug)]
pub struct Started {
    /// The program. It is this process's child: [`Process::wait`] reaps it and tells how it ended. Dropping this leaves it running.
    pub process: Process,
    /// How it was really confined.
    pub applied: Applied,
}

/// Starts a program through `launcher` (see [`crate::find_launcher`]), and returns once it runs: a few milliseconds. The descriptors of
/// `launch` are closed here, whatever the outcome.
///
/// # Errors
///
/// [`LaunchError`] says which step failed and what to do. Nothing is left running.
pub fn spawn(launcher: &Path, launch: Launch) -> Result<Started, LaunchError> {
    Launcher::start(launcher)?.launch(launch)
}

/// A launcher that waits to be told what to become. It takes a moment to come up, in which what it is to become can be worked out. Dropping
/// it ends it.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    control: UnixStream,
    /// `None` once it has become its program.
    process: Option<Process>,
}

impl Launcher {
    /// Starts the program at `launcher`.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Launcher`] where it cannot be executed.
    pub fn start(launcher: &Path) -> Result<Self, LaunchError> {
        let (control, theirs) = UnixStream::pair().map_err(LaunchError::Conversation)?;
        control.set_read_timeout(Some(PATIENCE)).map_err(LaunchError::Conversation)?;
        control.set_write_timeout(Some(PATIENCE)).map_err(LaunchError::Conversation)?;
        let child = Command::new(launcher)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(|source| LaunchError::Launcher { launcher: launcher.to_owned(), source })?;
        let process = Process::from_child(child).map_err(LaunchError::Conversation)?;
        Ok(Self { program: launcher.to_owned(), control, process: Some(process) })
    }

    /// Confines it and makes it the program; see [`spawn`].
    ///
    /// # Errors
    ///
    /// As [`spawn`].
    pub fn launch(mut self, launch: Launch) -> Result<Started, LaunchError> {
        let Launch { program, arguments, confinement, descriptors, stdin, stdout, stderr, .. } = launch;
        let Launch { new_session, ends_with_starter, working_directory, .. } = launch;
        descriptors::check_numbers(&descriptors).map_err(|(number, reason)| LaunchError::Descriptor { number, reason })?;
        if descriptors.len() + 3 > wire::DESCRIPTOR_LIMIT {
            return Err(LaunchError::Descriptor {
                number: 250,
                reason: "more than 250 descriptors cannot be handed over; hand over fewer",
            });
        }
        let mut handed = Vec::with_capacity(descriptors.len() + 3);
        handed.push((open(stdin, rustix::stdio::stdin(), false)?, 0));
        handed.push((open(stdout, rustix::stdio::stdout(), true)?, 1));
        handed.push((open(stderr, rustix::stdio::stderr(), true)?, 2));
        handed.extend(descriptors);
        for (descriptor, number) in &handed {
            if let Some(reason) = descriptors::objection(descriptor.as_fd(), confinement.sockets) {
                return Err(LaunchError::Descriptor { number: *number, reason });
            }
        }
        let specification = Specification {
            version: wire::VERSION.to_owned(),
            program,
            arguments,
            working_directory,
            new_session,
            ends_with_starter,
            confinement,
            numbers: handed.iter().map(|(_, number)| *number).collect(),
        };

        let heard = send(&mut self.control, &specification, &handed).and_then(|()| hear(&mut self.control));
        if let Ok(Heard { applied: Some(applied), trouble: None }) = &heard
            && let Some(process) = self.process.take()
        {
            return Ok(Started { process, applied: applied.clone() });
        }
        let (program, launcher) = (specification.program, self.program.clone());
        Err(match heard {
            Ok(Heard { trouble: Some(Report::Failed(failure)), .. }) => {
                let source = failure.errno.map_or_else(|| io::Error::other(failure.detail), io::Error::from_raw_os_error);
                LaunchError::Step { program, step: failure.step, path: failure.path, errno: failure.errno, source }
            }
            Ok(Heard { trouble: Some(Report::NoLandlock), .. }) => LaunchError::NoLandlock,
            Ok(_) => LaunchError::Silent { program, launcher, source: io::Error::from(io::ErrorKind::UnexpectedEof) },
            Err(source) => LaunchError::Silent { program, launcher, source },
        })
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            // Whatever it is doing, it is not the program; a failure to signal means that it is gone.
            let _ = process.signal(Signal::KILL);
            let _ = process.wait(Some(PATIENCE));
        }
    }
}

fn open(stdio: Stdio, own: BorrowedFd<'_>, writing: bool) -> Result<OwnedFd, LaunchError> {
    match stdio {
        Stdio::Descriptor(descriptor) => Ok(descriptor),
        Stdio::Inherit => own.try_clone_to_owned(),
        Stdio::Null => File::options().read(!writing).write(writing).open("/dev/null").map(OwnedFd::from),
    }
    .map_err(LaunchError::Conversation)
}

fn send(control: &mut UnixStream, specification: &Specification, handed: &[(OwnedFd, i32)]) -> io::Result<()> {
    let text = serde_json::to_vec(specification)?;
    let borrowed: Vec<_> = handed.iter().map(|(descriptor, _)| descriptor.as_fd()).collect();
    let message = SendAncillaryMessage::ScmRights(&borrowed);
    let mut space = vec![MaybeUninit::uninit(); message.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(message) {
        return Err(io::Error::other("The descriptors do not fit into one message"));
    }
    let sent = rustix::net::sendmsg(&*control, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    control.write_all(text.get(sent..).unwrap_or_default())?;
    control.shutdown(Shutdown::Write)
}

struct Heard {
    applied: Option<Applied>,
    trouble: Option<Report>,
}

/// Reads to the end of the conversation: the launcher has become the program, or is gone.
fn hear(control: &mut UnixStream) -> io::Result<Heard> {
    let mut text = String::new();
    control.take(wire::SPECIFICATION_LIMIT).read_to_string(&mut text)?;
    let mut heard = Heard { applied: None, trouble: None };
    for line in text.lines() {
        match serde_json::from_str(line)? {
            Report::Applied(applied) => heard.applied = Some(applied),
            trouble => heard.trouble = Some(trouble),
        }
    }
    Ok(heard)
}
