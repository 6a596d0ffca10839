//! Disks: from an attachment to what a device reads and writes.

use std::fs::File;
use std::sync::Arc;

use devices::nbd::{NbdClient, NbdEvent};
use devices::virtio::Disk;
use rustix::fs::{FlockOperation, OFlags};

use crate::configuration::{Access, CachingMode, DiskImage, DiskImageFormat, StorageAttachment, StorageDevice, SynchronizationMode};
use crate::error::{Error, ErrorKind, Result};

/// What happens to a server behind a disk is told.
pub type Told = Box<dyn Fn(NbdEvent) + Send + Sync>;

/// Servers behind disks, which nobody waits for any longer when this is dropped.
#[derive(Default)]
pub struct Servers(Vec<Arc<NbdClient>>);

impl Drop for Servers {
    fn drop(&mut self) {
        self.0.iter().for_each(|server| server.end());
    }
}

/// Opens what is behind a storage device.
pub fn open(device: &StorageDevice, servers: &mut Servers, told: Told) -> Result<Disk> {
    let StorageDevice::VirtioBlock(block) = device;
    let (disk, synchronization) = match &block.attachment {
        StorageAttachment::DiskImage(image) => (open_image(image)?, image.synchronization()),
        StorageAttachment::BlockDevice(device) => {
            let what = || "the block device".to_owned();
            let file = lock(device.file(), device.access(), &what)?;
            let disk = Disk::raw(file, device.access() == Access::ReadOnly).map_err(|error| unusable(&what, error))?;
            (disk, device.synchronization())
        }
        StorageAttachment::Nbd(server) => {
            let what = || format!("the network block device {}", server.url());
            let (address, name) = server.place().ok_or_else(|| unusable(&what, std::io::ErrorKind::InvalidInput))?;
            let client = NbdClient::connect(address, name, server.timeout_duration(), told);
            let client = client.map_err(|error| Error::because(ErrorKind::Network, format!("Could not use {}", what()), error))?;
            servers.0.push(Arc::clone(&client));
            let disk = Disk::nbd(client, server.allowed_access() == Access::ReadOnly).map_err(|error| unusable(&what, error))?;
            (disk, server.synchronization())
        }
    };
    Ok(disk.identifier(block.identifier.as_bytes()).syncs(synchronization != SynchronizationMode::None))
}

fn open_image(image: &DiskImage) -> Result<Disk> {
    let what = || format!("the disk image {}", image.path().display());
    let file = lock(image.file(), image.access(), &what)?;
    let flags = rustix::fs::fcntl_getfl(&file).map_err(|error| unusable(&what, error))?;
    let flags = match image.caching() {
        CachingMode::Uncached => flags | OFlags::DIRECT,
        CachingMode::Automatic | CachingMode::Cached => flags - OFlags::DIRECT,
    };
    rustix::fs::fcntl_setfl(&file, flags).map_err(|error| unusable(&what, error))?;
    let read_only = image.access() == Access::ReadOnly;
    match image.image_format() {
        DiskImageFormat::Raw => Disk::raw(file, read_only),
        DiskImageFormat::Qcow2 => Disk::qcow2(file, read_only),
    }
    .map_err(|error| unusable(&what, error))
}

/// A descriptor of the file, which is locked from now on for as long as the configuration holds it: by one writer, or by any number of
/// readers.
fn lock(file: &File, access: Access, what: &dyn Fn() -> String) -> Result<File> {
    let operation = match access {
        Access::ReadWrite => FlockOperation::NonBlockingLockExclusive,
        Access::ReadOnly => FlockOperation::NonBlockingLockShared,
    };
    rustix::fs::flock(file, operation).map_err(|error| {
        let message = if error == rustix::io::Errno::WOULDBLOCK {
            format!("Another machine uses {}; stop it, or open the image read-only in both", what())
        } else {
            format!("Could not lock {}", what())
        };
        Error::because(ErrorKind::InvalidDiskImage, message, std::io::Error::from(error))
    })?;
    file.try_clone().map_err(|error| unusable(what, error))
}

fn unusable(what: &dyn Fn() -> String, error: impl Into<std::io::Error>) -> Error {
    Error::because(ErrorKind::InvalidDiskImage, format!("Could not use {}", what()), error.into())
}
