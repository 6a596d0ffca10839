//! The smaller devices: entropy, memory balloon, sockets, shared directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigurationError, Problems};

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
    /// What is shared; without anything it is an empty directory.
    pub share: Option<DirectoryShare>,
}

impl VirtioFileSystemDevice {
    /// The tag that macOS guests mount by themselves. Apple: `macOSGuestAutomountTag`.
    pub const MACOS_GUEST_AUTOMOUNT_TAG: &str = "com.apple.virtio-fs.automount";

    /// Shares this under a tag.
    pub fn new(tag: impl Into<String>, share: impl Into<DirectoryShare>) -> Self {
        Self { tag: tag.into(), share: Some(share.into()) }
    }

    /// Whether this can be a tag. Apple: `validateTag`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate_tag(tag: &str) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| tag_problems(tag, &mut problems.field("tag")))
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        tag_problems(&self.tag, &mut problems.field("tag"));
        if let Some(share) = &self.share {
            share.find_problems(&mut problems.field("share"));
        }
    }
}

fn tag_problems(tag: &str, problems: &mut Problems<'_>) {
    problems.require(!tag.is_empty() && tag.len() <= TAG_MAXIMUM && !tag.contains('\0'), || {
        format!("A tag has 1 to {TAG_MAXIMUM} bytes, none of them zero, and not {}", tag.len())
    });
}

/// What a file system device shares. Apple: `VZDirectoryShare`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryShare {
    /// One directory, which is the root of what the guest mounts. Apple: `VZSingleDirectoryShare`.
    Single(SharedDirectory),
    /// Several, each in a directory of this name; nothing else can be made beside them. On Linux, whoever is not root needs user namespaces for
    /// that, and a host that does not allow these refuses with the name of the setting. Apple: `VZMultipleDirectoryShare`.
    Multiple(BTreeMap<String, SharedDirectory>),
    /// Rosetta, with which Linux guests on Apple silicon run programs for Intel processors. On a Mac only. Apple:
    /// `VZLinuxRosettaDirectoryShare`.
    #[cfg(target_os = "macos")]
    Rosetta,
}

/// The longest name of a directory of a [`DirectoryShare::Multiple`], in bytes (`NAME_MAX` of Linux).
const NAME_MAXIMUM: usize = 255;

impl DirectoryShare {
    /// Whether this can be the name of a directory of a [`Self::Multiple`]. Apple: `VZMultipleDirectoryShare.validateName`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate_name(name: &str) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| name_problems(name, &mut problems.field("name")))
    }

    /// A name that is allowed and looks like this one: what is not allowed in a name becomes `_`, and the end of one that is too long is left
    /// out. `None` where nothing is left. Apple: `VZMultipleDirectoryShare.canonicalizedName`.
    pub fn canonicalized_name(name: &str) -> Option<String> {
        let mut canonical: String = name.chars().map(|character| if matches!(character, '/' | '\0') { '_' } else { character }).collect();
        while canonical.len() > NAME_MAXIMUM {
            canonical.pop();
        }
        if matches!(canonical.as_str(), "." | "..") {
            canonical = canonical.replace('.', "_");
        }
        Some(canonical).filter(|name| !name.is_empty())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| self.find_problems(&mut problems.field("share")))
    }

    fn find_problems(&self, problems: &mut Problems<'_>) {
        match self {
            Self::Single(directory) => directory.validate(problems),
            #[cfg(target_os = "macos")]
            Self::Rosetta => {}
            Self::Multiple(directories) => {
                problems.require(!directories.is_empty(), || "It has no directory".to_owned());
                for (name, directory) in directories {
                    let mut place = problems.element(name);
                    name_problems(name, &mut place);
                    directory.validate(&mut place);
                }
            }
        }
    }
}

fn name_problems(name: &str, problems: &mut Problems<'_>) {
    let is_plain = !name.is_empty() && name.len() <= NAME_MAXIMUM && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    problems.require(is_plain, || format!("A name has 1 to {NAME_MAXIMUM} bytes and no slash, and is neither . nor .."));
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
