//! The consoles of a machine, as the host's programs use them.

use std::sync::Arc;

use crate::configuration::SerialAttachment;
use crate::engine::Console;
use crate::error::Result;

/// A console of a machine. Apple: `VZVirtioConsoleDevice`.
#[derive(Debug, Clone)]
pub struct ConsoleHandle {
    console: Arc<Console>,
}

impl ConsoleHandle {
    pub(crate) fn new(console: Arc<Console>) -> Self {
        Self { console }
    }

    /// How many ports there can be.
    pub fn maximum_port_count(&self) -> u32 {
        self.console.port_count()
    }

    /// The port with this number, where the configuration has one.
    pub fn port(&self, number: u32) -> Option<ConsolePortHandle> {
        self.console.has_port(number).then(|| ConsolePortHandle { console: Arc::clone(&self.console), number })
    }
}

/// A port of a console of a machine. Apple: `VZVirtioConsolePort`.
#[derive(Debug, Clone)]
pub struct ConsolePortHandle {
    console: Arc<Console>,
    number: u32,
}

impl ConsolePortHandle {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name by which the guest finds it.
    pub fn name(&self) -> Option<&str> {
        self.console.name(self.number)
    }

    /// What it is attached to.
    pub fn attachment(&self) -> Option<SerialAttachment> {
        self.console.attachment(self.number)
    }

    /// Attaches it to something else, or to nothing. This is possible at any time; the guest does not notice. Apple: setting `attachment`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Host`] where there are no descriptors left; it is then attached as before.
    pub fn set_attachment(&self, attachment: Option<SerialAttachment>) -> Result<()> {
        self.console.set_attachment(self.number, attachment)
    }
}
