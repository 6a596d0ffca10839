//! A serial port, as its window is told of it.
//!
//! The supervisor serves each port as a socket and sends its recent output to whoever connects. What it says is put into the emulator here,
//! in the engine: however much that is, the window only looks at it as often as a screen shows something.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use library::Library;
use terminal::Terminal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use view_model::window::Connection;

use crate::follow::{Closed, Followed, Follower, Run, Teller, Told, View};
use crate::pace::Pace;

/// What was said before counts as one piece, which ends when the port has been quiet for this long,
const QUIET: Duration = Duration::from_millis(200);
/// or, with a guest that never stops talking, after this long. Questions in it were answered, or given up, long ago.
const LONGEST_REPLAY: Duration = Duration::from_secs(2);
/// Most bytes that wait for the port to take them. A guest that does not read its port loses keys, as on a real one without flow control.
const MAX_UNSENT: usize = 1 << 20;
/// A read's worth of bytes.
const CHUNK: usize = 16 << 10;

/// The emulator: the engine puts in what the guest says, the window draws it and asks it about keys.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Terminal>>);

impl Shared {
    /// Of both sides.
    pub fn new(terminal: Terminal) -> Self {
        Self(Arc::new(Mutex::new(terminal)))
    }

    /// The emulator, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Terminal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something has changed. It is told again when it was drawn.
#[derive(Debug)]
pub struct Changed;

/// The window's end.
pub struct Feed {
    /// What is told.
    pub told: mpsc::Receiver<Told<Changed>>,
    /// One for each change that was drawn.
    pub drawn: mpsc::Sender<()>,
    /// What is typed.
    pub typed: mpsc::UnboundedSender<Vec<u8>>,
    /// Asks for another attempt at the port.
    pub again: watch::Sender<()>,
}

/// One port.
pub struct Port {
    terminal: Shared,
    port: usize,
    drawn: mpsc::Receiver<()>,
    typed: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// Both ends, for one serial port of the machine at `path`.
pub fn feed(library: Library, path: &Path, port: usize, terminal: Shared) -> (Feed, Follower<Port>) {
    let (tell, told) = mpsc::channel(16);
    let (drawn_sender, drawn) = mpsc::channel(1);
    let (typed_sender, typed) = mpsc::unbounded_channel();
    let (again_sender, again) = watch::channel(());
    let follower = Follower::new(library, path, Port { terminal, port, drawn, typed }, tell, again);
    (Feed { told, drawn: drawn_sender, typed: typed_sender, again: again_sender }, follower)
}

impl View for Port {
    type Seen = Changed;

    async fn show(&mut self, run: &Run<'_>, tell: &Teller<Changed>) -> Followed {
        let socket = run.library.places().runtime_of(&run.machine.id).console_socket(self.port);
        let stream = match UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, socket = %socket.display(), "no serial port");
                return Ok(());
            }
        };
        // What it says first was said before; what was typed meanwhile was typed to nobody.
        self.terminal.lock().renew();
        while self.typed.try_recv().is_ok() {}
        tell.tell(Told::Connection(Connection::Open)).await?;
        self.follow(stream, tell).await
    }
}

/// What happened next.
enum Step {
    Said(std::io::Result<usize>),
    Sent(std::io::Result<usize>),
    Typed(Option<Vec<u8>>),
    Drawn(Option<()>),
    /// What was said before is over.
    Quiet,
    /// It may be drawn again.
    Due,
    Closed,
}

