//! Character devices that the display offers: serial ports, monitors, USB redirection.

use crate::connection::{Display, text};
use crate::error::Result;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use zbus::Fd;

const CHARDEV: &str = "org.qemu.Display1.Chardev";

/// A character device.
#[derive(Debug, Clone)]
pub struct Chardev {
    display: Display,
    path: String,
    name: String,
    opened: bool,
}

impl Display {
    /// The character devices, by their paths.
    ///
    /// # Errors
    /// Where the display does not answer.
    pub async fn chardevs(&self) -> Result<Vec<Chardev>> {
        let mut found: Vec<Chardev> = self
            .objects()
            .await?
            .into_iter()
            .filter_map(|(path, object)| {
                let properties = object.get(CHARDEV)?;
                let opened = properties.get("FEOpened").is_some_and(|value| bool::try_from(&**value).unwrap_or(false));
                Some(Chardev { display: self.clone(), path, name: text(properties, "Name"), opened })
            })
            .collect();
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }
}

impl Chardev {
    /// What kind of stream it is: `org.qemu.console.serial.0`, `org.qemu.usbredir` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the guest's side was open when it was asked for.
    pub const fn is_opened(&self) -> bool {
        self.opened
    }

    /// Takes the stream over from whoever has it.
    ///
    /// # Errors
    /// Where the display does not let.
    pub async fn open(&self) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = Fd::from(OwnedFd::from(theirs));
        self.display.call(&self.path, CHARDEV, "Register", "hand over a stream", &theirs).await?;
        Ok(ours)
    }

    /// Sends a break, as a serial line has it.
    ///
    /// # Errors
    /// Where the display refuses.
    pub async fn send_break(&self) -> Result<()> {
        self.display.call(&self.path, CHARDEV, "SendBreak", "send a break", &()).await
    }
}
