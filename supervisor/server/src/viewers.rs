//! The socket where viewers connect: each connection is handed to the backend, and no frame passes through this process.

use machine::{Result, VirtualMachine};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};

/// Serves the socket until the machine object is gone.
///
/// # Errors
/// Where the socket cannot be made.
pub fn serve(machine: Arc<dyn VirtualMachine>, path: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    tokio::spawn(async move {
        while let Ok((viewer, _)) = listener.accept().await {
            // One after the other: the backend greets one at a time.
            if let Err(error) = hand_over(&*machine, viewer).await {
                // The viewer sees its connection end, and asks over the API how the machine is.
                tracing::info!("A viewer is turned away: {}", error.chain());
            }
        }
    });
    Ok(())
}

async fn hand_over(machine: &dyn VirtualMachine, viewer: UnixStream) -> Result<()> {
    let failed = |error: io::Error| machine::Error::new(machine::ErrorKind::Backend, "Its connection cannot be used").with_source(error);
    let viewer = viewer.into_std().map_err(failed)?;
    // The other end may be a thread that waits.
    viewer.set_nonblocking(false).map_err(failed)?;
    machine.attach_viewer(OwnedFd::from(viewer)).await
}
