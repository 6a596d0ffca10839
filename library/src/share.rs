//! The folder that a machine shares with its guest.

use std::path::{Path, PathBuf};

use bundle::qemu::{self, DirectoryShareMode};
use bundle::registry::HostFile;
use bundle::{Configuration, tables};

use crate::{Error, ErrorKind, Library, Machine, Result, files};

/// Where the kernel shows itself as files. What a guest did there would not stay in files.
const KERNEL_FOLDERS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The folder that a machine shares with its guest, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFolder {
    /// The folder, absolute; nothing is shared where there is none.
    pub folder: Option<PathBuf>,
    /// How it reaches the guest.
    pub mode: DirectoryShareMode,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// What the guest mounts, where it reaches it as a file system.
    pub tag: &'static str,
}

/// What is to change; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShareChange {
    /// Another folder, or none at all.
    pub folder: Option<Option<PathBuf>>,
    /// How it reaches the guest. Where it is not given and the machine has no way yet, a file system (`VirtFS`) becomes it.
    pub mode: Option<DirectoryShareMode>,
    /// Whether the guest may only read.
    pub read_only: Option<bool>,
}

impl Library {
    /// What a machine shares.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a machine that cannot share one folder.
    pub fn shared_folder(&self, machine: &Machine) -> Result<SharedFolder> {
        let configuration = self.configuration(machine)?.configuration;
        let qemu = able(&configuration)?;
        let entry = self.registry().read(configuration.uuid(), &machine.path);
        let (entry, _) = entry.map_err(|error| Error::io(format!("Cannot read what \"{}\" shares", machine.name), error))?;
        Ok(SharedFolder {
            folder: entry.shared_directories.into_iter().next().map(|folder| folder.path),
            mode: qemu.sharing.directory_share_mode,
            read_only: qemu.sharing.directory_share_read_only,
            tag: tables::share_tag(&qemu.system.target),
        })
    }

    /// Changes what a machine shares, and returns what it is then. A folder shared over WebDAV can be changed while the machine runs, one
    /// that is a file system of the guest's only while it does not.
    ///
    /// # Errors
    /// [`ErrorKind::WrongState`] where the machine would have to be stopped; [`ErrorKind::NotFound`] for a folder that is not there;
    /// [`ErrorKind::Invalid`] for one that must not be shared; [`ErrorKind::Unsupported`] as [`Library::shared_folder`].
    pub fn share(&self, machine: &Machine, change: ShareChange) -> Result<SharedFolder> {
        let folder = match change.folder {
            Some(Some(folder)) => Some(Some(self.shareable(machine, &folder)?)),
            other => other,
        };
        let before = self.shared_folder(machine)?;
        let wanted = change.mode.unwrap_or(match before.mode {
            DirectoryShareMode::None if matches!(folder, Some(Some(_))) => DirectoryShareMode::VirtFs,
            mode => mode,
        });
        let read_only = change.read_only.unwrap_or(before.read_only);
        let at_once = (wanted, read_only) == (before.mode, before.read_only) && wanted != DirectoryShareMode::VirtFs;
        let _lock = if at_once { None } else { Some(self.lock(machine, "change the shared folder of")?) };
        if !at_once {
            self.edit_locked(machine, |configuration| {
                if let Configuration::Qemu(qemu) = configuration {
                    (qemu.sharing.directory_share_mode, qemu.sharing.directory_share_read_only) = (wanted, read_only);
                }
                Ok(())
            })?;
        }
        let uuid = self.configuration(machine)?.configuration.uuid();
        let updated = self.registry().update(uuid, &machine.path, |entry| {
            machine.name.clone_into(&mut entry.name);
            match folder {
                Some(Some(folder)) => entry.shared_directories = vec![HostFile::new(folder, read_only)],
                Some(None) => entry.shared_directories.clear(),
                None => entry.shared_directories.iter_mut().for_each(|folder| folder.read_only = read_only),
            }
        });
        updated.map_err(|error| Error::io(format!("Cannot remember what \"{}\" shares", machine.name), error))?;
        self.shared_folder(machine)
    }

    /// The folder, absolute and without links, where a guest may be let into it: a guest that reaches bundles could change another machine,
    /// or what its own is started with.
    fn shareable(&self, machine: &Machine, folder: &Path) -> Result<PathBuf> {
        let refused = |kind, why: &str| Error::new(kind, format!("Cannot share {why}: {}", folder.display()));
        let path = folder.canonicalize().map_err(|error| Error::io(format!("Cannot share {}", folder.display()), error))?;
        if !path.is_dir() {
            return Err(refused(ErrorKind::Invalid, "what is no folder").with_hint("Share the folder that the file is in"));
        }
        if path.to_str().is_none() {
            return Err(refused(ErrorKind::Unsupported, "a folder whose path is not UTF-8"));
        }
        if KERNEL_FOLDERS.iter().any(|kernel| path.starts_with(kernel)) {
            return Err(refused(ErrorKind::Invalid, "what is the kernel's"));
        }
        let places = self.places();
        let bundles = self.machines().into_iter().map(|listed| listed.path);
        let ours = [&places.machines, &places.state, &places.cache, &places.runtime, &machine.path].into_iter().cloned().chain(bundles);
        let overlaps = |ours: &PathBuf| path.starts_with(ours) || ours.starts_with(&path);
        match ours.map(|ours| files::absolute(&ours)).find(overlaps) {
            None => Ok(path),
            Some(ours) => Err(refused(ErrorKind::Invalid, "a folder through which the guest would reach machines")
                .with_source(format!("{} is Vivarium's", ours.display()))
                .with_hint("Share a folder that holds only what the guest is to see")),
        }
    }
}

/// The configuration of a machine that can share one folder.
fn able(configuration: &Configuration) -> Result<&qemu::Configuration> {
    let refused = |why: &str| Error::new(ErrorKind::Unsupported, format!("\"{}\" cannot share a folder: {why}", configuration.name()));
    match configuration {
        Configuration::Apple(_) => Err(refused("it is made for Apple's Virtualization framework")
            .with_hint("The folders that it shared on a Mac are kept for when it runs there")),
        Configuration::Qemu(qemu) if tables::capabilities(qemu.system.architecture, &qemu.system.target).directory_sharing => Ok(qemu),
        Configuration::Qemu(qemu) => Err(refused(&format!("machines of the architecture {} have no way to", qemu.system.architecture))),
    }
}
