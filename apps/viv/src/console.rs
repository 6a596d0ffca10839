//! A terminal, or a pair of pipes, attached to a serial port's socket.
//!
//! The supervisor serves each serial port as a Unix socket and sends the recent output to whoever connects. In a terminal, keys go to the
//! guest until the escape key detaches. Without one, standard input goes to the port and the port to standard output, for scripts.

use crate::error::{Failure, Kind, Result};
use crate::terminal::Raw;
use machine::ErrorKind;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// Without a terminal, what is replayed counts as one piece: it ends when the port has been quiet for this long,
const QUIET: Duration = Duration::from_millis(200);
/// or, with a guest that never stops talking, after this long.
const LONGEST_REPLAY: Duration = Duration::from_secs(2);
/// How long detaching waits for the port to take what was typed before.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most bytes that wait for the port to take them.
const MAX_UNSENT: usize = 1 << 20;
/// A read's worth of bytes.
const CHUNK: usize = 16 << 10;

/// The key that detaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escape(Option<u8>);

impl Default for Escape {
    fn default() -> Self {
        Self(Some(0x1d))
    }
}

impl Escape {
    /// Whether no key detaches.
    pub const fn is_none(self) -> bool {
        self.0.is_none()
    }
}

impl FromStr for Escape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let control = lower
            .strip_prefix("ctrl-")
            .or_else(|| lower.strip_prefix("c-"))
            .or_else(|| lower.strip_prefix('^').filter(|key| !key.is_empty()));
        let refused = || format!("`{text}` is not a key; write `^]`, `ctrl-a`, a single character or `none`");
        match (lower.as_str(), control.map(str::as_bytes), text.as_bytes()) {
            ("none", ..) => Ok(Self(None)),
            (_, Some([key @ (b'a'..=b'z' | b'[' | b'\\' | b']' | b'^' | b'_' | b'@')]), _) => Ok(Self(Some(key & 0x1f))),
            (_, None, [key]) if key.is_ascii() => Ok(Self(Some(*key))),
            _ => Err(refused()),
        }
    }
}

impl std::fmt::Display for Escape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(key @ 0..0x20) => write!(f, "Ctrl-{}", char::from(key + 0x40)),
            Some(key) => write!(f, "{}", char::from(key)),
        }
    }
}

/// How to attach.
#[derive(Debug, Clone)]
pub struct Options {
    /// The key that detaches, in a terminal.
    pub escape: Escape,
    /// Return when the guest has printed this.
    pub until: Option<Vec<u8>>,
    /// Give up after this long.
    pub timeout: Option<Duration>,
}

/// Why the attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The escape key.
    Detached,
    /// The text was seen.
    Seen,
    /// The time was up.
    TimedOut,
    /// The port was closed: the machine has ended.
    Closed,
    /// A signal.
    Signal(i32),
}

/// Standard input and output, for as long as something is attached to them: in raw mode where they are a terminal, which is as before when
/// this is dropped.
pub struct Attachment {
    raw: Option<Raw>,
    input: mpsc::Receiver<Input>,
    input_open: bool,
    signals: Signals,
    escape: Option<u8>,
    until: Option<Search>,
    deadline: Option<Instant>,
}

impl Attachment {
    /// Takes standard input and output.
    ///
    /// # Errors
    /// Where the terminal cannot be taken into raw mode.
    pub fn new(options: &Options) -> Result<Self> {
        // Listened for first: a signal that comes earlier ends the process while the terminal is still as it was.
        let signals = Signals::listen()?;
        let raw = if io::stdin().is_terminal() {
            Some(Raw::enter().map_err(|error| Failure::io("Cannot take the terminal into raw mode", &error))?)
        } else {
            None
        };
        Ok(Self {
            input: read_input(),
            input_open: true,
            signals,
            escape: options.escape.0.filter(|_| raw.is_some()),
            raw,
            until: options.until.as_deref().map(Search::new),
            deadline: options.timeout.map(|timeout| Instant::now() + timeout),
        })
    }

