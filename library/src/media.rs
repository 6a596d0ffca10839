//! What is in the removable drives.

use std::path::Path;

use bundle::registry::HostFile;
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
        match std::fs::metadata(&path) {
            Ok(data) if data.is_dir() => {
                return Err(Error::new(ErrorKind::Invalid, format!("A folder cannot be inserted: {}", path.display())));
            }
            Ok(_) => {}
            Err(error) => return Err(Error::io(format!("Cannot open {}", path.display()), error)),
        }
        let read_only = read_only || drive.read_only;
        if let Some(client) = self.client(machine).await? {
            client.insert(&drive.id, path.clone(), read_only).await.map_err(from_client)?;
        }
        self.remember_medium(uuid, machine, &drive.id, Some(HostFile::new(path, read_only)))
    }

    /// Takes the medium out of a removable drive, named as for [`Library::insert`]. Without `force`, a guest that has locked the tray is
    /// respected.
    ///
    /// # Errors
    /// As [`Library::insert`].
    pub async fn eject(&self, machine: &Machine, drive: &str, force: bool) -> Result<()> {
        let (uuid, drive) = self.removable(machine, drive)?;
        if let Some(client) = self.client(machine).await? {
            client.eject(&drive.id, force).await.map_err(from_client)?;
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

    /// A supervisor that writes the same finds it already there.
    pub(crate) fn remember_medium(&self, uuid: Uuid, machine: &Machine, drive: &str, medium: Option<HostFile>) -> Result<()> {
        let updated = self.registry().update(uuid, |entry| {
            machine.name.clone_into(&mut entry.name);
            entry.package = Some(HostFile::new(&machine.path, false));
            match medium {
                Some(medium) => drop(entry.external_drives.insert(drive.to_owned(), medium)),
                None => drop(entry.external_drives.remove(drive)),
            }
        });
        updated.map_err(|error| Error::io(format!("Cannot remember what is in drive {drive} of \"{}\"", machine.name), error))
    }
}
