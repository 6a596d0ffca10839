//! What file system devices share, from a machine's creation to its end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::configuration::{DirectoryShare, VirtioFileSystemDevice};
use crate::error::Result;

/// What a device shares.
#[derive(Debug)]
pub struct Sharing {
    tag: String,
    share: Mutex<Option<DirectoryShare>>,
}

impl Sharing {
    /// That of a device of the configuration.
    pub fn new(device: &VirtioFileSystemDevice) -> Self {
        Self { tag: device.tag.clone(), share: Mutex::new(device.share.clone()) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<DirectoryShare>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// What is shared.
    pub fn share(&self) -> Option<DirectoryShare> {
        self.lock().clone()
    }

    /// From now on it is this.
    pub fn set_share(&self, share: Option<DirectoryShare>) -> Result<()> {
        if let Some(share) = &share {
            share.validate()?;
        }
        *self.lock() = share;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, SharedDirectory};

    #[test]
    fn a_share_that_cannot_be_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let sharing = Sharing::new(&VirtioFileSystemDevice::new("home", SharedDirectory::new("/")));
        let error = sharing.set_share(Some(SharedDirectory::new("/nowhere").into())).unwrap_err();
        assert_eq!((error.kind(), error.problems()[0].path.as_str()), (ErrorKind::InvalidConfiguration, "share"));
        assert_eq!((sharing.tag(), sharing.share()), ("home", Some(SharedDirectory::new("/").into())));
        for share in [Some(SharedDirectory::read_only(folder.path()).into()), None] {
            sharing.set_share(share.clone()).unwrap();
            assert_eq!(sharing.share(), share);
        }
    }
}
