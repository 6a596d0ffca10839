//! Viewers of the displays. QEMU's D-Bus display has one client, which is a relay here, and the relay has the viewers.

use super::Shared;
use super::run::{Run, refused};
use machine::display::Viewer;
use machine::{CommandLine, Error, ErrorKind, Result};
use qemu_display::{Display, Relay};
use qmp::commands;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};

/// What QEMU calls our connection until it has taken it.
const NAME: &str = "viewers";

impl Shared {
    /// Whether there is a display that viewers can be handed to; before the first start, whether there should be.
    pub(super) fn shows_viewers(&self) -> bool {
        let launched = self.launched.lock().unwrap_or_else(PoisonError::into_inner);
        let dbus = |line: &CommandLine| line.arguments.windows(2).any(|pair| pair[0] == "-display" && pair[1].starts_with("dbus,"));
        !self.setup.configuration.displays.is_empty() && launched.as_ref().is_none_or(|(line, ..)| dbus(line))
    }

    /// The run, where viewers can be handed to it now.
    pub(super) fn watchable(&self) -> Result<Arc<Run>> {
        if !self.shows_viewers() {
            let message = "The machine has no display that can be watched";
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint("QEMU's D-Bus display is in the package qemu-system-gui"));
        }
        self.usable("watch")
    }
}

/// Serves a viewer at the other end of a connection.
///
/// # Errors
/// What QEMU says.
pub async fn attach(run: &Run, connection: OwnedFd) -> Result<()> {
    let mut relay = run.relay.lock().await;
    if let Some(relay) = relay.as_ref().filter(|relay| !relay.is_closed()) {
        relay.serve(connection.into());
        return Ok(());
    }
    let (ours, theirs) = UnixStream::pair().map_err(no_socket)?;
    let keep = commands::Getfd::new(NAME);
    run.qmp.execute_with_fd(keep, theirs.as_fd()).await.map_err(|error| refused("hand QEMU a connection", error))?;
    run.execute("reach the display", commands::AddClient::new("@dbus-display", NAME)).await?;
    drop(theirs);
    relay.insert(Relay::connect(ours).await?).serve(connection.into());
    Ok(())
}

/// A viewer in this process.
///
/// # Errors
/// What QEMU says.
pub async fn viewer(run: &Run) -> Result<Arc<dyn Viewer>> {
    let (ours, theirs) = UnixStream::pair().map_err(no_socket)?;
    attach(run, theirs.into()).await?;
    Ok(Arc::new(Display::connect(ours).await?))
}

fn no_socket(error: io::Error) -> Error {
    Error::new(ErrorKind::Backend, "Cannot make a connection for viewers").with_source(error)
}
