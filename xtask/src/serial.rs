//! What a guest says on its serial console, waited for by its words.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PATIENCE: Duration = Duration::from_secs(300);

/// Where a guest is heard. Several streams can be one: a serial port on standard output, and what QEMU itself says.
pub struct Serial {
    output: Receiver<Vec<u8>>,
    unread: String,
    log: File,
}

impl Serial {
    /// Listens to the streams and keeps all that is said in `log`.
    pub fn listen(streams: Vec<Box<dyn Read + Send>>, log: File) -> Self {
        let (sender, output) = channel();
        for mut stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if sender.send(buffer[..length].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        Self { output, unread: String::new(), log }
    }

    /// Waits until the text has appeared; returns what came before it, and forgets it.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.unread.find(text) {
                let before = self.unread[..at].to_owned();
                self.unread.drain(..at + text.len());
                return Ok(before);
            }
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.log.write_all(&bytes)?;
                    self.unread.push_str(&String::from_utf8_lossy(&bytes));
                }
                Err(RecvTimeoutError::Timeout) => bail!("{text:?} did not appear within {} s", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => {
                    let tail: Vec<&str> = self.unread.trim_end().lines().rev().take(3).collect();
                    bail!("QEMU ended before {text:?} appeared; it said: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" / "))
                }
            }
        }
    }

    /// Waits until anything is said.
    pub fn wait_for_any(&mut self) -> Result<()> {
        match self.output.recv_timeout(PATIENCE) {
            Ok(bytes) => {
                self.log.write_all(&bytes)?;
                self.unread.push_str(&String::from_utf8_lossy(&bytes));
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => bail!("It said nothing within {} s", PATIENCE.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("It ended before it said anything"),
        }
    }

    /// Waits until nothing can be said any more.
    pub fn wait_for_end(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.log.write_all(&bytes)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => bail!("It did not switch off within {} s", PATIENCE.as_secs()),
            }
        }
    }
}
