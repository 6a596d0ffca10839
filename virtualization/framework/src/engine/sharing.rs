//! What file system devices share, from a machine's creation to its end.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::outside::Outside;
use super::several::{Directories, Inside};
use crate::configuration::{DirectoryShare, VirtioFileSystemDevice};
use crate::error::{Error, ErrorKind, Result};

/// What a device shares.
#[derive(Debug)]
pub struct Sharing {
    tag: String,
    share: Mutex<Option<DirectoryShare>>,
    /// What the guest finds now, where that can be changed.
    inside: Mutex<Weak<Inside>>,
    /// Where servers are started, and so nothing is changed meanwhile.
    outside: OnceLock<Outside>,
}

impl Sharing {
    /// That of a device of the configuration.
    pub fn new(device: &VirtioFileSystemDevice) -> Self {
        let (tag, share) = (device.tag.clone(), Mutex::new(device.share.clone()));
        Self { tag, share, inside: Mutex::default(), outside: OnceLock::new() }
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

    /// From now on what is shared is changed by this.
    pub fn change_on(&self, outside: &Outside) {
        self.outside.get_or_init(|| outside.clone());
    }

    /// A server begins, with this where what it shares can be changed.
    pub fn served_by(&self, inside: Option<&Arc<Inside>>) {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = inside.map(Arc::downgrade).unwrap_or_default();
    }

    /// From now on it is this, for the guest at once or when its driver begins anew.
    pub fn set_share(self: &Arc<Self>, share: Option<DirectoryShare>) -> Result<()> {
        if let Some(share) = &share {
            share.validate()?;
        }
        let before = std::mem::replace(&mut *self.lock(), share);
        let Some(outside) = self.outside.get() else { return Ok(()) };
        let this = Arc::clone(self);
        outside.run(move || this.show())?.inspect_err(|_| *self.lock() = before)
    }

    /// Lets a guest that has several directories mounted find what is shared now.
    fn show(&self) -> Result<()> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let (directories, Some(inside)) = (
            match self.share() {
                Some(DirectoryShare::Multiple(directories)) => directories,
                None => Directories::new(),
                Some(DirectoryShare::Single(_)) => return Ok(()),
            },
            inside,
        ) else {
            return Ok(());
        };
        let message = || format!("Could not change what {} shares", self.tag);
        inside.change(&directories).map_err(|error| Error::because(ErrorKind::Host, message(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, SharedDirectory};

    #[test]
    fn a_share_that_cannot_be_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let sharing = Arc::new(Sharing::new(&VirtioFileSystemDevice::new("home", SharedDirectory::new("/"))));
        let error = sharing.set_share(Some(SharedDirectory::new("/nowhere").into())).unwrap_err();
        assert_eq!((error.kind(), error.problems()[0].path.as_str()), (ErrorKind::InvalidConfiguration, "share"));
        assert_eq!((sharing.tag(), sharing.share()), ("home", Some(SharedDirectory::new("/").into())));
        for share in [Some(SharedDirectory::read_only(folder.path()).into()), None] {
            sharing.set_share(share.clone()).unwrap();
            assert_eq!(sharing.share(), share);
        }
    }
}
