//! The contract between a supervisor and a backend.

use crate::display::Viewer;
use crate::exchange::ExchangeCapabilities;
use crate::{
    Console, ConsoleStream, Display, Drive, Error, ErrorKind, EventStream, Medium, PseudoTerminal, Result, Screenshot, State, Warning,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Which program or framework runs a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// QEMU, from the system.
    Qemu,
    /// Our own framework: KVM on Linux, Apple's on macOS.
    Native,
    /// No hypervisor at all; tests.
    Fake,
}

/// What executes guest instructions, and why that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accelerator {
    /// `kvm`, `tcg`, …
    pub name: String,
    /// One sentence for a person.
    pub why: String,
}

/// How the backend process is confined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Whether everything that should confine it does.
    pub complete: bool,
    /// The Landlock version in force, where there is one.
    pub landlock_abi: Option<u32>,
    /// Whether the backend filters its own system calls.
    pub seccomp: bool,
    /// What is missing, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What runs the machine now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// Which one.
    pub kind: BackendKind,
    /// What executes guest instructions; known once it has been started.
    pub accelerator: Option<Accelerator>,
    /// The process, where it is one of its own and runs.
    pub pid: Option<u32>,
    /// How that process is confined.
    pub sandbox: Option<Sandbox>,
}

/// What a machine can do; what it cannot is refused with [`crate::ErrorKind::Unsupported`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Capabilities {
    /// The guest can be asked to power off.
    pub request_stop: bool,
    /// The backend is a process that can be killed.
    pub kill: bool,
    /// It can be paused and resumed.
    pub pause: bool,
    /// It has a reset button.
    pub reset: bool,
    /// It can run without changing its disks.
    pub disposable: bool,
    /// Its displays can be photographed.
    pub screenshot: bool,
    /// Media can be changed while it runs.
    pub media: bool,
    /// Its displays can be watched and its devices used: [`VirtualMachine::viewer`].
    #[serde(default)]
    pub viewers: bool,
    /// What it can exchange with its guest: [`VirtualMachine::attach_exchange`].
    #[serde(default)]
    pub exchange: ExchangeCapabilities,
}

/// How to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct StartOptions {
    /// Leave the disks untouched: everything the guest writes is thrown away at the end.
    #[serde(default)]
    pub disposable: bool,
    /// Stay paused before the guest's first instruction.
    #[serde(default)]
    pub paused: bool,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopMethod {
    /// Ask the guest to power off. Returns when it has been asked.
    Request,
    /// End the machine in an orderly way, without asking the guest. Disk images are closed properly.
    Force,
    /// Kill the backend process. For when nothing else works.
    Kill,
}

/// The program that runs a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandLine {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The whole, quoted for a shell, an option a line.
    pub shell: String,
    /// Files that it gets as open descriptors, with the names that its arguments give them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<HandedFile>,
    /// What is noteworthy about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A file that a program gets as an open descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedFile {
    /// Number of the descriptor.
    pub descriptor: i32,
    /// What the arguments call it.
    pub name: String,
    /// The file.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

/// Which machine it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Its name, for people.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A machine, whatever runs it.
///
/// The order of calls: made by the backend (nothing has been started) → [`start`](Self::start) → anything else → it ends, by
/// [`stop`](Self::stop) or by itself, with [`crate::Event::Ended`] as the last event. An ended machine may be started again.
///
/// Every method is safe to call at any time from any task, and to cancel by dropping its future: the operation then either has not
/// begun or goes on to its end, and the state tells which. A call that the state does not allow fails with
/// [`crate::ErrorKind::WrongState`] and changes nothing.
#[async_trait]
pub trait VirtualMachine: Send + Sync {
    /// Which machine it is.
    fn identity(&self) -> Identity;
    /// What runs it now.
    fn backend(&self) -> Backend;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// The state now.
    fn state(&self) -> State;
    /// The events from now on.
    fn events(&self) -> EventStream;
    /// The program that runs it, where one does and it has been started.
    fn command_line(&self) -> Option<CommandLine> {
        None
    }

    /// Starts it; returns when the guest runs, or stands before its first instruction with [`StartOptions::paused`].
    async fn start(&self, options: StartOptions) -> Result<()>;
    /// Stops it. [`StopMethod::Request`] returns when the guest has been asked, the others when the machine has ended.
    async fn stop(&self, method: StopMethod) -> Result<()>;
    /// Halts the vCPUs.
    async fn pause(&self) -> Result<()>;
    /// Lets the vCPUs go on.
    async fn resume(&self) -> Result<()>;
    /// Presses the reset button.
    async fn reset(&self) -> Result<()>;

    /// The serial ports that a terminal can be attached to.
    fn consoles(&self) -> Vec<Console>;
    /// The serial ports that are terminals of the host, while it runs.
    fn pseudo_terminals(&self) -> Vec<PseudoTerminal> {
        Vec::new()
    }
    /// Attaches to a console. One at a time: a second one waits in vain or displaces the first, as the backend has it.
    async fn open_console(&self, index: usize) -> Result<Box<dyn ConsoleStream>>;

    /// The display heads.
    fn displays(&self) -> Vec<Display>;
    /// Takes a picture of a display.
    async fn screenshot(&self, display: usize) -> Result<Screenshot>;
    /// A viewer of its displays, in this process. Several at once do not disturb each other.
    async fn viewer(&self) -> Result<Arc<dyn Viewer>>;
    /// Hands the connection of a viewer in another process to the backend, which speaks `org.qemu.Display1` on it from then on: no frame
    /// passes through here.
    async fn attach_viewer(&self, connection: OwnedFd) -> Result<()>;
    /// Hands a connection of the process that does the [`crate::exchange`] to the backend, which speaks SPICE on it from then on. One client
    /// at a time, with a connection for each of its channels.
    async fn attach_exchange(&self, connection: OwnedFd) -> Result<()> {
        drop(connection);
        Err(Error::new(ErrorKind::Unsupported, "The machine has nothing to exchange with its guest"))
    }

    /// The drives, with what is in them now.
    fn drives(&self) -> Vec<Drive>;
    /// Puts a medium into a removable drive, in place of what is there. Returns the image format that it was found to have (`raw`, `qcow2`,
    /// …), for whoever remembers the medium: it is not looked at again, because a guest could have written another one's header into it.
    async fn insert(&self, drive: &str, medium: Medium) -> Result<String>;
    /// Takes the medium out of a removable drive. Without `force`, a guest that has locked the tray is respected.
    async fn eject(&self, drive: &str, force: bool) -> Result<()>;
}
