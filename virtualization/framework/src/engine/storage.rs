//! Disks: from an attachment to what a device reads and writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use devices::nbd::{NbdAddress, NbdClient, NbdEvent};
use devices::virtio::Disk;
use rustix::fs::OFlags;

use super::image_lock;
use super::outside::Outside;
use crate::configuration::{
    Access, CachingMode, DiskImage, DiskImageFormat, NbdServer, StorageAttachment, StorageDevice, SynchronizationMode,
};
use crate::error::{Error, ErrorKind, Result};

/// The most queues of a disk; more than this many processors share them.
const QUEUES: usize = 16;

/// What happens to a server behind a disk is told.
pub type Told = Box<dyn Fn(NbdEvent) + Send + Sync>;

/// Servers behind disks, which nobody waits for any longer when this is dropped.
#[derive(Default)]
pub struct Servers(Vec<Arc<NbdClient>>);

impl Servers {
    /// Nobody waits for them any longer.
    pub fn end(&self) {
        self.0.iter().for_each(|server| server.end());
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.end();
    }
}

/// Opens what is behind a storage device, for a machine with this many processors.
pub fn open(device: &StorageDevice, processors: usize, servers: &mut Servers, told: Told, outside: &Outside) -> Result<Disk> {
    let StorageDevice::VirtioBlock(block) = device;
    let (disk, synchronization) = match &block.attachment {
        StorageAttachment::DiskImage(image) => (open_image(image, outside)?, image.synchronization()),
        StorageAttachment::BlockDevice(device) => {
            let what = || "the block device".to_owned();
            let its = device.clone();
            let file = outside.run(move || locked(its.file(), its.access(), None, &what))??;
            let disk = Disk::raw(file, device.access() == Access::ReadOnly).map_err(|error| unusable(&what, error))?;
            (disk, device.synchronization())
        }
        StorageAttachment::Nbd(server) => {
            let what = || format!("the network block device {}", server.url());
            let (address, name) = server.place().ok_or_else(|| unusable(&what, io::ErrorKind::InvalidInput))?;
            let address = match address {
                NbdServer::Tcp(host, port) => NbdAddress::Tcp(host, port),
                NbdServer::Unix(path) => NbdAddress::Unix(path),
            };
            let patience = server.timeout_duration();
            let its = outside.clone();
            // Where nobody does it any longer, whoever waits for it learns of that.
            let elsewhere = Box::new(move |job| drop(its.post(job)));
            let client = NbdClient::connect(address, name, patience, elsewhere, told)
                .map_err(|error| Error::because(ErrorKind::Network, format!("Could not use {}", what()), error))?;
            servers.0.push(Arc::clone(&client));
            let disk = Disk::nbd(client, server.allowed_access() == Access::ReadOnly).map_err(|error| unusable(&what, error))?;
            (disk, server.synchronization())
        }
    };
    let queues = processors.clamp(1, QUEUES) as u16;
    Ok(disk.identifier(block.identifier.as_bytes()).syncs(synchronization != SynchronizationMode::None).queues(queues))
}

fn open_image(image: &DiskImage, outside: &Outside) -> Result<Disk> {
    let what = |image: &DiskImage| format!("the disk image {}", image.path().display());
    let its = image.clone();
    let file = outside.run(move || locked(its.file(), its.access(), Some(its.caching()), &|| what(&its)))??;
    let read_only = image.access() == Access::ReadOnly;
    match image.image_format() {
        DiskImageFormat::Raw => Disk::raw(file, read_only),
        DiskImageFormat::Qcow2 => Disk::qcow2(file, read_only),
    }
    .map_err(|error| unusable(&|| what(image), error))
}

/// The file, opened once more, for this machine alone, and locked for as long as it has it open: by one writer, or by any number of readers.
fn locked(file: &File, access: Access, caching: Option<CachingMode>, what: &dyn Fn() -> String) -> Result<File> {
    let file = open_again(file, access, caching).map_err(|error| {
        let is_refused = caching == Some(CachingMode::Uncached) && error.kind() == io::ErrorKind::InvalidInput;
        let why = if is_refused { ": its file system does not bypass the host's cache; CachingMode::Cached does without" } else { "" };
        Error::because(ErrorKind::InvalidDiskImage, format!("Could not use {}{why}", what()), error)
    })?;
    image_lock::lock(&file, access == Access::ReadWrite).map_err(|error| {
        let message = if error.kind() == io::ErrorKind::WouldBlock {
            format!("Could not use {}: an image locked by another process; stop what uses it, or open it read-only in both", what())
        } else {
            format!("Could not lock {}", what())
        };
        Error::because(ErrorKind::InvalidDiskImage, message, error)
    })?;
    Ok(file)
}

/// Opens what a descriptor stands for: locks and the way of caching belong to the open file, which the configuration and its copies share.
fn open_again(file: &File, access: Access, caching: Option<CachingMode>) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = OpenOptions::new().read(true).write(access == Access::ReadWrite).custom_flags(direct(caching).bits() as i32).open(path);
    opened.or_else(|error| {
        // Who was handed the descriptor may not be allowed to open it again; a file system may not allow to go past the cache.
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        let file = file.try_clone()?;
        let flags = rustix::fs::fcntl_getfl(&file)? - OFlags::DIRECT;
        rustix::fs::fcntl_setfl(&file, flags | direct(caching))?;
        Ok(file)
    })
}

fn direct(caching: Option<CachingMode>) -> OFlags {
    match caching {
        Some(CachingMode::Uncached) => OFlags::DIRECT,
        Some(CachingMode::Automatic | CachingMode::Cached) | None => OFlags::empty(),
    }
}

fn unusable(what: &dyn Fn() -> String, error: impl Into<io::Error>) -> Error {
    Error::because(ErrorKind::InvalidDiskImage, format!("Could not use {}", what()), error.into())
}
