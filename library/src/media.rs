//! What is in the removable drives.

use std::path::Path;

use bundle::registry::{FORMAT_KEY, HostFile};
use uuid::Uuid;

use crate::running::from_client;
use crate::{DriveInfo, Error, ErrorKind, Library, Machine, Result, files};

impl Library {
    /// Puts a medium into a removable drive. `drive` is its identifier, the beginning of it, or its place in the list of drives counted from 0.
    /// A running machine gets it at once; it stays there over restarts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for a drive or file that is not there, [`crate::ErrorKind::Unsupported`] for a drive whose image is in
    /// the bundle.
    pub async fn insert(&self, machine: &Machine, drive: &str, medium: &Path, read_only: bool) -> Result<()> {
        let (uuid, drive) = self.removable(machine, drive)?;
        let path = files::absolute(medium);
        if let Some(wrong) = wrong_with(&path) {
            let kind = if path.exists() { ErrorKind::Invalid } else { ErrorKind::NotFound };
            return Err(Error::new(kind, wrong));
        }
        rustix::fs::access(&path, rustix::fs::Access::READ_OK)
            .map_err(|errno| Error::io(format!("Cannot read {}", path.display()), errno.into()))?;
        let read_only = read_only || drive.read_only;
        if let Some(client) = self.client(machine).await? {
            // Its supervisor remembers what is in it.
            return client.insert(&drive.id, path, read_only).await.map_err(from_client);
        }
        self.remember_medium(uuid, machine, &drive.id, Some(host_file(&path, read_only)))
    }

    /// Takes the medium out of a removable drive, named as for [`Library::insert`]. Without `force`, a guest that has locked the tray is
    /// respected.
    ///
    /// # Errors
    /// As [`Library::insert`].
    pub async fn eject(&self, machine: &Machine, drive: &str, force: bool) -> Result<()> {
        let (uuid, drive) = self.removable(machine, drive)?;
        if let Some(client) = self.client(machine).await? {
            return client.eject(&drive.id, force).await.map_err(from_client);
        }
        self.remember_medium(uuid, machine, &drive.id, None)
    }

    fn removable(&self, machine: &Machine, drive: &str) -> Result<(Uuid, DriveInfo)> {
        let uuid = self.configuration(machine)?.configuration.uuid();
        let drive = crate::drive::resolve(&self.drives(machine)?, machine, drive)?;
        if drive.removable {
            return Ok((uuid, drive));
        }
        let message = format!("The image of drive {} is in the bundle of \"{}\" and cannot be changed", drive.id, machine.name);
        Err(Error::new(ErrorKind::Unsupported, message).with_hint("Only removable drives take other media"))
    }

    pub(crate) fn remember_medium(&self, uuid: Uuid, machine: &Machine, drive: &str, medium: Option<HostFile>) -> Result<()> {
        let updated = self.registry().update(uuid, &machine.path, |entry| {
            machine.name.clone_into(&mut entry.name);
            match medium {
                Some(medium) => drop(entry.external_drives.insert(drive.to_owned(), medium)),
                None => drop(entry.external_drives.remove(drive)),
            }
        });
        updated.map_err(|error| Error::io(format!("Cannot remember what is in drive {drive} of \"{}\"", machine.name), error))
    }
}

/// A medium as the registry holds it, with the format that it has now: a guest could write another one's header into it.
pub(crate) fn host_file(path: &Path, read_only: bool) -> HostFile {
    let mut file = HostFile::new(path, read_only);
    if let Some(format) = std::fs::File::open(path).ok().filter(holds_bytes).and_then(|file| disk_image::probe(&file).ok()) {
        file.extra.insert(FORMAT_KEY.to_owned(), format.driver().into());
    }
    file
}

fn holds_bytes(file: &std::fs::File) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.metadata().is_ok_and(|data| data.is_file() || data.file_type().is_block_device())
}

/// What is wrong with a medium: it may be a file or a block device, such as an optical drive.
pub(crate) fn wrong_with(path: &Path) -> Option<String> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(path) {
        Ok(data) if data.is_file() || data.file_type().is_block_device() => None,
        Ok(_) => Some(format!("Neither a file nor a block device: {}", path.display())),
        Err(error) => Some(format!("Cannot open: {error}: {}", path.display())),
    }
}
