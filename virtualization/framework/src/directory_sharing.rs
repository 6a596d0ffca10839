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

    /// Shares something else, or nothing: an empty directory. On KVM that is there when the guest's driver next begins anew: at the machine's
    /// next start or reboot, and when the guest unbinds its driver and binds it again. Apple: setting `share`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfiguration`] for a share that cannot be; the device then shares what it did.
    pub fn set_share(&self, share: Option<DirectoryShare>) -> Result<()> {
        self.sharing.set_share(share)
    }
}
