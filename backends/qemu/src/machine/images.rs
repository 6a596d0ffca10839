//! Which file is behind each drive, and in which format.
//!
//! An image of the bundle is looked at once, before the machine first runs here; the format is then written into the bundle's
//! `Vivarium/images.json` and believed for good. A guest that writes a qcow2 header into its raw disk therefore still has a raw disk. The
//! same holds for external disks, whose format is kept in the registry's entry by whoever inserts them. CDs are always raw.

use super::Setup;
use crate::command_line::{Image, Layer, Place};
use bundle::qemu::{Drive, ImageType};
use bundle::registry::FORMAT_KEY;
use bundle::{EFI_VARIABLES_FILE, FileName, Images, TPM_FILE};
use disk_image::{Chain, ChainError, Format};
use machine::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default)]
pub struct Resolved {
    /// By drive identifier; a removable drive without an entry is empty.
    pub images: BTreeMap<String, Image>,
    /// Media that are gone.
    pub warnings: Vec<String>,
}

/// Resolves the images of every drive. A `disposable` run writes to none of them.
///
/// # Errors
/// An image of the bundle that is missing, unreadable or leads elsewhere. A missing external medium is a warning: the drive is empty.
pub fn resolve(setup: &Setup, record: bool, disposable: bool) -> Result<Resolved> {
    check_own_files(setup)?;
    let mut resolved = Resolved::default();
    let mut formats = Images::read(&setup.bundle).map_err(|error| {
        Error::new(ErrorKind::File, format!("Cannot tell the formats of the images in {}", setup.bundle.display())).with_source(error)
    })?;
    let mut changed = false;
    for drive in &setup.configuration.drives {
        match &drive.image_name {
            Some(name) => {
                let path = bundle::data_path(&setup.bundle, name).map_err(|error| {
                    Error::new(ErrorKind::File, format!("Cannot use the image {name} of drive {}", drive.identifier))
                        .with_source(error)
                        .with_hint("put the file back into the bundle's Data folder, or remove the drive")
                })?;
                if !matches!(drive.image_type, ImageType::Disk | ImageType::Cd) {
                    continue;
                }
                let format = own_format(drive, name, &path, &mut formats, &mut changed)?;
                let writable = drive.image_type == ImageType::Disk && !drive.read_only && !disposable;
                check_access(&path, writable, name.as_str())?;
                resolved.images.insert(drive.identifier.clone(), own_image(&path, format, &setup.bundle)?);
            }
            None if matches!(drive.image_type, ImageType::Disk | ImageType::Cd) => {
                let Some(medium) = setup.entry.external_drives.get(&drive.identifier) else { continue };
                let recorded = medium.extra.get(FORMAT_KEY).and_then(|value| value.as_str());
                match external_image(&medium.path, drive.image_type == ImageType::Cd, recorded) {
                    Ok(image) => {
                        resolved.images.insert(drive.identifier.clone(), image);
                    }
                    Err(error) => {
                        resolved.warnings.push(format!("Drive {} is empty: {}", drive.identifier, error.chain()));
                    }
                }
            }
            None => {}
        }
    }
    if changed && record {
        // A bundle that cannot be written to cannot be changed by its guest either: what is not recorded is looked at again.
        if let Err(error) = formats.write(&setup.bundle) {
            tracing::warn!(%error, "Cannot record the formats of the images");
        }
    }
    Ok(resolved)
}

/// Files of the bundle that no drive names and the machine writes to: a link in their place would let it write to what the link leads to.
fn check_own_files(setup: &Setup) -> Result<()> {
    let qemu = &setup.configuration.qemu;
    for (used, name) in [(qemu.uefi_boot, EFI_VARIABLES_FILE), (qemu.tpm_device, TPM_FILE)] {
        let checked = FileName::new(name).map(|name| bundle::data_path(&setup.bundle, &name).map(drop));
        if let (true, Ok(Err(error))) = (used, checked) {
            return Err(Error::new(ErrorKind::File, format!("Cannot use the file {name} of the machine")).with_source(error));
        }
    }
    Ok(())
}

fn own_format(drive: &Drive, name: &FileName, path: &Path, formats: &mut Images, changed: &mut bool) -> Result<Format> {
    if let Some(recorded) = formats.format(name) {
        return recorded.parse().map_err(|error| {
            Error::new(ErrorKind::File, format!("The recorded format of the image {name} is not known")).with_source(error)
        });
    }
    let format = if drive.image_type == ImageType::Cd { Format::Raw } else { look(path, name.as_str())? };
    formats.set_format(name, format.driver());
    *changed = true;
    Ok(format)
}

