//! `viv logs`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::output::Output;
use library::Machine;
use machine::ErrorKind;
use notify::{RecursiveMode, Watcher};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// A read's worth of bytes.
const CHUNK: u64 = 64 << 10;
/// Where `--lines` begins to look, from the end.
const LONGEST_TAIL: u64 = 4 << 20;

/// Print what a machine's processes and serial ports have said
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv logs Debian
  viv logs Debian --source backend         QEMU's own words
  viv logs Debian --source serial          what the guest printed on its serial ports
  viv logs Debian --follow
  viv logs Debian --json                   a line of JSON for each line of a log

The logs are of the present run, or of the last one.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Only this log: backend, supervisor, serial, or another that there is
    #[arg(long, short)]
    source: Option<String>,
    /// Go on with what is added, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines of each log
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let folder = context.logs_of(&machine);
    let mut logs = logs_in(&folder, args.source.as_deref());
    if logs.is_empty() && !args.follow {
        return Err(nothing(&machine, &folder, args.source.as_deref()));
    }
    let mut printer = Printer { output: context.output, headings: args.source.is_none(), current: None };
    // Watched before the first look, so that nothing is missed between the two.
    let mut watch = if args.follow { Some(Watch::new(&folder)?) } else { None };
    for log in &mut logs {
        if let Some(lines) = args.lines {
            log.skip_to_last(lines).map_err(|error| unreadable(&log.path, &error))?;
        }
        log.print(&mut printer)?;
    }
    let Some(watch) = &mut watch else { return Ok(()) };
    loop {
        watch.changed().await?;
        for found in logs_in(&folder, args.source.as_deref()) {
            if !logs.iter().any(|log| log.path == found.path) {
                logs.push(found);
            }
        }
        for log in &mut logs {
            log.print(&mut printer)?;
        }
    }
}

/// A log and how far it has been printed.
struct Log {
    source: String,
    path: PathBuf,
    position: u64,
    /// The beginning of a line whose end is not written yet; for JSON.
    partial: Vec<u8>,
}

/// The logs that there are, the backend's and the supervisor's first.
fn logs_in(folder: &Path, wanted: Option<&str>) -> Vec<Log> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let sources = names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned));
    let mut sources: Vec<String> = sources.filter(|source| wanted.is_none_or(|wanted| source.starts_with(wanted))).collect();
    sources.sort_by_key(|source| (source != "backend", source != "supervisor", source.clone()));
    let path = |source: &String| folder.join(format!("{source}.log"));
    sources.into_iter().map(|source| Log { path: path(&source), source, position: 0, partial: Vec::new() }).collect()
}

impl Log {
    /// Prints what has been added.
    fn print(&mut self, printer: &mut Printer) -> Result {
        let failed = |error: &io::Error| unreadable(&self.path, error);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // Moved aside by a new run, which makes another.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.position = 0;
                return Ok(());
            }
            Err(error) => return Err(failed(&error)),
        };
        let length = file.metadata().map_err(|error| failed(&error))?.len();
        if length < self.position {
            // It was cut, or a new run began.
            self.position = 0;
        }
        file.seek(SeekFrom::Start(self.position)).map_err(|error| failed(&error))?;
        loop {
            let mut bytes = Vec::new();
            (&mut file).take(CHUNK).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.position += bytes.len() as u64;
            printer.print(&self.source, &bytes, &mut self.partial)?;
        }
    }

    /// Leaves out all but the last lines.
    fn skip_to_last(&mut self, lines: usize) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(LONGEST_TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(length - start).read_to_end(&mut bytes)?;
        let ends = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
        // The newline at the very end ends the last line; it does not begin another.
        let begin = ends.filter(|end| *end < bytes.len()).nth(lines.saturating_sub(1));
        let skipped = if lines == 0 { bytes.len() } else { begin.unwrap_or(0) };
        self.position = start + skipped as u64;
        Ok(())
    }
}

/// Puts several logs after each other.
struct Printer {
    output: Output,
    headings: bool,
    current: Option<String>,
}

impl Printer {
    fn print(&mut self, source: &str, bytes: &[u8], partial: &mut Vec<u8>) -> Result {
        if !self.output.json {
            if self.headings && self.current.as_deref() != Some(source) {
                let before = if self.current.is_some() { "\n" } else { "" };
                self.output.line(format!("{before}==> {source} <=="))?;
                self.current = Some(source.to_owned());
            }
            return self.output.bytes(bytes);
        }
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = partial.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            self.output.json_line(&json!({ "source": source, "line": text.trim_end_matches(['\r', '\n']) }))?;
        }
        Ok(())
    }
}

/// Tells when something in a folder changes.
struct Watch {
    changes: mpsc::Receiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    fn new(folder: &Path) -> Result<Self> {
        // A machine that has never run has no logs yet.
        std::fs::create_dir_all(folder).map_err(|error| Failure::io(format!("Cannot make {}", folder.display()), &error))?;
        let failed = |error: notify::Error| Failure::new(ErrorKind::File, format!("Cannot watch {}", folder.display())).with_source(&error);
        // One change that waits to be looked at is as good as many.
        let (sender, changes) = mpsc::channel(1);
        let tell = move |_| {
            let _ = sender.try_send(());
        };
        let mut watcher = notify::recommended_watcher(tell).map_err(failed)?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
        Ok(Self { changes, _watcher: watcher })
    }

    async fn changed(&mut self) -> Result {
        self.changes.recv().await.ok_or_else(|| Failure::new(ErrorKind::File, "The logs can no longer be watched"))
    }
}

fn nothing(machine: &Machine, folder: &Path, wanted: Option<&str>) -> Failure {
    let name = &machine.name;
    let there: Vec<String> = logs_in(folder, None).into_iter().map(|log| log.source).collect();
    match wanted {
        Some(wanted) if !there.is_empty() => Failure::new(ErrorKind::NotFound, format!("\"{name}\" has no log `{wanted}`"))
            .with_hint(format!("There is {}", there.join(", "))),
        _ => Failure::new(ErrorKind::NotFound, format!("\"{name}\" has no logs: it has not run here"))
            .with_hint(format!("`viv start {}` starts it", shell_words::quote(name))),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("Cannot read the log {}", path.display()), error)
}
