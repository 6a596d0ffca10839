//! The shared directories of a machine, as the host's programs use them.

use std::sync::Arc;

use crate::configuration::DirectoryShare;
use crate::engine::Sharing;
use crate::error::Result;

/// A file system device of a machine. Apple: `VZVirtioFileSystemDevice`.
#[derive(Debug, Clone)]
pub struct DirectorySharingHandle {
    sharing: Arc<Sharing>,
}

impl DirectorySharingHandle {
    pub(crate) fn new(sharing: Arc<Sharing>) -> Self {
        Self { sharing }
    }

    /// The name by which the guest mounts it.
    pub fn tag(&self) -> &str {
        self.sharing.tag()
    }

    /// What is shared.
    pub fn share(&self) -> Option<DirectoryShare> {
        self.sharing.share()
    }

    /// Shares something else, or nothing: an empty directory. Apple: setting `share`.
    ///
    /// On KVM a guest that has several directories mounted ([`DirectoryShare::Multiple`], or nothing) finds other ones, or none, at once; what
    /// it has open of those that are gone stays open. One directory as such does not change under a guest that has it mounted: virtiofsd
    /// opens it once and makes it its root, over which nothing can be mounted. Another one is there when the guest's driver next begins anew, at the machine's next start or reboot, or when the guest unbinds its driver and binds
    /// it again.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfiguration`] for a share that cannot be, and [`crate::ErrorKind::Host`] where the host does not let it be
    /// changed; the device then shares what it did.
    pub fn set_share(&self, share: Option<DirectoryShare>) -> Result<()> {
        self.sharing.set_share(share)
    }
}
