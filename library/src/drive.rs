//! The drives of a machine: listed, added, removed, resized, converted, checked.

use crate::library::unfinished;
use crate::{CheckReport, DiskFormat, DriveInfo, DriveSpec, ImageFate, Job, Library, Machine, Result};

/// A drive is named by its identifier, the beginning of it, or its place in the list counted from 0. Everything that changes refuses while the
/// machine runs.
impl Library {
    /// The drives, in the order in which they are tried for booting.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] where the configuration cannot be read.
    pub fn drives(&self, machine: &Machine) -> Result<Vec<DriveInfo>> {
        Err(unfinished(&machine.path))
    }

    /// Adds a drive at the end. Returns its identifier.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drive_add(&self, machine: &Machine, spec: DriveSpec, job: &Job) -> Result<String> {
        let _ = (spec, job);
        Err(unfinished(&machine.path))
    }

    /// Removes a drive, and its image as `fate` says. An image that another drive uses as well, and media outside the bundle, stay.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the file system has no trash, and then nothing was removed.
    pub async fn drive_remove(&self, machine: &Machine, drive: &str, fate: ImageFate) -> Result<()> {
        let _ = (drive, fate);
        Err(unfinished(&machine.path))
    }

    /// Enlarges a disk to `size` bytes. The guest still has to enlarge its partitions.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a smaller size: what is at the end would be lost.
    pub async fn drive_resize(&self, machine: &Machine, drive: &str, size: u64, job: &Job) -> Result<()> {
        let _ = (drive, size, job);
        Err(unfinished(&machine.path))
    }

    /// Rewrites a disk in a format, which also gives back the space of what the guest has discarded; `compress` packs qcow2. The copy is
    /// compared with the original before it takes its place.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drive_convert(&self, machine: &Machine, drive: &str, format: DiskFormat, compress: bool, job: &Job) -> Result<()> {
        let _ = (drive, format, compress, job);
        Err(unfinished(&machine.path))
    }

    /// Looks for errors in a disk's metadata, and repairs what can be with `repair`, on a copy that then takes its place.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drive_check(&self, machine: &Machine, drive: &str, repair: bool, job: &Job) -> Result<CheckReport> {
        let _ = (drive, repair, job);
        Err(unfinished(&machine.path))
    }
}
