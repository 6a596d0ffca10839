//! What of a machine's devices can be changed while it runs. What is set here reaches the devices on the machine's queue, in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use objc2_virtualization::{VZVirtioConsoleDevice, VZVirtioFileSystemDevice, VZVirtioTraditionalMemoryBalloonDevice};

use super::configuration::{directory_share, network_attachment, serial_attachment};
use super::control::Machine;
use super::queue::OnQueue;
use crate::configuration::{
    DirectoryShare, NetworkAttachment, SerialAttachment, VirtioConsoleDevice, VirtioFileSystemDevice, VirtioNetworkDevice,
};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a balloon's page.
pub const PAGE_SIZE: u64 = 4096;

/// A machine, and the place of a device in one of its arrays, which is that in the configuration.
pub type Place = (Arc<OnQueue<Machine>>, usize);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! shown {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

shown!(Console);
shown!(Connection);
shown!(Sharing);
shown!(Balloon);

/// A console.
pub struct Console {
    place: Place,
    count: u32,
    names: BTreeMap<u32, Option<String>>,
    attached: Mutex<BTreeMap<u32, SerialAttachment>>,
}

impl Console {
    /// A console of the configuration.
    pub fn new(place: Place, console: &VirtioConsoleDevice) -> Self {
        let names = console.ports.iter().map(|(number, port)| (*number, port.name.clone())).collect();
        let attached = console.ports.iter().filter_map(|(number, port)| Some((*number, port.attachment.clone()?))).collect();
        Self { place, count: console.port_count(), names, attached: Mutex::new(attached) }
    }

    /// How many ports there can be.
    pub fn port_count(&self) -> u32 {
        self.count
    }

    /// Whether there is a port with this number.
    pub fn has_port(&self, port: u32) -> bool {
        self.names.contains_key(&port)
    }

    /// A port's name.
    pub fn name(&self, port: u32) -> Option<&str> {
        self.names.get(&port)?.as_deref()
    }

    /// What a port is attached to.
    pub fn attachment(&self, port: u32) -> Option<SerialAttachment> {
        lock(&self.attached).get(&port).cloned()
    }

    /// From now on it is attached to this.
    pub fn set_attachment(&self, port: u32, new: Option<SerialAttachment>) -> Result<()> {
        let theirs = new.as_ref().map(serial_attachment).transpose()?;
        let (machine, index) = &self.place;
        let index = *index;
        let mut attached = lock(&self.attached);
        machine.later_with(theirs, move |machine, theirs| {
            // SAFETY: this is the machine's queue; the place is one of the configuration, and the port one of the console.
            unsafe {
                let console = machine.object.consoleDevices().objectAtIndex(index);
                if let Ok(console) = console.downcast::<VZVirtioConsoleDevice>()
                    && let Some(port) = console.ports().objectAtIndexedSubscript(port as usize)
                {
                    port.setAttachment(theirs.as_deref());
                }
            }
        });
        match new {
            Some(new) => attached.insert(port, new),
            None => attached.remove(&port),
        };
        Ok(())
    }
}

/// What a network card is connected to.
pub struct Connection {
    place: Place,
    attached: Mutex<Option<NetworkAttachment>>,
}

impl Connection {
    /// That of a card of the configuration.
    pub fn new(place: Place, card: &VirtioNetworkDevice) -> Self {
        Self { place, attached: Mutex::new(Some(card.attachment.clone())) }
    }

    /// What was set last.
    pub fn attachment(&self) -> Option<NetworkAttachment> {
        lock(&self.attached).clone()
    }

    /// From now on it is this.
    pub fn set_attachment(&self, new: Option<NetworkAttachment>) -> Result<()> {
        if let Some(new) = &new {
            new.validate()?;
        }
        let theirs = new.as_ref().map(network_attachment).transpose()?;
        let (machine, index) = &self.place;
        let index = *index;
        let mut attached = lock(&self.attached);
        machine.later_with(theirs, move |machine, theirs| {
            // SAFETY: this is the machine's queue; the place is one of the configuration.
            unsafe { machine.object.networkDevices().objectAtIndex(index).setAttachment(theirs.as_deref()) };
        });
        *attached = new;
        Ok(())
    }
}

/// What a file system device shares.
pub struct Sharing {
    place: Place,
    tag: String,
    share: Mutex<Option<DirectoryShare>>,
}

impl Sharing {
    /// That of a device of the configuration.
    pub fn new(place: Place, device: &VirtioFileSystemDevice) -> Self {
        Self { place, tag: device.tag.clone(), share: Mutex::new(device.share.clone()) }
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// What is shared.
    pub fn share(&self) -> Option<DirectoryShare> {
        lock(&self.share).clone()
    }

    /// From now on it is this.
    pub fn set_share(&self, new: Option<DirectoryShare>) -> Result<()> {
        if new == Some(DirectoryShare::Rosetta) {
            // It would be an exception.
            return Err(Error::new(ErrorKind::NotSupported, "Rosetta can be shared by a configuration only"));
        }
        if let Some(new) = &new {
            new.validate()?;
        }
        let theirs = new.as_ref().map(directory_share).transpose()?;
        let (machine, index) = &self.place;
        let index = *index;
        let mut share = lock(&self.share);
        machine.later_with(theirs, move |machine, theirs| {
            // SAFETY: this is the machine's queue; the place is one of the configuration.
            unsafe {
                let device = machine.object.directorySharingDevices().objectAtIndex(index);
                if let Ok(device) = device.downcast::<VZVirtioFileSystemDevice>() {
                    device.setShare(theirs.as_deref());
                }
            }
        });
        *share = new;
        Ok(())
    }
}

/// A memory balloon.
pub struct Balloon {
    place: Place,
    memory_size: u64,
    wanted: AtomicU32,
}

impl Balloon {
    /// That of a machine with so many bytes of memory.
    pub fn new(place: Place, memory_size: u64) -> Self {
        Self { place, memory_size, wanted: AtomicU32::new(0) }
    }

    /// From now on it should have so many pages.
    pub fn set(&self, pages: u32) {
        self.wanted.store(pages, Ordering::SeqCst);
        let left = self.memory_size.saturating_sub(u64::from(pages) * PAGE_SIZE);
        let (machine, index) = &self.place;
        let index = *index;
        machine.later(move |machine| {
            // SAFETY: this is the machine's queue; the place is one of the configuration.
            unsafe {
                let balloon = machine.object.memoryBalloonDevices().objectAtIndex(index);
                if let Ok(balloon) = balloon.downcast::<VZVirtioTraditionalMemoryBalloonDevice>() {
                    balloon.setTargetVirtualMachineMemorySize(left);
                }
            }
        });
    }

    /// Pages that it should have.
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::SeqCst)
    }
}