impl Port {
    /// Until the port is closed: the machine has ended, or its supervisor has.
    async fn follow(&mut self, stream: UnixStream, tell: &Teller<Changed>) -> Followed {
        let (mut output, mut port) = stream.into_split();
        let mut buffer = vec![0; CHUNK];
        let mut unsent: Vec<u8> = Vec::new();
        let started = Instant::now();
        let mut replay = Some(started + QUIET);
        let mut pace = Pace::default();
        // Whether there is something that was not told, when it may be, and whether what was told is not drawn yet.
        let (mut changed, mut due, mut waits) = (true, Some(started), false);
        loop {
            let step = {
                let until = |instant: Option<Instant>| async move {
                    match instant {
                        Some(instant) => sleep_until(instant).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = tell.closed() => Step::Closed,
                    drawn = self.drawn.recv() => Step::Drawn(drawn),
                    typed = self.typed.recv(), if unsent.len() < MAX_UNSENT => Step::Typed(typed),
                    sent = port.write(&unsent), if !unsent.is_empty() => Step::Sent(sent),
                    () = until(due), if changed && !waits => Step::Due,
                    read = output.read(&mut buffer) => Step::Said(read),
                    () = until(replay) => Step::Quiet,
                }
            };
            match step {
                Step::Closed | Step::Typed(None) | Step::Drawn(None) => return Err(Closed),
                Step::Said(Ok(0) | Err(_)) | Step::Sent(Err(_)) => {
                    // The last words are seen, too.
                    return if changed { tell.tell(Told::Seen(Changed)).await } else { Ok(()) };
                }
                Step::Said(Ok(count)) => {
                    let answers = {
                        let mut terminal = self.terminal.lock();
                        terminal.hear(buffer.get(..count).unwrap_or_default());
                        terminal.take_answers()
                    };
                    changed = true;
                    match &mut replay {
                        Some(end) => *end = (Instant::now() + QUIET).min(started + LONGEST_REPLAY),
                        None => unsent.extend(answers),
                    }
                }
                Step::Sent(Ok(count)) => drop(unsent.drain(..count)),
                Step::Typed(Some(bytes)) => {
                    // Whoever types has read what was said before.
                    replay = None;
                    unsent.extend(bytes);
                }
                Step::Quiet => replay = None,
                Step::Due => {
                    tell.tell(Told::Seen(Changed)).await?;
                    (changed, waits) = (false, true);
                }
                Step::Drawn(Some(())) => {
                    waits = false;
                    due = Some(pace.due(Instant::now()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terminal::{Row, Size};

    /// A port that is followed, the guest's end of it, and the window's.
    struct Followed {
        guest: UnixStream,
        told: mpsc::Receiver<Told<Changed>>,
        drawn: mpsc::Sender<()>,
        typed: mpsc::UnboundedSender<Vec<u8>>,
        terminal: Shared,
    }

    fn follow() -> Followed {
        let (guest, stream) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel(16);
        let (drawn_sender, drawn) = mpsc::channel(1);
        let (typed_sender, typed) = mpsc::unbounded_channel();
        let terminal = Shared::new(Terminal::new(Size::new(40, 5)));
        let mut port = Port { terminal: terminal.clone(), port: 0, drawn, typed };
        tokio::spawn(async move { port.follow(stream, &Teller(tell)).await });
        Followed { guest, told, drawn: drawn_sender, typed: typed_sender, terminal }
    }

    impl Followed {
        /// Draws what changes until a text is seen.
        async fn sees(&mut self, text: &str) {
            loop {
                let seen = self.terminal.lock().rows(true).iter().map(Row::text).any(|row| row.contains(text));
                if seen {
                    return;
                }
                assert!(matches!(self.told.recv().await, Some(Told::Seen(Changed))));
                let _ = self.drawn.try_send(());
            }
        }

        async fn hears(&mut self, bytes: &[u8]) {
            let mut heard = vec![0; bytes.len()];
            self.guest.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, bytes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_is_seen_and_what_is_typed_is_heard() {
        let mut port = follow();
        port.guest.write_all(b"guest# ").await.unwrap();
        port.sees("guest#").await;
        port.typed.send(b"ls\r".to_vec()).unwrap();
        port.hears(b"ls\r").await;
        port.guest.write_all(b"bin dev").await.unwrap();
        port.sees("bin dev").await;
    }

    #[tokio::test(start_paused = true)]
    async fn questions_of_before_are_not_answered_and_those_of_now_are() {
        let mut port = follow();
        port.guest.write_all(b"\x1b[6n\x1b[cbefore").await.unwrap();
        port.sees("before").await;
        tokio::time::sleep(QUIET * 2).await;
        port.guest.write_all(b"\x1b[5n").await.unwrap();
        port.hears(b"\x1b[0n").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_does_not_draw_is_told_once() {
        let mut port = follow();
        assert!(matches!(port.told.recv().await, Some(Told::Seen(Changed))));
        for _ in 0..100 {
            port.guest.write_all(b"x").await.unwrap();
            tokio::time::sleep(QUIET).await;
        }
        assert!(port.told.try_recv().is_err());
        port.drawn.send(()).await.unwrap();
        port.sees("xxxx").await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_words_are_told_before_the_port_is_closed() {
        let mut port = follow();
        port.guest.write_all(b"Power down").await.unwrap();
        let Followed { guest, mut told, drawn, terminal, typed } = port;
        drop(guest);
        while told.recv().await.is_some() {
            let _ = drawn.try_send(());
        }
        assert_eq!(terminal.lock().rows(true)[0].text(), "Power down");
        assert!(typed.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_window() {
        let port = follow();
        let Followed { mut guest, told, .. } = port;
        drop(told);
        assert_eq!(guest.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
}
