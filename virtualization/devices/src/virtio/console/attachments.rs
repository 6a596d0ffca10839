//! What the ports of a console are attached to.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use hv::Event;

/// Where the characters of a port come from, and where they go.
#[derive(Debug, Clone, Default)]
pub struct Attachment {
    /// Where the guest's input comes from.
    pub input: Option<Arc<File>>,
    /// Where its output goes.
    pub output: Option<Arc<File>>,
}

/// What the ports of a console are attached to: the host's side, which outlives the device.
#[derive(Debug, Default)]
pub struct Attachments {
    ports: Mutex<BTreeMap<u32, Attachment>>,
    /// Ports whose attachment is another one than the device knows, and how it is told.
    changed: Mutex<(Vec<u32>, Option<Event>)>,
}

impl Attachments {
    /// Those of ports by their number.
    pub fn new(ports: impl IntoIterator<Item = (u32, Attachment)>) -> Self {
        Self { ports: Mutex::new(ports.into_iter().collect()), changed: Mutex::default() }
    }

    /// From now on the port is attached to this. What the guest has written before may still go to the old attachment.
    pub fn set(&self, port: u32, attachment: Attachment) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(port, attachment);
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.0.push(port);
        if let Some(device) = &changed.1 {
            device.signal();
        }
    }

    pub(super) fn of(&self, port: u32) -> Attachment {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).get(&port).cloned().unwrap_or_default()
    }

    pub(super) fn take_changed(&self) -> Vec<u32> {
        let mut changed = std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner).0);
        changed.dedup();
        changed
    }

    /// From now on this device is told of what changes.
    pub(super) fn tell(&self, device: Event) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = (Vec::new(), Some(device));
    }
}
