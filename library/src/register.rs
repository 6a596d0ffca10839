//! Bundles that are listed where they are.

use std::path::Path;

use bundle::legacy;

use crate::machine::Condition;
use crate::{Error, ErrorKind, Library, Machine, Made, Result, registered, scan};

impl Library {
    /// Lists a bundle that lies elsewhere. It is not touched: a UUID that another machine has is reported, not replaced.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Invalid`] where it is no bundle.
    pub fn register(&self, path: &Path) -> Result<Made> {
        let path = self.bundle_path(path);
        let machine = self.machine_at(&path)?;
        if !scan::is_bundle_name(&path) {
            return Err(Error::new(ErrorKind::Invalid, format!("Not a bundle: {}", path.display()))
                .with_hint("A bundle is a folder whose name ends in .utm"));
        }
        if matches!(&machine.condition, Condition::Broken(_)) {
            machine.usable()?;
        }
        let mut notes = import_notes(&machine)?;
        let inside = path.parent() == Some(self.places().machines.as_path());
        if inside {
            notes.push("It lies in the library's own folder and is listed anyway".to_owned());
        } else {
            registered::add(self.places(), &path, &machine.name, machine.uuid)?;
        }
        let machine = self.machines().into_iter().find(|listed| listed.path == path).unwrap_or(machine);
        if let Some(other) = &machine.duplicate_of {
            notes.push(format!("It has the same UUID as {}: clone one of them to get one of its own", other.display()));
        }
        Ok(Made { machine, notes })
    }

    /// Forgets a registered bundle, and does nothing to it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for one in the library's own folder.
    pub fn unregister(&self, machine: &Machine) -> Result<()> {
        if machine.path.parent() == Some(self.places().machines.as_path()) {
            let message = format!("\"{}\" lies in the library's own folder and cannot be taken from the list", machine.name);
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint("Delete it, or move it elsewhere first"));
        }
        if !machine.registered {
            return Err(Error::new(ErrorKind::NotFound, format!("\"{}\" is not registered", machine.name)));
        }
        registered::remove(self.places(), &machine.path)
    }
}

/// What a person should know about a machine that comes from elsewhere.
pub(crate) fn import_notes(machine: &Machine) -> Result<Vec<String>> {
    let bundle = crate::edit::open(machine)?;
    let mut notes: Vec<String> = Vec::new();
    if let Some(qemu) = bundle.configuration.as_qemu()
        && !qemu.qemu.additional_arguments.is_empty()
    {
        notes.push(format!(
            "It brings arguments of its own for QEMU; but for a kernel's command line they are left out until you have looked at them and \
             said `viv config trust`: {}",
            qemu.qemu.additional_arguments.join(" ")
        ));
    }
    notes.extend(legacy::read_view_state(&machine.path).into_iter().flat_map(|state| state.notes()));
    notes.extend(bundle.check_files().into_iter().map(|problem| problem.to_string()));
    Ok(notes)
}
