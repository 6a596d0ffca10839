//! The JSON types of the supervisor's API. Stable: fields are added, never renamed or removed.

pub use machine::CommandLine;
use machine::exchange::{ClipboardPolicy, ExchangeFolder};
use machine::{
    Accelerator, BackendKind, Capabilities, Console, Display, Drive, Ending, ErrorKind, Event, PseudoTerminal, Sandbox, StartOptions,
    State, StopMethod, Warning,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;
use uuid::Uuid;

/// Everything there is to know about a machine at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its bundle, absolute.
    #[schema(value_type = String)]
    pub bundle: PathBuf,
    /// The state.
    pub state: State,
    /// What runs it.
    pub backend: BackendKind,
    /// What executes guest instructions, and why; known once it has been started.
    pub accelerator: Option<Accelerator>,
    /// The supervisor's process.
    pub supervisor_pid: Option<u32>,
    /// The backend's process.
    pub backend_pid: Option<u32>,
    /// How the backend is confined.
    pub sandbox: Option<Sandbox>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How it was started.
    pub options: StartOptions,
    /// When it was started, in seconds since 1970.
    pub started_at: Option<u64>,
    /// Whether this supervisor took over from one that died.
    pub adopted: bool,
    /// Serial ports that a terminal can be attached to.
    pub consoles: Vec<Console>,
    /// Serial ports that are terminals of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pseudo_terminals: Vec<PseudoTerminal>,
    /// Display heads.
    pub displays: Vec<Display>,
    /// The socket where viewers of the displays connect: `org.qemu.Display1` over D-Bus, peer to peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub display_socket: Option<PathBuf>,
    /// Drives, with what is in them.
    pub drives: Vec<Drive>,
    /// What a person should know about this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// How it ended last time, where it is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
}

/// How a machine's last run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastRun {
    /// When it was started, in seconds since 1970.
    pub started_at: Option<u64>,
    /// When it ended, in seconds since 1970; unknown where nobody was left to see it.
    pub ended_at: Option<u64>,
    /// How.
    pub ending: Ending,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What kind of failure: stable, to match on.
    pub kind: ErrorKind,
    /// What was attempted and what went wrong.
    pub message: String,
    /// What the layers below said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without details.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: None, hint: None }
    }
}

impl From<&machine::Error> for Failure {
    fn from(error: &machine::Error) -> Self {
        let message = error.to_string();
        let details = error.chain().strip_prefix(&message).and_then(|rest| rest.strip_prefix(": ")).map(str::to_owned);
        Self { kind: error.kind(), message, details, hint: error.hint().map(str::to_owned) }
    }
}

impl From<Failure> for machine::Error {
    fn from(failure: Failure) -> Self {
        let mut error = Self::new(failure.kind, failure.message);
        if let Some(details) = failure.details {
            error = error.with_source(details);
        }
        match failure.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.details {
            Some(details) => write!(f, ": {details}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// How to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopRequest {
    /// The way.
    pub method: StopMethod,
}

/// A medium to insert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InsertRequest {
    /// The image file, absolute.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// Which way the clipboard goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRequest {
    /// Which.
    pub policy: ClipboardPolicy,
}

/// A file for the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SendRequest {
    /// The file, absolute.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

/// A folder for the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FolderRequest {
    /// Which, or none.
    pub folder: Option<ExchangeFolder>,
}

/// One line of the event stream (newline-delimited JSON).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamItem {
    /// The first line: where things stand. Boxed because it is much larger than an event.
    Status(Box<Status>),
    /// Every further line.
    Event(Event),
}

/// What a starting supervisor says on its standard output, a line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StartMessage {
    /// What it is doing now.
    Progress {
        /// For a person.
        message: String,
    },
    /// The bundle is locked, the configuration can be run, the API answers.
    Accepted,
    /// The machine runs (or stands before its first instruction, as asked). The last line.
    Running,
    /// It could not be started. The last line.
    Failed(Failure),
}

/// One line of what `doctor` finds out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub level: FindingLevel,
    /// What was found.
    pub message: String,
    /// The command or step that cures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingLevel {
    /// As it should be.
    Good,
    /// Works, but something is slower, weaker or missing.
    Warning,
    /// Machines cannot run.
    Error,
}