fn own_image(path: &Path, format: Format, bundle: &Path) -> Result<Image> {
    let chain = Chain::resolve(path, format, bundle).map_err(|error| chain_refused(error, path))?;
    let mut layers = Vec::new();
    for layer in chain.layers() {
        layers.push(Layer {
            path: layer.path.clone(),
            driver: layer.format.driver().to_owned(),
            place: Place::Bundle,
            block_device: is_block_device(&layer.path),
        });
    }
    Ok(Image { layers, virtual_size: Some(chain.virtual_size()) })
}

/// An image outside the bundle: one file, never with others behind it, for only it was chosen by a person.
///
/// # Errors
/// Where it cannot be read or needs other files.
pub fn external_image(path: &Path, cd: bool, recorded: Option<&str>) -> Result<Image> {
    let name = path.display().to_string();
    let format = match recorded.and_then(|recorded| recorded.parse().ok()) {
        _ if cd => Format::Raw,
        Some(format) => format,
        None => look(path, &name)?,
    };
    check_access(path, false, &name)?;
    let path = path.canonicalize().map_err(|error| unreadable(&name, error))?;
    let block_device = is_block_device(&path);
    let mut virtual_size = None;
    if !block_device {
        let root = path.parent().unwrap_or(&path).to_path_buf();
        let chain = Chain::resolve(&path, format, &root).map_err(|error| chain_refused(error, &path))?;
        if chain.files().count() > 1 {
            return Err(Error::new(ErrorKind::File, format!("The image consists of several files, of which only one was chosen: {name}"))
                .with_hint("import the image into a machine, or convert it to a single file: qemu-img convert -O qcow2"));
        }
        virtual_size = Some(chain.virtual_size());
    }
    let layer = Layer { path, driver: format.driver().to_owned(), place: Place::External, block_device };
    Ok(Image { layers: vec![layer], virtual_size })
}

fn chain_refused(error: ChainError, path: &Path) -> Error {
    Error::new(ErrorKind::File, format!("Cannot use the image {}", path.display())).with_source(error)
}

fn look(path: &Path, name: &str) -> Result<Format> {
    let file = open_plain(path).map_err(|error| unreadable(name, error))?;
    disk_image::probe(&file).map_err(|error| unreadable(name, error))
}

/// Opens what should be a file or block device; a FIFO must not make us wait for a writer.
fn open_plain(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_block_device() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a block device"))
    }
}

fn check_access(path: &Path, writable: bool, name: &str) -> Result<()> {
    open_plain(path).map_err(|error| unreadable(name, error))?;
    if writable {
        OpenOptions::new().write(true).open(path).map_err(|error| {
            Error::new(ErrorKind::File, format!("The guest could not write to its image {name}"))
                .with_source(error)
                .with_hint("make the file writable, mark the drive read-only, or start with --disposable")
        })?;
    }
    Ok(())
}

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("Cannot read the image {name}")).with_source(error)
}

fn is_block_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.file_type().is_block_device())
}

/// The canonical path of a medium that a person chose, for showing.
pub fn shown(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The format of a medium that a person inserts, for remembering it.
pub fn format_of(file: &File) -> Option<&'static str> {
    disk_image::probe(file).ok().map(Format::driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_place_of_what_the_machine_writes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("a.utm");
        std::fs::create_dir_all(bundle.join("Data")).unwrap();
        std::fs::write(folder.path().join("precious"), "").unwrap();
        let mut configuration = bundle::qemu::Configuration::default();
        (configuration.qemu.uefi_boot, configuration.qemu.tpm_device) = (true, true);
        let nowhere = PathBuf::new();
        let setup = Setup {
            bundle: bundle.clone(),
            configuration,
            entry: bundle::registry::Entry::default(),
            runtime: nowhere.clone(),
            logs: nowhere.clone(),
            scratch: nowhere.clone(),
            cache: nowhere,
            directories: Vec::new(),
        };
        assert!(resolve(&setup, false, false).is_ok());
        for name in [EFI_VARIABLES_FILE, TPM_FILE] {
            for target in ["../../precious", "../../missing"] {
                std::os::unix::fs::symlink(target, bundle.join("Data").join(name)).unwrap();
                assert!(resolve(&setup, false, false).unwrap_err().to_string().contains(name));
                std::fs::remove_file(bundle.join("Data").join(name)).unwrap();
            }
        }
        std::fs::remove_dir(bundle.join("Data")).unwrap();
        std::os::unix::fs::symlink("..", bundle.join("Data")).unwrap();
        assert!(resolve(&setup, false, false).is_err());
    }
}
