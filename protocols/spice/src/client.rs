//! The end of a session that anybody may hold: sends commands to its thread.

use crate::screens::Screens;
use crate::{Error, Result};
use machine::display::{HeadInfo, Input, Leds, SizeRequest, Source, Viewer};
use machine::exchange::{ClipboardFormat, ClipboardPolicy, MAX_CLIPBOARD, MAX_MONITORS, Monitor};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the session's thread.
pub const BACKLOG: usize = 64;
/// Most bytes that are written to a port at once.
const MAX_WRITE: usize = 1 << 20;

/// What the thread is told.
pub enum Command {
    Policy(ClipboardPolicy),
    Clipboard(ClipboardFormat, Reply<Vec<u8>>),
    SetClipboard(ClipboardFormat, Vec<u8>, Reply<()>),
    ClearClipboard,
    SendFile(u64, PathBuf, Reply<()>),
    CancelFile(u64, Reply<()>),
    AttachUsb(String, OwnedFd, Reply<()>),
    DetachUsb(String, Reply<()>),
    Monitors(Vec<Monitor>, Reply<()>),
    WritePort(String, Vec<u8>, Reply<()>),
    Record(Vec<u8>),
    Heads(Reply<Vec<HeadInfo>>),
    Watch(usize, Source, Reply<HeadInfo>),
    Input(usize, Input, Reply<()>),
    Size(usize, SizeRequest, Reply<()>),
    TakesPositions(Reply<bool>),
    Leds(Reply<Leds>),
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T>>;

/// A session. Cheap to clone; when the last one is gone the session ends.
#[derive(Debug, Clone)]
pub struct Client(mpsc::Sender<Command>);

impl Client {
    pub(crate) const fn new(commands: mpsc::Sender<Command>) -> Self {
        Self(commands)
    }

    async fn tell(&self, command: Command) -> Result<()> {
        self.0.send(command).await.map_err(|_| Error::Closed)
    }

    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Says which way the clipboard goes.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn set_policy(&self, policy: ClipboardPolicy) -> Result<()> {
        self.tell(Command::Policy(policy)).await
    }

    /// What the guest has copied. A guest that offers and does not give keeps it waiting: whoever calls decides how long.
    ///
    /// # Errors
    /// [`Error::NotOffered`], [`Error::Policy`], [`Error::NoAgent`].
    pub async fn clipboard(&self, format: ClipboardFormat) -> Result<Vec<u8>> {
        self.ask(|reply| Command::Clipboard(format, reply)).await
    }

    /// Gives the guest something to paste.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Policy`], [`Error::NoAgent`].
    pub async fn set_clipboard(&self, format: ClipboardFormat, data: Vec<u8>) -> Result<()> {
        if data.len() > MAX_CLIPBOARD {
            return Err(Error::TooLarge { what: "A clipboard", bytes: data.len() });
        }
        self.ask(|reply| Command::SetClipboard(format, data, reply)).await
    }

    /// Takes back what was given.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn clear_clipboard(&self) -> Result<()> {
        self.tell(Command::ClearClipboard).await
    }

    /// Sends a file to the guest's agent. Returns when it has begun; [`crate::News::Transfer`] tells of the rest, under this number.
    ///
    /// # Errors
    /// [`Error::NoAgent`].
    pub async fn send_file(&self, id: u64, path: PathBuf) -> Result<()> {
        self.ask(|reply| Command::SendFile(id, path, reply)).await
    }

    /// Gives up on a file.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn cancel_file(&self, id: u64) -> Result<()> {
        self.ask(|reply| Command::CancelFile(id, reply)).await
    }

    /// Gives the guest a USB device, opened for reading and writing, under a name of the caller's.
    ///
    /// # Errors
    /// What libusb and the machine say.
    pub async fn attach_usb(&self, id: &str, device: OwnedFd) -> Result<()> {
        self.ask(|reply| Command::AttachUsb(id.to_owned(), device, reply)).await
    }

    /// Takes a device back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn detach_usb(&self, id: &str) -> Result<()> {
        self.ask(|reply| Command::DetachUsb(id.to_owned(), reply)).await
    }

    /// Asks the guest's agent to arrange its screens.
    ///
    /// # Errors
    /// [`Error::NoAgent`], [`Error::TooLarge`].
    pub async fn arrange_monitors(&self, monitors: &[Monitor]) -> Result<()> {
        if monitors.len() > MAX_MONITORS {
            return Err(Error::TooLarge { what: "A layout of screens", bytes: size_of_val(monitors) });
        }
        self.ask(|reply| Command::Monitors(monitors.to_vec(), reply)).await
    }

    /// Writes to a port of the machine; returns when the server has it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`].
    pub async fn write_port(&self, name: &str, data: Vec<u8>) -> Result<()> {
        if data.len() > MAX_WRITE {
            return Err(Error::TooLarge { what: "A write to a port", bytes: data.len() });
        }
        self.ask(|reply| Command::WritePort(name.to_owned(), data, reply)).await
    }

    /// Gives the guest samples from the microphone, as [`crate::News::Listening`] said. Nobody hears them where it does not listen.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::TooLarge`].
    pub async fn record(&self, samples: Vec<u8>) -> Result<()> {
        if samples.len() > MAX_WRITE {
            return Err(Error::TooLarge { what: "A piece of sound", bytes: samples.len() });
        }
        self.tell(Command::Record(samples)).await
    }

    /// The displays, where the session has them.
    pub fn viewer(&self) -> Arc<dyn Viewer> {
        Arc::new(Screens::new(self.clone()))
    }
}
