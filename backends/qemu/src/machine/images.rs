//! Which file is behind each drive, and in which format.
//!
//! An image of the bundle is looked at once, before the machine first runs here; the format is then written into the bundle's
//! `Vivarium/images.json` and believed for good. A guest that writes a qcow2 header into its raw disk therefore still has a raw disk. The
//! same holds for external disks, whose format is kept in the registry's entry by whoever inserts them. CDs are always raw.
//!
//! What is looked at stays open, and that is what QEMU is handed: see [`Files`].

use super::Setup;
use super::files::Files;
use crate::command_line::{Image, Layer};
use beneath::Access;
use bundle::qemu::{Drive, ImageType};
use bundle::registry::{FORMAT_KEY, HostFile};
use bundle::{EFI_VARIABLES_FILE, FileName, Images, TPM_FILE};
use disk_image::{Chain, ChainError, Format, RefusalReason};
use machine::{Error, ErrorKind, Result, Warning, WarningKind};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found.
#[derive(Debug)]
pub struct Resolved {
    /// By drive identifier; a removable drive without an entry is empty.
    pub images: BTreeMap<String, Image>,
    /// The files behind them, and the other files of the bundle that the machine uses.
    pub files: Files,
    /// Media that are gone.
    pub warnings: Vec<Warning>,
}

