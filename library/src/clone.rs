//! Making a second machine like the first.

use std::path::Path;

use bundle::{Configuration, DATA_FOLDER, DEBUG_LOG_FILE, Origin, bundle_file_name, random_mac_address};
use uuid::Uuid;

use crate::edit::{from_save, open, open_at};
use crate::staging::Part;
use crate::{Error, Job, Library, Machine, Made, Result, files, transfer};

impl Library {
    /// Copies a machine under another name, `Base 2` where none is given, with a UUID and MAC addresses of its own. Where the file system can
    /// share blocks between files it takes no time and no space.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs, [`crate::ErrorKind::NoSpace`].
    pub async fn clone_machine(&self, machine: &Machine, name: Option<&str>, job: &Job) -> Result<Made> {
        let (machine, name, job) = (machine.clone(), name.map(str::to_owned), job.clone());
        self.work(move |library| library.clone_now(&machine, name, &job)).await
    }

    fn clone_now(&self, machine: &Machine, name: Option<String>, job: &Job) -> Result<Made> {
        // Read before anything is locked or made: a broken one is refused at once.
        open(machine)?;
        let name = match name {
            Some(name) => {
                self.check_name(&name)?;
                name
            }
            None => self.free_name(&machine.name),
        };
        let _lock = self.lock(machine, "clone")?;
        let part = Part::folder(self.places(), &self.places().machines, &bundle_file_name(&name))?;
        transfer::copy_bundle(&machine.path, part.path(), job)?;
        // Of the original's runs, not of the copy's.
        let log = part.path().join(DATA_FOLDER).join(DEBUG_LOG_FILE);
        files::remove(&log).map_err(|error| Error::io(format!("Cannot remove {}", log.display()), error))?;
        forget_generation(part.path())?;
        configure(part.path(), &machine.name, |configuration| {
            name.clone_into(&mut configuration.information_mut().name);
            new_identity(configuration);
        })?;
        job.check()?;
        let made = self.publish(part, &name, Vec::new())?;
        self.trust_as_in(machine, &made.machine)?;
        Ok(made)
    }

    /// Gives a new bundle its place in the library.
    pub(crate) fn publish(&self, part: Part, name: &str, notes: Vec<String>) -> Result<Made> {
        let destination = self.places().machines.join(bundle_file_name(name));
        let published = part.publish(&destination)?;
        self.forget_runs(&self.again(&destination).id);
        drop(published);
        Ok(Made { machine: self.again(&destination), notes })
    }
}

/// Makes guests see that a copy is one.
pub(crate) fn forget_generation(copy: &Path) -> Result<()> {
    bundle::forget_generation(copy)
        .map_err(|error| Error::io(format!("Cannot make a machine of its own of the copy in {}", copy.display()), error))
}

/// Changes the configuration of a bundle that is being made. One that is not changed stays as it is, to the byte, unless it is of an old
/// format.
pub(crate) fn configure(path: &Path, name: &str, change: impl FnOnce(&mut Configuration)) -> Result<()> {
    let mut bundle = open_at(path, name)?;
    let before = bundle.configuration.clone();
    change(&mut bundle.configuration);
    if bundle.configuration == before && bundle.origin() == Origin::V4 {
        return Ok(());
    }
    bundle.save().map_err(|error| from_save(error, name))
}

/// Makes it a machine of its own to guests, networks and this host. Drive identifiers stay: guests name their disks by them.
pub(crate) fn new_identity(configuration: &mut Configuration) {
    configuration.information_mut().uuid = Uuid::new_v4();
    match configuration {
        Configuration::Qemu(qemu) => {
            for network in &mut qemu.networks {
                network.mac_address = random_mac_address();
            }
        }
        Configuration::Apple(apple) => {
            for network in &mut apple.networks {
                network.mac_address = random_mac_address().to_lowercase();
            }
            if let Some(platform) = &mut apple.system.generic_platform {
                platform.machine_identifier = None;
            }
        }
    }
}
