//! Storage: devices that the guest sees, and what of the host is behind them.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{NbdAttachment, Problems};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a sector: images and devices are whole sectors.
pub const SECTOR_SIZE: u64 = 512;

/// The longest [`VirtioBlockDevice::identifier`], in bytes (Virtio 1.2, 5.2.6: `VIRTIO_BLK_T_GET_ID`).
pub const BLOCK_IDENTIFIER_MAXIMUM: usize = 20;

/// A storage device. Apple: `VZStorageDeviceConfiguration`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StorageDevice {
    /// A paravirtualised disk.
    VirtioBlock(VirtioBlockDevice),
}

impl From<VirtioBlockDevice> for StorageDevice {
    fn from(device: VirtioBlockDevice) -> Self {
        Self::VirtioBlock(device)
    }
}

impl StorageDevice {
    /// What is behind it.
    pub fn attachment(&self) -> &StorageAttachment {
        match self {
            Self::VirtioBlock(device) => &device.attachment,
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        match self {
            Self::VirtioBlock(device) => device.validate(problems),
        }
    }

    /// Which file is behind it, as device and inode, and whether the guest may write.
    pub(super) fn file(&self) -> Option<((u64, u64), Access)> {
        let (file, access) = match self.attachment() {
            StorageAttachment::DiskImage(image) => (&image.file, image.access),
            StorageAttachment::BlockDevice(device) => (&device.file, device.access),
            StorageAttachment::Nbd(_) => return None,
        };
        let metadata = file.metadata().ok()?;
        Some(((metadata.dev(), metadata.ino()), access))
    }
}

/// A virtio block device (`/dev/vda` in Linux). Apple: `VZVirtioBlockDeviceConfiguration`.
#[derive(Debug, Clone)]
pub struct VirtioBlockDevice {
    /// What is behind it.
    pub attachment: StorageAttachment,
    /// The serial number that the guest reads: at most [`BLOCK_IDENTIFIER_MAXIMUM`] bytes of ASCII; empty by default.
    pub identifier: String,
}

impl VirtioBlockDevice {
    /// A device over this attachment.
    pub fn new(attachment: impl Into<StorageAttachment>) -> Self {
        Self { attachment: attachment.into(), identifier: String::new() }
    }

    /// With this serial number.
    #[must_use]
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = identifier.into();
        self
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let mut identifier = problems.field("identifier");
        identifier.require(self.identifier.is_ascii(), || "It has characters that are not ASCII".to_owned());
        identifier.require(self.identifier.len() <= BLOCK_IDENTIFIER_MAXIMUM, || {
            format!("It has {} bytes; the device has room for {BLOCK_IDENTIFIER_MAXIMUM}", self.identifier.len())
        });
        self.attachment.validate(&mut problems.field("attachment"));
    }
}

/// What is behind a storage device. Apple: `VZStorageDeviceAttachment`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StorageAttachment {
    /// A file.
    DiskImage(DiskImage),
    /// A disk, partition or volume of the host.
    BlockDevice(BlockDeviceAttachment),
    /// A disk of another computer, or of another program.
    Nbd(NbdAttachment),
}

impl From<NbdAttachment> for StorageAttachment {
    fn from(attachment: NbdAttachment) -> Self {
        Self::Nbd(attachment)
    }
}

impl From<DiskImage> for StorageAttachment {
    fn from(image: DiskImage) -> Self {
        Self::DiskImage(image)
    }
}

impl From<BlockDeviceAttachment> for StorageAttachment {
    fn from(device: BlockDeviceAttachment) -> Self {
        Self::BlockDevice(device)
    }
}

impl StorageAttachment {
    fn validate(&self, problems: &mut Problems<'_>) {
        match self {
            Self::DiskImage(image) => image.validate(problems),
            Self::BlockDevice(device) => device.validate(problems),
            Self::Nbd(attachment) => attachment.validate(problems),
        }
    }
}

/// Whether the guest may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// The guest reads and writes. No other machine may have it open.
    ReadWrite,
    /// The guest reads. Other machines may read it too.
    ReadOnly,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskImageFormat {
    /// The disk's bytes and nothing else. ISO images are raw.
    Raw,
    /// QEMU's format: grows as it fills, may have a backing file.
    Qcow2,
}

/// How the host keeps an image's data in its memory. Apple: `VZDiskImageCachingMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CachingMode {
    /// As is best on this host; today cached.
    #[default]
    Automatic,
    /// Not at all: reads and writes bypass the host's cache (`O_DIRECT`).
    Uncached,
    /// Like other files.
    Cached,
}

