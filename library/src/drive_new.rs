//! A drive that is to be added, to a machine that is there or is being made.

use std::path::{Path, PathBuf};

use bundle::qemu::{Drive, DriveInterface, ImageType};
use bundle::{Configuration, FileName, apple, random_identifier, tables};
use disk_image::Format;

use crate::{
    BootFileKind, DiskFormat, DiskSpec, DriveSpec, Error, ErrorKind, Job, Library, RemovableKind, Result, files, images, media, transfer,
};

/// A change of a configuration.
type Apply = dyn Fn(&mut Configuration) -> Result<()> + Send + Sync;

/// What has to be done for a new drive.
pub(crate) struct NewDrive {
    /// Its identifier.
    pub id: String,
    /// What goes into `Data/`.
    pub file: Option<NewFile>,
    /// What is in it at first, from outside.
    pub medium: Option<PathBuf>,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Enters it into the configuration.
    pub apply: Box<Apply>,
}

/// A file of `Data/` that is to be made.
pub(crate) struct NewFile {
    pub name: FileName,
    /// The format to record; none for what is not a disk.
    pub format: Option<Format>,
    what: What,
}

enum What {
    Disk(DiskSpec),
    Copy(PathBuf),
}

/// Plans a drive for a machine with this configuration; `data` is where names must be free.
pub(crate) fn plan(configuration: &Configuration, spec: DriveSpec, data: &Path) -> Result<NewDrive> {
    let id = random_identifier();
    match spec {
        DriveSpec::Disk(spec) => plan_disk(configuration, spec, id),
        DriveSpec::Removable { kind, medium, interface } => plan_removable(configuration, kind, medium, interface, id),
        DriveSpec::BootFile { kind, source } => plan_boot_file(configuration, kind, &source, data, id),
    }
}

fn plan_disk(configuration: &Configuration, spec: DiskSpec, id: String) -> Result<NewDrive> {
    if let Some(wrong) = images::wrong_with(&spec) {
        return Err(Error::new(ErrorKind::Invalid, wrong));
    }
    let native = configuration.as_apple().is_some();
    let format = match spec.format {
        Some(DiskFormat::Qcow2) if native => {
            return Err(Error::new(ErrorKind::Unsupported, "Machines of the native backend have raw disks only"));
        }
        Some(format) => format,
        None if native => DiskFormat::Raw,
        None => DiskFormat::Qcow2,
    }
    .format();
    let name = file_name(&format!("{id}.{}", format.extension()))?;
    let read_only = spec.read_only;
    let interface = spec.interface;
    let nvme = match (native, interface) {
        (true, Some(DriveInterface::Nvme)) => true,
        (true, None | Some(DriveInterface::VirtIo)) | (false, _) => false,
        (true, Some(_)) => return Err(Error::new(ErrorKind::Unsupported, "The native backend has VirtIO and NVMe disks only")),
    };
    let (drive_id, image) = (id.clone(), name.clone());
    let apply = move |configuration: &mut Configuration| {
        match configuration {
            Configuration::Qemu(qemu) => {
                let system = &qemu.system;
                let usual = || tables::default_drive_interface(system.architecture, &system.target, ImageType::Disk);
                qemu.drives.push(Drive {
                    image_name: Some(image.clone()),
                    image_type: ImageType::Disk,
                    interface: interface.unwrap_or_else(usual),
                    identifier: drive_id.clone(),
                    read_only,
                    ..Drive::default()
                });
            }
            Configuration::Apple(apple) => apple.drives.push(apple::Drive {
                image_name: Some(image.clone()),
                read_only,
                nvme,
                identifier: drive_id.clone(),
                ..apple::Drive::default()
            }),
        }
        Ok(())
    };
    let file = NewFile { name, format: Some(format), what: What::Disk(spec) };
    Ok(NewDrive { id, file: Some(file), medium: None, read_only, apply: Box::new(apply) })
}