    /// Connects to a port's socket until something ends it. May be called again, with the socket of another supervisor.
    ///
    /// # Errors
    /// Where the socket cannot be reached, or standard input or output fails.
    pub async fn run(&mut self, socket: &Path) -> Result<Ended> {
        let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Failure::new(ErrorKind::WrongState, format!("Cannot attach to the serial port {}", socket.display()))
                    .with_source(&error)
                    .with_hint("The machine may have ended: `viv status MACHINE`")
            }
            _ => Failure::io(format!("Cannot attach to the serial port {}", socket.display()), &error),
        })?;
        let (output, port) = stream.into_split();
        Session { terminal: self, output, port, unsent: Vec::new() }.run().await
    }
}

/// What standard input gave.
type Input = io::Result<Vec<u8>>;

/// Reads standard input on a thread: it cannot be made non-blocking without doing the same to the shell that shares it. The thread ends with
/// the process.
fn read_input() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; CHUNK];
        loop {
            let read = io::stdin().lock().read(&mut buffer);
            let item = match read {
                Ok(0) => return,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// One connection to a port.
struct Session<'a> {
    terminal: &'a mut Attachment,
    output: OwnedReadHalf,
    port: OwnedWriteHalf,
    /// What the port has not taken yet.
    unsent: Vec<u8>,
}

/// What happened next.
enum Step {
    Output(io::Result<usize>),
    Input(Option<Input>),
    Sent(io::Result<usize>),
    Signal(i32),
    Deadline,
    Quiet,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<Ended> {
        let interactive = self.terminal.raw.is_some();
        let mut buffer = vec![0; CHUNK];
        // Scripts pipe a command in and wait for its answer: an old answer in the replay must not count. So the replay is let through first,
        // and only then is input sent. What is typed into a terminal goes out at once.
        let started = Instant::now();
        let mut replay = (!interactive && self.terminal.until.is_some()).then_some(started + QUIET);
        loop {
            match self.step(&mut buffer, replay, interactive).await {
                Step::Output(Ok(0)) => return Ok(Ended::Closed),
                Step::Output(Err(error)) | Step::Sent(Err(error)) if is_gone(&error) => return Ok(Ended::Closed),
                Step::Output(Err(error)) => return Err(Failure::io("Cannot read from the serial port", &error)),
                Step::Sent(Err(error)) => return Err(Failure::io("Cannot write to the serial port", &error)),
                Step::Output(Ok(count)) => {
                    let output = buffer.get(..count).unwrap_or_default();
                    print(output)?;
                    let seen = self.terminal.until.as_mut().is_some_and(|until| until.feed(output));
                    if let Some(end) = &mut replay {
                        *end = (Instant::now() + QUIET).min(started + LONGEST_REPLAY);
                    } else if seen {
                        return Ok(Ended::Seen);
                    }
                }
                Step::Sent(Ok(count)) => drop(self.unsent.drain(..count)),
                Step::Quiet => {
                    replay = None;
                    // Input that waits is about to be sent, and makes the search begin anew.
                    if self.terminal.input.is_empty() && self.terminal.until.as_ref().is_some_and(|until| until.seen) {
                        return Ok(Ended::Seen);
                    }
                }
                Step::Input(Some(Ok(bytes))) => {
                    if self.take(&bytes) {
                        // What was typed before the escape key still counts, if the port takes it.
                        let _ = timeout(LAST_WORDS, self.port.write_all(&self.unsent)).await;
                        return Ok(Ended::Detached);
                    }
                }
                // A terminal that hangs up.
                Step::Input(None | Some(Err(_))) if interactive => return Ok(Ended::Detached),
                Step::Input(Some(Err(error))) => return Err(Failure::io("Cannot read standard input", &error)),
                Step::Input(None) => self.terminal.input_open = false,
                Step::Signal(number) => return Ok(Ended::Signal(number)),
                Step::Deadline => return Ok(Ended::TimedOut),
            }
        }
    }

    async fn step(&mut self, buffer: &mut [u8], replay: Option<Instant>, interactive: bool) -> Step {
        let until = |instant: Option<Instant>| async move {
            match instant {
                Some(instant) => sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        // A pipe waits until the port takes what it gave. A terminal must not: the escape key has to be seen.
        let listens = self.terminal.input_open && replay.is_none() && (interactive || self.unsent.is_empty());
        tokio::select! {
            number = self.terminal.signals.next() => Step::Signal(number),
            () = until(self.terminal.deadline) => Step::Deadline,
            read = self.output.read(buffer) => Step::Output(read),
            sent = self.port.write(&self.unsent), if !self.unsent.is_empty() => Step::Sent(sent),
            () = until(replay) => Step::Quiet,
            input = self.terminal.input.recv(), if listens => Step::Input(input),
        }
    }

    /// Takes what was typed, up to the escape key; whether that was there.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let end = self.terminal.escape.and_then(|escape| bytes.iter().position(|byte| *byte == escape));
        let typed = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if let Some(until) = &mut self.terminal.until
            && !typed.is_empty()
        {
            until.forget();
        }
        // A guest that does not read its port loses keys, as on a real one without flow control.
        if self.unsent.len() < MAX_UNSENT {
            self.unsent.extend_from_slice(typed);
        }
        end.is_some()
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn print(bytes: &[u8]) -> Result {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Kind::Silent, "Nobody reads the output"),
        _ => Failure::io("Cannot write to standard output", &error),
    })
}

/// The signals that end an attachment instead of the process, so that the terminal is put back.
struct Signals([(i32, Signal); 4]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind: SignalKind| signal(kind).map(|signal| (kind.as_raw_value(), signal));
        let all = || -> io::Result<_> {
            Ok([
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
                listen(SignalKind::quit())?,
            ])
        };
        all().map(Self).map_err(|error| Failure::io("Cannot listen for signals", &error))
    }

    async fn next(&mut self) -> i32 {
        let [(a, one), (b, two), (c, three), (d, four)] = &mut self.0;
        tokio::select! {
            _ = one.recv() => *a,
            _ = two.recv() => *b,
            _ = three.recv() => *c,
            _ = four.recv() => *d,
        }
    }
}

