//! A client of SPICE, on `spice-client-glib`: the guest's agent (clipboard, files, where screens stand), USB devices, a folder over WebDAV,
//! ports, sound, and displays where QEMU has no better way to show them.
//!
//! The library below is C with a main loop of its own. It gets one thread ([`connect`]), and nothing of it leaves that thread: a [`Client`]
//! sends commands there over a bounded channel, [`Events`] brings back plain values. The library only works with GLib's default main context, of which a
//! process has one, so sessions of one process follow one another.
//!
//! What the server says is the guest's word and may be anything. The library checks the wire; here what it hands on is bounded: contents of
//! clipboards ([`machine::exchange::MAX_CLIPBOARD`]), pictures ([`machine::display::MAX_SIDE`]), formats, ports, and everything that waits
//! to be read ([`Events`]). A fault in the C code is not excluded by that: run it in a process of its own, confined.

mod agent;
mod client;
mod display;
mod error;
mod ffi;
mod files;
mod news;
mod ports;
mod screens;
mod session;
mod sound;
mod usb;

pub use client::Client;
pub use error::{Error, Result};
pub use news::{Events, MAX_PORT_DATA, MAX_PORTS, MAX_SOUND, News, Sound, SoundFormat};

use machine::exchange::{ClipboardPolicy, ExchangeFolder};
use std::io;
use std::os::fd::OwnedFd;

/// Where connections to the server come from: one for each channel, handed over by whoever may ask QEMU for them. It is called on the
/// session's thread and holds it up; it should answer within seconds.
pub trait Connector: Send + 'static {
    /// Another connection to the same server.
    ///
    /// # Errors
    /// Where there is none to be had.
    fn connect(&mut self) -> io::Result<OwnedFd>;
}

impl<F: FnMut() -> io::Result<OwnedFd> + Send + 'static> Connector for F {
    fn connect(&mut self) -> io::Result<OwnedFd> {
        self()
    }
}

/// What a session is for. Channels for anything else are not opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which way the clipboard goes, at first.
    pub policy: ClipboardPolicy,
    /// USB devices.
    pub usb: bool,
    /// The folder that the guest reads over WebDAV.
    pub folder: Option<ExchangeFolder>,
    /// Ports of the machine, told by [`News::Port`].
    pub ports: bool,
    /// What the guest plays and records.
    pub sound: bool,
    /// Displays, pointer, keyboard and mouse.
    pub displays: bool,
}

/// Begins a session. Whether the server takes it is told by the events.
///
/// # Errors
/// [`Error::Thread`] where the system has no thread left.
pub fn connect(connector: impl Connector, options: Options) -> Result<(Client, Events)> {
    let (teller, events) = news::news();
    let (commands, received) = tokio::sync::mpsc::channel(client::BACKLOG);
    let begin = move || session::run(Box::new(connector), &options, received, &teller);
    std::thread::Builder::new().name("spice".into()).spawn(begin).map_err(Error::Thread)?;
    Ok((Client::new(commands), events))
}