fn plan_removable(
    configuration: &Configuration,
    kind: RemovableKind,
    medium: Option<PathBuf>,
    interface: Option<DriveInterface>,
    id: String,
) -> Result<NewDrive> {
    if configuration.as_apple().is_some() && kind == RemovableKind::Floppy {
        return Err(Error::new(ErrorKind::Unsupported, "The native backend has no floppy drives"));
    }
    let medium = medium.map(|path| files::absolute(&path));
    if let Some(path) = &medium
        && let Some(wrong) = media::wrong_with(path)
    {
        return Err(Error::new(if path.exists() { ErrorKind::Invalid } else { ErrorKind::NotFound }, wrong));
    }
    let read_only = kind == RemovableKind::Cd;
    let drive_id = id.clone();
    let apply = move |configuration: &mut Configuration| {
        match configuration {
            Configuration::Qemu(qemu) => {
                let image_type = if kind == RemovableKind::Cd { ImageType::Cd } else { ImageType::Disk };
                let system = &qemu.system;
                let usual = || match kind {
                    RemovableKind::Floppy => DriveInterface::Floppy,
                    RemovableKind::Cd | RemovableKind::Disk => {
                        tables::default_drive_interface(system.architecture, &system.target, image_type)
                    }
                };
                qemu.drives.push(Drive {
                    image_name: None,
                    image_type,
                    interface: interface.unwrap_or_else(usual),
                    identifier: drive_id.clone(),
                    read_only,
                    ..Drive::default()
                });
            }
            Configuration::Apple(apple) => {
                apple.drives.push(apple::Drive { image_name: None, read_only, identifier: drive_id.clone(), ..apple::Drive::default() });
            }
        }
        Ok(())
    };
    Ok(NewDrive { id, file: None, medium, read_only, apply: Box::new(apply) })
}

fn plan_boot_file(configuration: &Configuration, kind: BootFileKind, source: &Path, data: &Path, id: String) -> Result<NewDrive> {
    let failed = |error| Error::io(format!("Cannot open {}", source.display()), error);
    if !std::fs::metadata(source).map_err(failed)?.is_file() {
        return Err(Error::new(ErrorKind::Invalid, format!("Not a file: {}", source.display())));
    }
    if configuration.as_apple().is_some() && !matches!(kind, BootFileKind::Kernel | BootFileKind::Initrd) {
        return Err(Error::new(ErrorKind::Unsupported, "The native backend boots with a kernel and its RAM disk, or UEFI"));
    }
    let wanted = source.file_name().and_then(|name| name.to_str()).filter(|name| FileName::new(name).is_ok() && !name.starts_with('.'));
    let name = file_name(&files::free_name(data, wanted.unwrap_or("boot")))?;
    let (drive_id, image) = (id.clone(), name.clone());
    let apply = move |configuration: &mut Configuration| {
        match configuration {
            Configuration::Qemu(qemu) => qemu.drives.push(Drive {
                image_name: Some(image.clone()),
                image_type: match kind {
                    BootFileKind::Bios => ImageType::Bios,
                    BootFileKind::Kernel => ImageType::LinuxKernel,
                    BootFileKind::Initrd => ImageType::LinuxInitrd,
                    BootFileKind::Dtb => ImageType::LinuxDtb,
                },
                interface: DriveInterface::None,
                identifier: drive_id.clone(),
                read_only: true,
                ..Drive::default()
            }),
            Configuration::Apple(apple) => match kind {
                BootFileKind::Initrd => apple.system.boot.linux_initial_ramdisk_path = Some(image.clone()),
                _ => apple.system.boot.linux_kernel_path = Some(image.clone()),
            },
        }
        Ok(())
    };
    let file = NewFile { name, format: None, what: What::Copy(source.to_path_buf()) };
    Ok(NewDrive { id, file: Some(file), medium: None, read_only: true, apply: Box::new(apply) })
}

/// Makes a planned file in `data`.
pub(crate) async fn make(library: &Library, file: &NewFile, data: &Path, job: &Job) -> Result<()> {
    let target = data.join(file.name.as_str());
    match &file.what {
        What::Disk(spec) => images::place_disk(library, &target, spec, file.format.unwrap_or(Format::Raw), job).await,
        What::Copy(source) => {
            files::ensure_space(data, files::allocated(source))?;
            let (source, job, name) = (source.clone(), job.clone(), file.name.clone());
            crate::library::blocking(move || {
                transfer::copy_file(&source, &target, &job, |done, total| job.report(format!("Copying {name}"), done, Some(total)))
            })
            .await
        }
    }
}

fn file_name(name: &str) -> Result<FileName> {
    FileName::new(name).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))
}