/// What a flush of the guest means. Apple: `VZDiskImageSynchronizationMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SynchronizationMode {
    /// The data is on the medium (`fdatasync`, which on Linux flushes the drive's cache too).
    #[default]
    Full,
    /// The data has left the host's memory. The same as [`Self::Full`] on Linux.
    Fsync,
    /// Nothing: fast, and a crash of the host may damage what is on the disk.
    None,
}

/// An image file, held open. Apple: `VZDiskImageStorageDeviceAttachment`.
///
/// The format comes from the file's name (`.qcow2` is qcow2, everything else is raw) or from [`DiskImage::format`], never from the contents:
/// what the guest writes into a raw image must not change what the image is.
#[derive(Debug, Clone)]
pub struct DiskImage {
    path: PathBuf,
    file: Arc<File>,
    access: Access,
    format: DiskImageFormat,
    caching_mode: CachingMode,
    synchronization_mode: SynchronizationMode,
}

impl DiskImage {
    /// Opens an image.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidDiskImage`] where the file cannot be opened with this access.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let path = path.as_ref();
        let opened = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path);
        let file = opened.map_err(|error| {
            Error::because(ErrorKind::InvalidDiskImage, format!("Could not open the disk image {}", path.display()), error)
        })?;
        let is_qcow2 = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("qcow2"));
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            access,
            format: if is_qcow2 { DiskImageFormat::Qcow2 } else { DiskImageFormat::Raw },
            caching_mode: CachingMode::default(),
            synchronization_mode: SynchronizationMode::default(),
        })
    }

    /// With this format, whatever the file's name says.
    #[must_use]
    pub fn format(mut self, format: DiskImageFormat) -> Self {
        self.format = format;
        self
    }

    /// With this caching.
    #[must_use]
    pub fn caching_mode(mut self, mode: CachingMode) -> Self {
        self.caching_mode = mode;
        self
    }

    /// With this meaning of a flush.
    #[must_use]
    pub fn synchronization_mode(mut self, mode: SynchronizationMode) -> Self {
        self.synchronization_mode = mode;
        self
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the guest may write.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Its format.
    pub fn image_format(&self) -> DiskImageFormat {
        self.format
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// How it is cached.
    pub fn caching(&self) -> CachingMode {
        self.caching_mode
    }

    /// What a flush means.
    pub fn synchronization(&self) -> SynchronizationMode {
        self.synchronization_mode
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let shown = self.path.display();
        match self.file.metadata() {
            Err(error) => problems.add(format!("Could not look at the image ({error}): {shown}")),
            Ok(metadata) if !metadata.is_file() => problems.add(format!("It is not a file: {shown}")),
            Ok(metadata) => {
                problems.require(metadata.len() > 0, || format!("The image is empty: {shown}"));
                let whole = self.format != DiskImageFormat::Raw || metadata.len().is_multiple_of(SECTOR_SIZE);
                problems
                    .require(whole, || format!("The image has {} bytes, which is no multiple of {SECTOR_SIZE}: {shown}", metadata.len()));
            }
        }
    }
}

/// A block device of the host, opened by someone who may. Apple: `VZDiskBlockDeviceStorageDeviceAttachment`.
#[derive(Debug, Clone)]
pub struct BlockDeviceAttachment {
    file: Arc<File>,
    access: Access,
    synchronization_mode: SynchronizationMode,
}

impl BlockDeviceAttachment {
    /// The device behind this descriptor, which must be open for the access.
    pub fn new(descriptor: OwnedFd, access: Access) -> Self {
        Self { file: Arc::new(descriptor.into()), access, synchronization_mode: SynchronizationMode::default() }
    }

    /// With this meaning of a flush.
    #[must_use]
    pub fn synchronization_mode(mut self, mode: SynchronizationMode) -> Self {
        self.synchronization_mode = mode;
        self
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the guest may write.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What a flush means.
    pub fn synchronization(&self) -> SynchronizationMode {
        self.synchronization_mode
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        match self.file.metadata() {
            Err(error) => problems.add(format!("Could not look at the device ({error})")),
            Ok(metadata) => {
                let kind = metadata.file_type();
                // A Mac has each disk a second time, without its cache.
                let is_device = kind.is_block_device() || cfg!(target_os = "macos") && kind.is_char_device();
                problems.require(is_device, || "The descriptor is not of a block device; for a file use DiskImage".to_owned());
            }
        }
        problems
            .field("synchronization_mode")
            .require(self.synchronization_mode != SynchronizationMode::Fsync, || "A device has no Fsync; use Full or None".to_owned());
    }
}
