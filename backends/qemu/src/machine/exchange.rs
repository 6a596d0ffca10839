//! The guest's agent, USB devices and the WebDAV folder: a client of QEMU's SPICE server, handed over connection by connection.

use super::Shared;
use super::run::{Run, refused};
use machine::exchange::ExchangeCapabilities;
use machine::{Error, ErrorKind, Result};
use qmp::commands;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};

/// What QEMU calls a connection until it has taken it.
const NAME: &str = "exchange";

impl Shared {
    /// What the launched command line has; nothing before the first start.
    pub(super) fn exchange_capabilities(&self) -> ExchangeCapabilities {
        let launched = self.launched.lock().unwrap_or_else(PoisonError::into_inner);
        let arguments = launched.as_ref().map_or(&[][..], |(line, ..)| &line.arguments);
        of_arguments(arguments)
    }

    /// The run, where a client can be handed to it now.
    pub(super) fn exchanging(&self) -> Result<Arc<Run>> {
        if !self.exchange_capabilities().any() {
            let message = "The machine has no port for the guest's agent, for USB devices or for a folder";
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
                "switch on Sharing.ClipboardSharing or Input.UsbSharing, with the package qemu-system-modules-spice installed",
            ));
        }
        self.usable("exchange something with")
    }
}

fn of_arguments(arguments: &[String]) -> ExchangeCapabilities {
    let values = |option: &'static str| arguments.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1].as_str());
    if values("-spice").next().is_none() {
        return ExchangeCapabilities::default();
    }
    let ports = |name: &str| values("-device").any(|device| device.split(',').any(|part| part.strip_prefix("name=") == Some(name)));
    let usb = values("-device").filter(|device| device.starts_with("usb-redir,")).count();
    ExchangeCapabilities {
        agent: ports("com.redhat.spice.0"),
        usb: u32::try_from(usb).unwrap_or(u32::MAX),
        folder: ports("org.spice-space.webdav.0"),
    }
}

/// Hands a connection to QEMU's SPICE server.
///
/// # Errors
/// What QEMU says.
pub async fn attach(run: &Run, connection: OwnedFd) -> Result<()> {
    // One name for all of them: nobody may come in between.
    let _turn = run.exchange.lock().await;
    let keep = commands::Getfd::new(NAME);
    run.qmp.execute_with_fd(keep, connection.as_fd()).await.map_err(|error| refused("hand QEMU a connection", error))?;
    let mut add = commands::AddClient::new("spice", NAME);
    add.skipauth = Some(true);
    run.execute("reach the guest's agent and devices", add).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_what_the_command_line_has() {
        let line = "-spice port=0 -device virtserialport,bus=b.0,chardev=vdagent,name=com.redhat.spice.0 -device usb-redir,id=a \
                    -device usb-redir,id=b";
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(of_arguments(&arguments), ExchangeCapabilities { agent: true, usb: 2, folder: false });
        assert_eq!(of_arguments(&arguments[2..]), ExchangeCapabilities::default());
    }
}
