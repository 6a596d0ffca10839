//! What consoles are attached to, from a machine's creation to its end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use devices::virtio::console::{Attachment, Attachments, Port};

use crate::configuration::{SerialAttachment, VirtioConsoleDevice};
use crate::error::Result;

/// A console's ports.
pub struct Console {
    ports: Vec<Port>,
    count: u32,
    attached: Mutex<BTreeMap<u32, SerialAttachment>>,
    device: Arc<Attachments>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Console({} ports)", self.count)
    }
}

/// The same, as a device has it.
pub fn attachment(attachment: &SerialAttachment) -> Attachment {
    Attachment { input: attachment.input.clone(), output: attachment.output.clone() }
}

impl Console {
    /// The ports of a configuration.
    pub fn new(console: &VirtioConsoleDevice) -> Self {
        let port = |(number, port): (&u32, &crate::configuration::VirtioConsolePort)| Port {
            number: *number,
            name: port.name.clone(),
            is_console: port.is_console,
        };
        let attached: BTreeMap<u32, SerialAttachment> =
            console.ports.iter().filter_map(|(number, port)| Some((*number, port.attachment.clone()?))).collect();
        let device = Arc::new(Attachments::new(attached.iter().map(|(number, attached)| (*number, attachment(attached)))));
        let ports = console.ports.iter().map(port).collect();
        Self { ports, count: console.port_count(), attached: Mutex::new(attached), device }
    }

    /// Whether there is a port with this number.
    pub fn has_port(&self, port: u32) -> bool {
        self.ports.iter().any(|other| other.number == port)
    }

    /// A port's name.
    pub fn name(&self, port: u32) -> Option<&str> {
        self.ports.iter().find(|other| other.number == port)?.name.as_deref()
    }

    /// The ports.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// How many there can be.
    pub fn port_count(&self) -> u32 {
        self.count
    }

    /// What a port is attached to.
    pub fn attachment(&self, port: u32) -> Option<SerialAttachment> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).get(&port).cloned()
    }

    /// From now on it is attached to this.
    pub fn set_attachment(&self, port: u32, new: Option<SerialAttachment>) -> Result<()> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.set(port, new.as_ref().map(attachment).unwrap_or_default());
        match new {
            Some(new) => attached.insert(port, new),
            None => attached.remove(&port),
        };
        Ok(())
    }

    /// The device's side.
    pub fn device(&self) -> Arc<Attachments> {
        Arc::clone(&self.device)
    }
}
