//! A serial port as a socket.
//!
//! The backend's console has one reader: this. Whoever connects to the machine's console socket first gets the recent output, then
//! everything that follows; what anybody types goes to the guest. Detaching loses nothing but the view.

use bytes::{Bytes, BytesMut};
use machine::ConsoleStream;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc};

/// How much recent output a newcomer gets.
pub const REPLAY: usize = 64 << 10;
/// Chunks that a viewer may be behind before it misses some.
const BEHIND: usize = 1024;

/// The output so far, and who is told of more. One lock covers both, so that a newcomer sees each byte once.
struct Screen {
    recent: BytesMut,
    viewers: broadcast::Sender<Bytes>,
}

/// A console's fan-out.
#[derive(Clone)]
pub struct Console {
    screen: Arc<Mutex<Screen>>,
    keyboard: mpsc::Sender<Bytes>,
}

impl Console {
    /// Takes over the backend's console. `seed` is output from before.
    pub fn attach(stream: Box<dyn ConsoleStream>, seed: &[u8]) -> Self {
        let mut recent = BytesMut::new();
        recent.extend_from_slice(seed.get(seed.len().saturating_sub(REPLAY)..).unwrap_or_default());
        let screen = Arc::new(Mutex::new(Screen { recent, viewers: broadcast::channel(BEHIND).0 }));
        let (keyboard, keys) = mpsc::channel(64);
        tokio::spawn(pump(stream, screen.clone(), keys));
        Self { screen, keyboard }
    }

    /// Serves the socket until the machine object is gone.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn serve(&self, path: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        let console = self.clone();
        tokio::spawn(async move {
            while let Ok((viewer, _)) = listener.accept().await {
                tokio::spawn(console.clone().view(viewer));
            }
        });
        Ok(())
    }

    async fn view(self, mut viewer: UnixStream) {
        let (recent, mut output) = {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            (Bytes::copy_from_slice(&screen.recent), screen.viewers.subscribe())
        };
        if viewer.write_all(&recent).await.is_err() {
            return;
        }
        let (mut from_viewer, mut to_viewer) = viewer.split();
        let show = async {
            loop {
                match output.recv().await {
                    Ok(chunk) => {
                        if to_viewer.write_all(&chunk).await.is_err() {
                            break;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        };
        let keyboard = self.keyboard.clone();
        let listen = async {
            let mut typed = [0; 4096];
            while let Ok(length @ 1..) = from_viewer.read(&mut typed).await {
                let chunk = Bytes::copy_from_slice(typed.get(..length).unwrap_or_default());
                if keyboard.send(chunk).await.is_err() {
                    return;
                }
            }
            // A viewer that has said its last may still listen: `echo reboot | viv console`.
            std::future::pending::<()>().await;
        };
        // The screen itself keeps its channel open; the pump drops out by closing the keyboard.
        drop(self);
        tokio::select! { () = show => {} () = listen => {} () = keyboard_closed(&keyboard) => {} }
    }
}

async fn keyboard_closed(keyboard: &mpsc::Sender<Bytes>) {
    keyboard.closed().await;
}

async fn pump(stream: Box<dyn ConsoleStream>, screen: Arc<Mutex<Screen>>, mut keys: mpsc::Receiver<Bytes>) {
    let (mut from_guest, mut to_guest) = tokio::io::split(stream);
    let output = async {
        let mut chunk = BytesMut::with_capacity(16 << 10);
        while let Ok(1..) = from_guest.read_buf(&mut chunk).await {
            let shown = chunk.split().freeze();
            chunk.reserve(16 << 10);
            let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
            screen.recent.extend_from_slice(&shown);
            let excess = screen.recent.len().saturating_sub(REPLAY);
            let _ = screen.recent.split_to(excess);
            // An error only says that nobody looks now.
            let _ = screen.viewers.send(shown);
        }
    };
    let input = async {
        while let Some(chunk) = keys.recv().await {
            if to_guest.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = output => {} () = input => {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_until(stream: &mut UnixStream, text: &str) -> String {
        let mut seen = Vec::new();
        let mut buffer = [0; 1024];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(seen).unwrap()
    }

    #[tokio::test]
    async fn a_newcomer_sees_what_was_said_and_everybody_sees_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.sock");
        let (backend, mut guest) = tokio::io::duplex(1024);
        let console = Console::attach(Box::new(backend), b"from before\n");
        console.serve(&path).unwrap();
        guest.write_all(b"booting\n").await.unwrap();

        let mut first = UnixStream::connect(&path).await.unwrap();
        assert_eq!(read_until(&mut first, "booting\n").await, "from before\nbooting\n");
        let mut second = UnixStream::connect(&path).await.unwrap();
        read_until(&mut second, "booting\n").await;
        first.write_all(b"uname\n").await.unwrap();
        let mut typed = [0; 6];
        guest.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"uname\n");
        guest.write_all(b"Linux\n").await.unwrap();
        assert_eq!(read_until(&mut first, "Linux\n").await, "Linux\n");
        assert_eq!(read_until(&mut second, "Linux\n").await, "Linux\n");

        drop(first);
        let mut third = UnixStream::connect(&path).await.unwrap();
        assert_eq!(read_until(&mut third, "Linux\n").await, "from before\nbooting\nLinux\n");
        drop(guest);
        assert_eq!(third.read(&mut typed).await.unwrap(), 0, "a viewer learns that the machine is gone");
    }

    #[tokio::test]
    async fn only_the_recent_output_is_kept() {
        let (backend, mut guest) = tokio::io::duplex(1 << 20);
        let console = Console::attach(Box::new(backend), b"");
        let mut viewers = console.screen.lock().unwrap().viewers.subscribe();
        guest.write_all(&vec![b'x'; REPLAY * 2]).await.unwrap();
        guest.write_all(b"end").await.unwrap();
        while !viewers.recv().await.unwrap().ends_with(b"end") {}
        let screen = console.screen.lock().unwrap();
        assert_eq!(screen.recent.len(), REPLAY);
        assert!(screen.recent.ends_with(b"xend"));
    }
}