/// Resolves the images of every drive. A `disposable` run writes to none of them.
///
/// # Errors
/// An image of the bundle that is missing, unreadable or leads elsewhere. A missing external medium is a warning: the drive is empty.
pub fn resolve(setup: &Setup, record: bool, disposable: bool) -> Result<Resolved> {
    let files = Files::of(&setup.bundle)
        .map_err(|error| Error::new(ErrorKind::File, format!("Cannot open the bundle {}", setup.bundle.display())).with_source(error))?;
    let mut resolved = Resolved { images: BTreeMap::new(), files, warnings: Vec::new() };
    open_own_files(setup, &mut resolved.files)?;
    let mut formats = Images::read(&setup.bundle).map_err(|error| {
        Error::new(ErrorKind::File, format!("Cannot tell the formats of the images in {}", setup.bundle.display())).with_source(error)
    })?;
    let mut changed = false;
    for drive in &setup.configuration.drives {
        let is_medium = matches!(drive.image_type, ImageType::Disk | ImageType::Cd);
        match &drive.image_name {
            Some(name) if is_medium => {
                let chain = own_chain(setup, drive, name, &mut formats, &mut changed)?;
                let writable = drive.image_type == ImageType::Disk && !drive.read_only && !disposable;
                let image = own_image(&chain, drive, name, writable, &mut resolved.files)?;
                resolved.images.insert(drive.identifier.clone(), image);
            }
            Some(name) if drive.image_type != ImageType::None => {
                let opened = resolved.files.open(name).map_err(|error| unusable(drive, name, error))?;
                if !opened {
                    return Err(unusable(drive, name, io::Error::from(io::ErrorKind::NotFound)));
                }
            }
            None if is_medium => {
                let Some(medium) = setup.entry.external_drives.get(&drive.identifier) else { continue };
                match medium_of(medium, drive.image_type == ImageType::Cd, !drive.read_only && !disposable) {
                    Ok((image, path, file)) => {
                        resolved.images.insert(drive.identifier.clone(), image);
                        resolved.files.keep(path, file);
                    }
                    Err(error) => {
                        let message = format!("Drive {} is empty: {}", drive.identifier, error.chain());
                        resolved.warnings.push(WarningKind::Medium.says(message));
                    }
                }
            }
            _ => {}
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

fn unusable(drive: &Drive, name: &FileName, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = format!("Cannot use the image {name} of drive {}", drive.identifier);
    let error = Error::new(ErrorKind::File, message).with_source(why);
    // It is there, where it says what to do already.
    if error.hint().is_some() { error } else { error.with_hint("put the file back into the bundle's Data folder, or remove the drive") }
}

/// Files of the bundle that no drive names and the machine writes to: a link in their place would let it write to what the link leads to.
fn open_own_files(setup: &Setup, files: &mut Files) -> Result<()> {
    let qemu = &setup.configuration.qemu;
    let own = [(qemu.uefi_boot, EFI_VARIABLES_FILE), (qemu.tpm_device, TPM_FILE)];
    for (_, name) in own.into_iter().filter(|(used, _)| *used) {
        if let Ok(Err(error)) = FileName::new(name).map(|name| files.open(&name)) {
            return Err(Error::new(ErrorKind::File, format!("Cannot use the file {name} of the machine")).with_source(error));
        }
    }
    Ok(())
}

/// The image with what it is built on. Its format is the recorded one; that of an image without a record is looked at and recorded.
fn own_chain(setup: &Setup, drive: &Drive, name: &FileName, formats: &mut Images, changed: &mut bool) -> Result<Chain> {
    let path = bundle::data_path(&setup.bundle, name).map_err(|error| unusable(drive, name, error))?;
    let recorded =
        formats.format(name).map(str::parse::<Format>).transpose().map_err(|error| {
            Error::new(ErrorKind::File, format!("The recorded format of the image {name} is not known")).with_source(error)
        })?;
    let cd = (drive.image_type == ImageType::Cd).then_some(Format::Raw);
    let chain = Chain::resolve(&path, recorded.or(cd), &setup.bundle).map_err(|error| chain_refused(error, &path))?;
    if recorded.is_none() {
        formats.set_format(name, chain.top().format.driver());
        *changed = true;
    }
    Ok(chain)
}

fn own_image(chain: &Chain, drive: &Drive, name: &FileName, writable: bool, files: &mut Files) -> Result<Image> {
    let mut layers = Vec::new();
    for layer in chain.layers() {
        if !layer.extents.is_empty() {
            // Its driver opens them by the names that the image holds, and takes no descriptors for them.
            let message = format!("The image {name} of drive {} consists of several files, which QEMU cannot be handed", drive.identifier);
            let hint = format!("make it one file: `viv drive convert MACHINE {} --format qcow2`", drive.identifier);
            return Err(Error::new(ErrorKind::File, message).with_hint(hint));
        }
        files.keep(layer.path.clone(), layer.file.clone());
        if let Some(data) = &layer.data {
            files.keep(data.path.clone(), data.file.clone());
        }
        layers.push(Layer {
            path: layer.path.clone(),
            driver: layer.format.driver().to_owned(),
            data_file: layer.data.as_ref().map(|data| data.path.clone()),
            block_device: false,
        });
    }
    if writable {
        let top = chain.top();
        for file in std::iter::once(&top.file).chain(top.data.iter().map(|data| &data.file)) {
            beneath::reopen(file, Access::ReadWrite).map_err(|error| unwritable(name.as_str(), error))?;
        }
    }
    Ok(Image { layers, virtual_size: Some(chain.virtual_size()), read_only: false })
}

/// What is in an external drive, with its path and the file. A medium that was inserted read-only stays that.
fn medium_of(medium: &HostFile, cd: bool, writable: bool) -> Result<(Image, PathBuf, Arc<File>)> {
    let recorded = medium.extra.get(FORMAT_KEY).and_then(|value| value.as_str());
    let (image, path, file) = external_image(&medium.path, cd, recorded)?;
    if writable && !cd && !medium.read_only {
        beneath::reopen(&file, Access::ReadWrite).map_err(|error| unwritable(&medium.path.display().to_string(), error))?;
    }
    Ok((Image { read_only: medium.read_only, ..image }, path, file))
}

/// An image outside the bundle, with its path and the file: one file, never with others behind it, for only it was chosen by a person.
///
/// # Errors
/// Where it cannot be read or needs other files.
pub fn external_image(path: &Path, cd: bool, recorded: Option<&str>) -> Result<(Image, PathBuf, Arc<File>)> {
    let name = path.display().to_string();
    let format = if cd { Some(Format::Raw) } else { recorded.and_then(|recorded| recorded.parse().ok()) };
    let file = open_plain(path).map_err(|error| unreadable(&name, error))?;
    let path = path.canonicalize().map_err(|error| unreadable(&name, error))?;
    let block_device = file.metadata().is_ok_and(|data| data.file_type().is_block_device());
    let chain = Chain::alone(file, &path, format).map_err(|error| chain_refused(error, &path))?;
    let top = chain.top();
    let layer = Layer { block_device, ..Layer::file(&path, top.format.driver()) };
    let image = Image { layers: vec![layer], virtual_size: Some(chain.virtual_size()), read_only: false };
    Ok((image, path, top.file.clone()))
}

fn chain_refused(error: ChainError, path: &Path) -> Error {
    match error {
        // It is the image itself that cannot be opened.
        ChainError { image, mut refused }
            if refused.len() == 1 && refused.first().is_some_and(|first| first.file == image.to_string_lossy()) =>
        {
            let said = refused.pop().map(|first| match first.reason {
                RefusalReason::Open(error) => unreadable(&path.display().to_string(), error),
                reason => Error::new(ErrorKind::File, format!("Cannot use the image {}", path.display())).with_source(reason.to_string()),
            });
            said.unwrap_or_else(|| Error::new(ErrorKind::File, format!("Cannot use the image {}", path.display())))
        }
        error => Error::new(ErrorKind::File, format!("Cannot use the image {}", path.display())).with_source(error),
    }
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

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("Cannot read the image {name}")).with_source(error)
}

fn unwritable(name: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("The guest could not write to its image {name}"))
        .with_source(error)
        .with_hint("make the file writable, mark the drive read-only, or start with --disposable")
}

/// The canonical path of a medium that a person chose, for showing.
pub fn shown(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
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
            sound_by_host: false,
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
