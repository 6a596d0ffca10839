//! Starting the supervisor program, detached, and asking it what only it can tell.

use crate::wire::{CommandLine, Failure, Finding, StartMessage};
use machine::{Catalog, ErrorKind, Offer, StartOptions};
use serde::de::DeserializeOwned;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// The supervisor program's name.
pub const PROGRAM: &str = "vivarium-supervisor";

/// Longest answer of a question to the supervisor program.
const MAX_ANSWER: u64 = 64 << 20;

/// The supervisor program could not be found or run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It is nowhere.
    #[error("Cannot find {PROGRAM}; looked in {}. Set VIVARIUM_SUPERVISOR to its path", .looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// It could not be executed.
    #[error("Cannot run {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended without an answer.
    #[error("{PROGRAM} ended without an answer{}", .said.as_deref().map(|said| format!(": {said}")).unwrap_or_default())]
    NoAnswer {
        /// The last thing it said on standard error.
        said: Option<String>,
    },
    /// It refused, and says why.
    #[error("{0}")]
    Refused(Failure),
}

impl LaunchError {
    /// The kind, where the supervisor program named one.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Spawn { .. } => ErrorKind::Missing,
            Self::NoAnswer { .. } => ErrorKind::Backend,
            Self::Refused(failure) => failure.kind,
        }
    }
}

/// The supervisor program: `VIVARIUM_SUPERVISOR`, beside this program, or `../libexec/vivarium/`.
///
/// # Errors
/// [`LaunchError::NotFound`] says where it was looked for.
pub fn find() -> Result<PathBuf, LaunchError> {
    let mut looked = Vec::new();
    if let Some(path) = env::var_os("VIVARIUM_SUPERVISOR").filter(|value| !value.is_empty()) {
        looked.push(PathBuf::from(path));
    } else if let Ok(own) = env::current_exe()
        && let Some(folder) = own.parent()
    {
        looked.push(folder.join(PROGRAM));
        looked.push(folder.join("../libexec/vivarium").join(PROGRAM));
        // Tests and examples are built into a folder below the programs'.
        looked.push(folder.join("..").join(PROGRAM));
    }
    match looked.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(LaunchError::NotFound { looked }),
    }
}

/// What a starting supervisor says, until the machine runs or has failed.
#[derive(Debug)]
pub struct Starting {
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Starting {
    /// The next message; `None` when there is nothing more to come.
    ///
    /// # Errors
    /// [`LaunchError::NoAnswer`] where the supervisor ended without a last word.
    pub async fn next(&mut self) -> Result<StartMessage, LaunchError> {
        loop {
            match self.lines.next_line().await {
                Ok(Some(line)) => {
                    if let Ok(message) = serde_json::from_str(&line) {
                        return Ok(message);
                    }
                }
                Ok(None) | Err(_) => {
                    let log = std::fs::read(&self.log).unwrap_or_default();
                    return Err(LaunchError::NoAnswer { said: last_line(&log) });
                }
            }
        }
    }

    /// Waits until the machine runs; `progress` hears what goes on meanwhile.
    ///
    /// # Errors
    /// [`LaunchError::Refused`] says why it does not run.
    pub async fn finish(mut self, mut progress: impl FnMut(&str)) -> Result<(), LaunchError> {
        loop {
            match self.next().await? {
                StartMessage::Progress { message } => progress(&message),
                StartMessage::Accepted => {}
                StartMessage::Running => return Ok(()),
                StartMessage::Failed(failure) => return Err(LaunchError::Refused(failure)),
            }
        }
    }
}

/// Starts a supervisor for a bundle, detached from this process. `log` receives what it says on standard error.
///
/// # Errors
/// Where the program cannot be found or run. Whether the machine starts is told by [`Starting`].
pub fn start(bundle: &Path, options: StartOptions, log: &Path) -> Result<Starting, LaunchError> {
    let mut arguments: Vec<&OsStr> = vec!["run".as_ref(), bundle.as_os_str()];
    if options.disposable {
        arguments.push("--disposable".as_ref());
    }
    if options.paused {
        arguments.push("--paused".as_ref());
    }
    spawn(&arguments, log)
}

/// Starts a supervisor for a machine that runs without one.
///
/// # Errors
/// As [`start`].
pub fn adopt(bundle: &Path, log: &Path) -> Result<Starting, LaunchError> {
    spawn(&["adopt".as_ref(), bundle.as_os_str()], log)
}

fn spawn(arguments: &[&OsStr], log: &Path) -> Result<Starting, LaunchError> {
    let program = find()?;
    let failed = |source| LaunchError::Spawn { program: program.clone(), source };
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    // The supervisor leaves our session by itself. Its standard output is how it tells us when it is ready.
    let mut child = Command::new(&program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take().ok_or(LaunchError::NoAnswer { said: None })?;
    Ok(Starting { lines: BufReader::new(stdout).lines(), log: log.to_path_buf() })
}

/// The command line that would run a bundle.
///
/// # Errors
/// [`LaunchError::Refused`] lists what is wrong with the configuration.
pub async fn command_line(bundle: &Path) -> Result<CommandLine, LaunchError> {
    ask(&["command".as_ref(), bundle.as_os_str()]).await
}

/// What a machine type offers to a new machine. `cpu` is left out for the usual processor; `memory` is in MiB.
///
/// # Errors
/// [`LaunchError::Refused`]: with [`ErrorKind::Missing`] where the backend is not installed, with [`ErrorKind::Configuration`] where it has
/// no such machine type or processor.
pub async fn offer(architecture: &str, machine: &str, cpu: Option<&str>, memory: u64) -> Result<Offer, LaunchError> {
    // Joined, so that no name is taken for an option.
    let mut words =
        vec!["offer".to_owned(), format!("--architecture={architecture}"), format!("--machine={machine}"), format!("--memory={memory}")];
    words.extend(cpu.map(|cpu| format!("--cpu={cpu}")));
    ask(&words.iter().map(AsRef::as_ref).collect::<Vec<&OsStr>>()).await
}

/// The machine types and processors of an architecture.
///
/// # Errors
/// As [`offer`].
pub async fn catalog(architecture: &str) -> Result<Catalog, LaunchError> {
    ask(&["catalog".as_ref(), format!("--architecture={architecture}").as_ref()]).await
}

/// How the installation is, subject by subject.
///
/// # Errors
/// Where the program cannot be found or run.
pub async fn doctor() -> Result<Vec<Finding>, LaunchError> {
    ask(&["doctor".as_ref()]).await
}

/// Runs the supervisor program for an answer in JSON: the answer itself, or a [`Failure`] with exit status 1.
async fn ask<T: DeserializeOwned>(arguments: &[&OsStr]) -> Result<T, LaunchError> {
    let program = find()?;
    let failed = |source| LaunchError::Spawn { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (mut answer, mut said) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read_answer = async {
        if let Some(stdout) = stdout {
            let _ = stdout.take(MAX_ANSWER).read_to_end(&mut answer).await;
        }
    };
    let read_said = async {
        if let Some(stderr) = stderr {
            let _ = stderr.take(MAX_ANSWER).read_to_end(&mut said).await;
        }
    };
    tokio::join!(read_answer, read_said);
    let status = child.wait().await.map_err(failed)?;
    if !status.success()
        && let Ok(failure) = serde_json::from_slice(&answer)
    {
        return Err(LaunchError::Refused(failure));
    }
    serde_json::from_slice(&answer).map_err(|_| LaunchError::NoAnswer { said: last_line(&said) })
}

fn last_line(bytes: &[u8]) -> Option<String> {
    String::from_utf8_lossy(bytes).lines().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}
