//! Starts another program confined: Landlock, no new privileges, resource limits, a clean environment, chosen descriptors.
//!
//! [`spawn`] starts `vivarium-launch`, a small program that confines *itself* as a [`Confinement`] says and then becomes the program. So
//! nothing has to be done between `fork` and `exec` in a process with threads, and a failure on the way has a name: [`LaunchError`]. A
//! [`Launcher`] can be started before it is known what it is to become.
//!
//! What a confined program still can do, and how each hole is closed, is told at [`Confinement`] and [`Sockets`].
//!
//! A [`Process`] names a process by number *and* start time, so that one which another program started can be adopted without mistaking
//! a recycled number for it.

mod apply;
mod confinement;
mod descriptors;
mod error;
mod find;
mod interpreter;
mod landlock_rules;
mod launch;
mod process;
mod socket_filter;
mod support;
mod sys;
mod wire;

pub use apply::run as run_launcher;
pub use confinement::{Confinement, Limits, Requirement, Sockets, Tcp};
pub use error::{LaunchError, Step};
pub use find::{FindLauncherError, LAUNCHER, LAUNCHER_VARIABLE, find_launcher};
pub use launch::{Applied, Launch, Launcher, Started, Stdio, spawn};
pub use process::{Exit, Identity, Process, Signal};
pub use support::{Support, support};
