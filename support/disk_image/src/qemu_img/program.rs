//! Runs the program and understands how it ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Exit, Launch, LaunchError, Process, Requirement, Signal};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::grants::Grants;
use super::{QemuImg, QemuImgError};
use crate::durable::{self, SaveError};

/// The environment variable that names the program.
pub const QEMU_IMG_VARIABLE: &str = "VIVARIUM_QEMU_IMG";

/// Bytes of output that are kept.
const OUTPUT_LIMIT: usize = 16 << 20;
/// Bytes of what it says to people that are passed on.
const SAID_LIMIT: usize = 2000;

/// How long a program that was killed may take to be gone: one that waits for a network file system cannot go.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a run ended.
pub struct Answer {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    output: Vec<u8>,
    said: String,
}

pub fn strings<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

impl QemuImg {
    /// Finds the program, what `VIVARIUM_QEMU_IMG` names, else in `PATH`, and the launcher that confines it. `landlock` says what to do
    /// where the kernel has none.
    ///
    /// # Errors
    ///
    /// [`QemuImgError::NotFound`], [`QemuImgError::NoLauncher`].
    pub fn find(landlock: Requirement) -> Result<Self, QemuImgError> {
        let named = std::env::var_os(QEMU_IMG_VARIABLE).filter(|name| !name.is_empty());
        let name = PathBuf::from(named.unwrap_or_else(|| "qemu-img".into()));
        let program = which::which(&name).map_err(|_| QemuImgError::NotFound(name))?;
        let launcher = sandbox::find_launcher().map_err(QemuImgError::NoLauncher)?;
        Ok(Self { program, launcher, landlock })
    }

    /// The program at this path instead of the one that was found.
    #[must_use]
    pub fn at(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// Runs it to its end. Dropping the future ends it.
    pub(super) async fn run(
        &self,
        arguments: Vec<OsString>,
        grants: Grants,
        progress: &mut (dyn FnMut(f64) + Send),
    ) -> Result<Answer, QemuImgError> {
        let failed = |source| QemuImgError::Run { program: self.program.clone(), source };
        let (output, stdout) = io::pipe().map_err(failed)?;
        let (errors, stderr) = io::pipe().map_err(failed)?;
        let launch = Launch {
            arguments,
            descriptors: grants.descriptors().map_err(failed)?,
            stdout: OwnedFd::from(stdout).into(),
            stderr: OwnedFd::from(stderr).into(),
            ends_with_starter: true,
            ..Launch::new(&self.program, grants.confinement(self.landlock))
        };
        let (running, exit) = start(self.launcher.clone(), launch);
        let running = running.await.map_err(|_| failed(io::ErrorKind::Interrupted.into()))?.map_err(QemuImgError::Start)?;
        let (mut printed, mut said) = (Vec::new(), Vec::new());
        let mut watch = |new: &[u8]| {
            if let Some(fraction) = fraction(new) {
                progress(fraction);
            }
        };
        let mut ignore = |_: &[u8]| ();
        let (first, second) = tokio::join!(drain(output.into(), &mut printed, &mut watch), drain(errors.into(), &mut said, &mut ignore));
        first.and(second).map_err(failed)?;
        let exit = exit.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
        drop(running);
        let code = if let Some(Exit::Code(code)) = exit { Some(code) } else { None };
        Ok(Answer { code, output: printed, said: grants.readable(&tidy(&said)) })
    }
}

/// A program that ends when nobody waits for it any more.
struct Running(Arc<Process>);

type Start = oneshot::Receiver<Result<Running, LaunchError>>;
type End = JoinHandle<io::Result<Option<Exit>>>;

/// Starts it on a thread that stays with it: where this process is killed, so is the program, which would go on writing what nobody waits
/// for; and the kernel goes by the thread that started it.
fn start(launcher: PathBuf, launch: Launch) -> (Start, End) {
    let (sender, receiver) = oneshot::channel();
    let end = tokio::task::spawn_blocking(move || match sandbox::spawn(&launcher, launch) {
        Ok(started) => {
            let process = Arc::new(started.process);
            // Whoever no longer waits for it lets go of the program as soon as it runs.
            drop(sender.send(Ok(Running(Arc::clone(&process)))));
            process.wait(None)
        }
        Err(error) => {
            drop(sender.send(Err(error)));
            Ok(None)
        }
    });
    (receiver, end)
}

/// Does what blocks.
pub async fn on_a_thread<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(what).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failure to signal means that it has ended.
        if self.0.signal(Signal::KILL).is_ok() {
            let _ = self.0.wait(Some(PATIENCE));
        }
    }
}