/// Looks for a text in a stream, across reads.
struct Search {
    text: Vec<u8>,
    tail: Vec<u8>,
    seen: bool,
}

impl Search {
    fn new(text: &[u8]) -> Self {
        Self { text: text.to_vec(), tail: Vec::new(), seen: text.is_empty() }
    }

    /// Takes the next bytes; whether the text has been seen since the last [`Self::forget`].
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        self.seen = self.seen || self.tail.windows(self.text.len().max(1)).any(|window| window == self.text);
        let kept = self.text.len().saturating_sub(1);
        self.tail.drain(..self.tail.len().saturating_sub(kept));
        self.seen
    }

    fn forget(&mut self) {
        self.seen = self.text.is_empty();
        self.tail.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_across_reads_and_forgotten_on_request() {
        let mut search = Search::new(b"login:");
        assert!(!search.feed(b"debian lo"));
        assert!(search.feed(b"gin: "));
        search.forget();
        assert!(!search.feed(b"gin:"));
        assert!(search.feed(b"xxlogin:"));
    }

    #[test]
    fn escape_keys_are_read_as_people_write_them() {
        for (text, key) in [("^]", Some(0x1d)), ("ctrl-a", Some(1)), ("C-A", Some(1)), ("~", Some(b'~')), ("^", Some(b'^')), ("none", None)]
        {
            assert_eq!(text.parse(), Ok(Escape(key)), "{text}");
        }
        assert_eq!("^]".parse::<Escape>().unwrap().to_string(), "Ctrl-]");
        for text in ["", "ab", "ctrl-", "ctrl-1", "é"] {
            text.parse::<Escape>().unwrap_err();
        }
    }
}
