//! Why a program could not be started.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the launcher does before it becomes the program, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reading what to start.
    Specification,
    /// Starting a session of its own.
    Session,
    /// Changing to the working directory.
    WorkingDirectory,
    /// Giving descriptors their numbers and closing the others.
    Descriptors,
    /// Giving up the chance to gain privileges.
    NoNewPrivileges,
    /// Finding the program and its interpreter.
    Program,
    /// Opening a path that the program may use.
    Path,
    /// Restricting files, ports and signals with Landlock.
    Landlock,
    /// Setting resource limits.
    Limits,
    /// Restricting sockets with seccomp.
    Sockets,
    /// Becoming the program.
    Execute,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Specification => "read what to start",
            Self::Session => "start a session",
            Self::WorkingDirectory => "change to the working directory",
            Self::Descriptors => "arrange descriptors",
            Self::NoNewPrivileges => "give up new privileges",
            Self::Program => "read the program",
            Self::Path => "allow a path",
            Self::Landlock => "restrict files with Landlock",
            Self::Limits => "set resource limits",
            Self::Sockets => "restrict sockets with seccomp",
            Self::Execute => "become the program",
        })
    }
}

impl Step {
    fn advice(self, errno: Option<i32>) -> &'static str {
        match self {
            Self::Specification => "install vivarium-launch from the same build as the program that uses it",
            Self::Session => "report this: the launcher was started as the leader of a process group",
            Self::WorkingDirectory => "check that the directory exists and may be entered",
            Self::Descriptors => "raise the limit of open files (ulimit -n)",
            Self::NoNewPrivileges | Self::Landlock | Self::Sockets => {
                "check that this is a Linux kernel with Landlock and seccomp and that no container forbids them"
            }
            Self::Program => "check that the program is installed and may be read",
            Self::Path => "check that the path exists and may be opened",
            Self::Limits => "lower the limit: it is above the hard limit of this session (ulimit -H -a)",
            Self::Execute if errno == Some(libc::ENOENT) => "check that the program, or the interpreter that it names, is installed",
            Self::Execute if errno == Some(libc::EACCES) => {
                "check that the file may be executed, that its file system is not mounted noexec, and that the confinement allows its interpreter"
            }
            Self::Execute if errno == Some(libc::ENOEXEC) => "check that the program was made for this computer's processor",
            Self::Execute => "check that the program runs from a terminal",
        }
    }
}

/// Why a program could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The launcher itself did not start.
    #[error("Could not start the launcher; install it, or name it in {}: {}", crate::LAUNCHER_VARIABLE, launcher.display())]
    Launcher {
        /// The launcher's path.
        launcher: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A descriptor cannot be handed over.
    #[error("Cannot hand over descriptor {number}: {reason}")]
    Descriptor {
        /// Its number in the program.
        number: i32,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// The kernel has no Landlock and the confinement requires it.
    #[error(
        "This kernel cannot confine programs; use Linux 5.13 or newer with Landlock enabled (add it to lsm= on the kernel's command line), or \
         allow the program to run unconfined"
    )]
    NoLandlock,
    /// A step failed in the launcher.
    #[error("Could not {step} to start {}; {}{}", program.display(), step.advice(*errno), on(path.as_ref()))]
    Step {
        /// The program that was to be started.
        program: PathBuf,
        /// What failed.
        step: Step,
        /// The path that it was about.
        path: Option<PathBuf>,
        /// The error number, where there was one.
        errno: Option<i32>,
        /// What the layer below said.
        source: io::Error,
    },
    /// The launcher went away, or said nothing for half a minute, before it became the program.
    #[error("The launcher did not report whether it started {}; run it from a terminal to see why: {}", program.display(), launcher.display())]
    Silent {
        /// The program that was to be started.
        program: PathBuf,
        /// The launcher's path.
        launcher: PathBuf,
        /// What was heard instead.
        source: io::Error,
    },
    /// The conversation with the launcher failed on our side.
    #[error("Could not tell the launcher what to start")]
    Conversation(#[source] io::Error),
}

fn on(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(": {}", path.display())).unwrap_or_default()
}