async fn drain(pipe: OwnedFd, kept: &mut Vec<u8>, watch: &mut (dyn FnMut(&[u8]) + Send)) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let mut buffer = vec![0; 8 << 10];
    loop {
        let count = pipe.read(&mut buffer).await?;
        let new = buffer.get(..count).unwrap_or_default();
        if new.is_empty() {
            return Ok(());
        }
        watch(new);
        let room = OUTPUT_LIMIT.saturating_sub(kept.len());
        kept.extend(new.iter().take(room));
    }
}

/// The last progress in these bytes, which look like `    (12.34/100%)\r`, as a fraction.
fn fraction(output: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(output).ok()?;
    let end = text.rfind("/100%)")?;
    let before = text.get(..end)?;
    let percent: f64 = before.get(before.rfind('(')?.checked_add(1)?..)?.trim().parse().ok()?;
    Some((percent / 100.0).clamp(0.0, 1.0))
}

/// What it says to people, on one line, without its name.
fn tidy(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines = text.lines().map(|line| line.strip_prefix("qemu-img: ").unwrap_or(line).trim()).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ").chars().take(SAID_LIMIT).collect()
}

impl Answer {
    /// Whether it failed because the file system is full.
    pub fn is_full(&self) -> bool {
        self.code != Some(0) && (self.said.contains("No space left on device") || self.said.contains("Disk quota exceeded"))
    }

    /// Turns an exit code other than 0 into an error. `needed`: bytes that are needed if the disk is full.
    pub fn succeeded(&self, attempt: &'static str, path: &Path, needed: u64) -> Result<(), QemuImgError> {
        if self.code == Some(0) { Ok(()) } else { Err(self.failure(attempt, path, needed)) }
    }

    pub fn failure(&self, attempt: &'static str, path: &Path, needed: u64) -> QemuImgError {
        if self.is_full() {
            return SaveError::NoSpace { path: path.to_owned(), needed, available: durable::available(path) }.into();
        }
        if self.said.contains("Is another process using the image") {
            return QemuImgError::InUse { attempt, path: path.to_owned() };
        }
        let said = match self.code {
            None => format!("qemu-img was ended by a signal; check that there is enough memory. {}", self.said),
            Some(_) if self.said.contains("Permission denied") => format!("check who may read and write it. qemu-img says: {}", self.said),
            Some(_) if self.said.contains("--shrink") => {
                format!(
                    "the disk would become smaller and lose what is beyond; shrink its file systems first, and allow it. qemu-img says: {}",
                    self.said
                )
            }
            Some(code) if self.said.is_empty() => format!("qemu-img ended with code {code}"),
            Some(_) => format!("qemu-img says: {}", self.said),
        };
        QemuImgError::Failed { attempt, path: path.to_owned(), said }
    }

    /// Reads the JSON that it wrote.
    pub fn parse<T: DeserializeOwned>(&self, attempt: &'static str) -> Result<T, QemuImgError> {
        serde_json::from_slice(&self.output).map_err(|source| QemuImgError::Answer { attempt, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_the_last_number() {
        assert_eq!(fraction(b"    (0.00/100%)\r    (12.50/100%)\r"), Some(0.125));
        assert_eq!(fraction(b"Images are identical.\n"), None);
        assert_eq!(fraction(b"/100%)"), None);
    }
}
