//! The smaller devices: entropy, memory balloon, sockets, shared directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Problems;

/// The longest tag of a shared file system in bytes (Virtio 1.2, 5.11.4), one less than Apple's limit of 36 as there is a zero in it here
/// too.
pub const TAG_MAXIMUM: usize = 35;

/// A source of random numbers. Apple: `VZEntropyDeviceConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntropyDevice {
    /// A virtio device fed by the host's `getrandom`. Apple: `VZVirtioEntropyDeviceConfiguration`.
    Virtio,
}

/// A device that takes memory from the guest and gives it back. Apple: `VZMemoryBalloonDeviceConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryBalloonDevice {
    /// A virtio balloon. Apple: `VZVirtioTraditionalMemoryBalloonDeviceConfiguration`.
    Virtio,
}

/// A device for sockets between guest and host. Apple: `VZSocketDeviceConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketDevice {
    /// A virtio socket device (`AF_VSOCK`), served in this process. Apple: `VZVirtioSocketDeviceConfiguration`.
    Virtio,
}

/// A device that shares directories. Apple: `VZDirectorySharingDeviceConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectorySharingDevice {
    /// A virtio file system.
    VirtioFileSystem(VirtioFileSystemDevice),
}

impl From<VirtioFileSystemDevice> for DirectorySharingDevice {
    fn from(device: VirtioFileSystemDevice) -> Self {
        Self::VirtioFileSystem(device)
    }
}

impl DirectorySharingDevice {
    pub(super) fn tag(&self) -> &str {
        match self {
            Self::VirtioFileSystem(device) => &device.tag,
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        match self {
            Self::VirtioFileSystem(device) => device.validate(problems),
        }
    }
}

/// A virtio file system: `mount -t virtiofs TAG /mnt` in Linux. Apple: `VZVirtioFileSystemDeviceConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtioFileSystemDevice {
    /// The name by which the guest mounts it: 1 to [`TAG_MAXIMUM`] bytes.
    pub tag: String,
    /// What is shared.
    pub share: Option<DirectoryShare>,
}

impl VirtioFileSystemDevice {
    /// Shares this under a tag.
    pub fn new(tag: impl Into<String>, share: impl Into<DirectoryShare>) -> Self {
        Self { tag: tag.into(), share: Some(share.into()) }
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        problems.field("tag").require(!self.tag.is_empty() && self.tag.len() <= TAG_MAXIMUM && !self.tag.contains('\0'), || {
            format!("A tag has 1 to {TAG_MAXIMUM} bytes, none of them zero, and not {}", self.tag.len())
        });
        match &self.share {
            None => {}
            Some(DirectoryShare::Single(directory)) => directory.validate(&mut problems.field("share")),
            Some(DirectoryShare::Multiple(directories)) => {
                let mut share = problems.field("share");
                share.require(!directories.is_empty(), || "It has no directory".to_owned());
                for (name, directory) in directories {
                    let mut place = share.element(name);
                    let plain =
                        !name.is_empty() && name.len() <= 255 && !matches!(name.as_str(), "." | "..") && !name.contains(['/', '\0']);
                    place.require(plain, || "A name has 1 to 255 bytes and no slash, and is neither . nor ..".to_owned());
                    directory.validate(&mut place);
                }
            }
        }
    }
}

/// What a file system device shares. Apple: `VZDirectoryShare`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryShare {
    /// One directory, which is the root of what the guest mounts. Apple: `VZSingleDirectoryShare`.
    Single(SharedDirectory),
    /// Several, each in a directory of this name. Apple: `VZMultipleDirectoryShare`.
    Multiple(BTreeMap<String, SharedDirectory>),
}

impl From<SharedDirectory> for DirectoryShare {
    fn from(directory: SharedDirectory) -> Self {
        Self::Single(directory)
    }
}

/// A directory of the host. Apple: `VZSharedDirectory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the guest may only read.
    pub read_only: bool,
}

impl SharedDirectory {
    /// A directory that the guest may write.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), read_only: false }
    }

    /// A directory that the guest may only read.
    pub fn read_only(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), read_only: true }
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        match std::fs::metadata(&self.path) {
            Err(error) => problems.add(format!("Could not look at the directory ({error}): {}", self.path.display())),
            Ok(metadata) => problems.require(metadata.is_dir(), || format!("It is not a directory: {}", self.path.display())),
        }
    }
}
