//! A few questions to a QEMU that runs no guest, over QMP on its standard input and output.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Error;

/// How much of what QEMU writes to its standard error is kept.
const STDERR_KEPT: usize = 16 << 10;
const STDERR_LINES: usize = 5;
/// The longest answer that is read, in bytes: the whole schema of QEMU has a sixtieth of it.
const MAX_LINE: u64 = 16 << 20;

/// A started QEMU that answered the greeting. It is killed when this is dropped.
pub(crate) struct Conversation {
    program: PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    deadline: Instant,
    allowed: Duration,
}

impl Conversation {
    /// Starts `program` with `-qmp stdio` after `arguments` and enters command mode. Everything together may take `allowed`.
    pub async fn start(program: &Path, arguments: &[OsString], allowed: Duration) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command.args(arguments).args(["-qmp", "stdio"]).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let start_failed = |source| Error::Start { program: program.to_owned(), source };
        let mut child = command.spawn().map_err(start_failed)?;
        let missing = || start_failed(std::io::Error::other("a pipe is missing"));
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let stderr = tokio::spawn(last_of(stderr));
        let mut conversation =
            Self { program: program.to_owned(), child, input, output, stderr: Some(stderr), deadline: Instant::now() + allowed, allowed };
        conversation.read("the greeting", "QMP").await?;
        conversation.ask("qmp_capabilities").await?;
        Ok(conversation)
    }

    /// The answer to a command without arguments.
    pub async fn ask(&mut self, command: &str) -> Result<Value, Error> {
        self.ask_with(command, json!({})).await
    }

    /// The answer to a command.
    pub async fn ask_with(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        // A program that ended shows as end of file below, with what it said; the failed write says less.
        if tokio::time::timeout_at(self.deadline, self.input.write_all(line.as_bytes())).await.is_err() {
            return Err(self.silent().await);
        }
        self.read(command, "return").await
    }

    /// The answer to a command of the human monitor, for what QMP cannot tell.
    pub async fn human(&mut self, line: &str) -> Result<String, Error> {
        let answer = self.ask_with("human-monitor-command", json!({ "command-line": line })).await?;
        answer.as_str().map(str::to_owned).ok_or_else(|| self.answer(line, "not a text"))
    }

    /// Waits until the program ends or `time` is over. `Ok` means that it is still there.
    pub async fn stays_alive(&mut self, time: Duration) -> Result<(), Error> {
        match tokio::time::timeout(time, self.child.wait()).await {
            Err(_) => Ok(()),
            Ok(_) => Err(self.ended().await),
        }
    }

    /// Ends it in good order, by force when that takes long.
    pub async fn quit(mut self) {
        if self.ask("quit").await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await;
        }
        let _ = self.child.kill().await;
    }

    /// The next message with the member `wanted`; events are passed over.
    async fn read(&mut self, command: &str, wanted: &str) -> Result<Value, Error> {
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.output).take(MAX_LINE);
            match tokio::time::timeout_at(self.deadline, bounded.read_until(b'\n', &mut line)).await {
                Err(_) => return Err(self.silent().await),
                Ok(Err(_)) | Ok(Ok(0)) => return Err(self.ended().await),
                Ok(Ok(_)) => {}
            }
            if line.len() as u64 == MAX_LINE {
                return Err(self.answer(command, "an answer without end"));
            }
            let mut message: Value = serde_json::from_slice(&line).map_err(|error| self.answer(command, &error.to_string()))?;
            if let Some(error) = message.get("error") {
                let reason = error.get("desc").and_then(Value::as_str).unwrap_or("an error without a description");
                return Err(self.answer(command, reason));
            }
            if let Some(value) = message.get_mut(wanted) {
                return Ok(value.take());
            }
        }
    }

    fn answer(&self, command: &str, reason: &str) -> Error {
        Error::Answer { program: self.program.clone(), command: command.to_owned(), reason: reason.to_owned() }
    }

    async fn ended(&mut self) -> Error {
        let status = match tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => {
                let _ = self.child.kill().await;
                "it closed its output".to_owned()
            }
        };
        Error::Ended { program: self.program.clone(), status, stderr: self.stderr().await }
    }

    async fn silent(&mut self) -> Error {
        let _ = self.child.kill().await;
        Error::Silent { program: self.program.clone(), seconds: self.allowed.as_secs(), stderr: self.stderr().await }
    }

    async fn stderr(&mut self) -> String {
        let Some(task) = self.stderr.take() else { return String::new() };
        // A grandchild may hold the pipe open.
        tokio::time::timeout(Duration::from_secs(1), task).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// The last lines of a stream.
async fn last_of(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend(buffer.get(..count).unwrap_or_default());
        if kept.len() > 2 * STDERR_KEPT {
            kept.drain(..kept.len() - STDERR_KEPT);
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(STDERR_LINES)..).unwrap_or_default().join("\n")
}
