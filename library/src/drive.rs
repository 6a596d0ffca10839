//! The drives of a machine: listed, added, removed, resized, converted, checked.

use std::fs;
use std::path::{Path, PathBuf};

use bundle::{Bundle, Configuration, DATA_FOLDER, FileName, Origin};
use disk_image::{Convert, Repair};

use crate::delete::to_trash;
use crate::edit::{from_save, open, refuse};
use crate::{
    CheckReport, DiskFormat, DriveInfo, DriveSpec, Error, ErrorKind, ImageFate, Job, Library, Machine, Result, drive_new, files, images,
    media, transfer, unfinished,
};

/// A drive is named by its identifier, the beginning of it, or its place in the list counted from 0. Everything that changes refuses while the
/// machine runs.
impl Library {
    /// The drives, in the order in which they are tried for booting.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] where the configuration cannot be read.
    pub fn drives(&self, machine: &Machine) -> Result<Vec<DriveInfo>> {
        let bundle = open(machine)?;
        let (entry, _) = self.registry().read(bundle.configuration.uuid(), &machine.path).unwrap_or_default();
        let mut drives = listed(&bundle.configuration);
        for (drive, image) in &mut drives {
            match image {
                Some(name) => look_inside(drive, &bundle, name),
                None => {
                    drive.path = entry.external_drives.get(&drive.id).map(|file| file.path.clone());
                    look_outside(drive);
                }
            }
        }
        Ok(drives.into_iter().map(|(drive, _)| drive).collect())
    }

    /// Adds a drive at the end. Returns its identifier.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drive_add(&self, machine: &Machine, spec: DriveSpec, job: &Job) -> Result<String> {
        let _lock = self.lock(machine, "change")?;
        let bundle = open_to_change(machine)?;
        let data = data_folder(&bundle)?;
        let new = drive_new::plan(&bundle.configuration, spec, &data)?;
        let _note = new.file.as_ref().map(|file| unfinished::Note::write(&data, &[&file.name])).transpose()?;
        if let Some(file) = &new.file {
            drive_new::make(self, file, &data, job).await?;
        }
        let added = (|| {
            job.check()?;
            if let Some(file) = &new.file
                && let Some(format) = file.format
            {
                images::record(bundle.path(), |images| images.set_format(&file.name, format.driver()))?;
            }
            if let Some(medium) = &new.medium {
                self.remember_medium(bundle.configuration.uuid(), machine, &new.id, Some(media::host_file(medium, new.read_only)))?;
            }
            let (outcome, _) = self.edit_locked(machine, |configuration| (new.apply)(configuration))?;
            Ok(outcome)
        })();
        if added.is_err()
            && let Some(file) = &new.file
        {
            let _ = files::remove(&data.join(file.name.as_str()));
            let _ = images::record(bundle.path(), |images| drop(images.remove(&file.name)));
        }
        added.map(|()| new.id)
    }

    /// Removes a drive, and its image as `fate` says. An image that another drive uses as well or is built on, and media outside the bundle,
    /// stay.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the file system has no trash, and then nothing was removed.
    pub async fn drive_remove(&self, machine: &Machine, drive: &str, fate: ImageFate) -> Result<()> {
        let (machine, drive) = (machine.clone(), drive.to_owned());
        self.work(move |library| library.drive_remove_now(&machine, &drive, fate)).await
    }

    fn drive_remove_now(&self, machine: &Machine, drive: &str, fate: ImageFate) -> Result<()> {
        let _lock = self.lock(machine, "change")?;
        let bundle = open_to_change(machine)?;
        let before = bundle.configuration.clone();
        let (drive, image) = one(&bundle.configuration, machine, drive)?;
        let path = image.as_ref().map(|name| bundle.data_path(name)).transpose().map_err(|error| refuse("Cannot use the image", error))?;
        let (_, _) = self.edit_locked(machine, |configuration| {
            match configuration {
                Configuration::Qemu(qemu) => qemu.drives.retain(|other| other.identifier != drive.id),
                Configuration::Apple(apple) => apple.drives.retain(|other| other.identifier != drive.id),
            }
            Ok(())
        })?;
        // The configuration went first: an image that nobody names harms nothing, a name without image does.
        if let (Some(name), Some(path)) = (image, path) {
            let used = is_used(&open(machine)?, &name, &path);
            if !used && path.exists() {
                let removed = match fate {
                    ImageFate::Trash => to_trash(&path),
                    ImageFate::Delete => {
                        files::remove(&path).map_err(|error| Error::io(format!("Cannot delete {}", path.display()), error))
                    }
                };
                if let Err(error) = removed {
                    self.edit_locked(machine, |configuration| {
                        *configuration = before;
                        Ok(())
                    })?;
                    return Err(error);
                }
                images::record(bundle.path(), |images| drop(images.remove(&name)))?;
            }
        }
        self.remember_medium(bundle.configuration.uuid(), machine, &drive.id, None)
    }

    /// Enlarges a disk to `size` bytes. The guest still has to enlarge its partitions.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a smaller size: what is at the end would be lost.
    pub async fn drive_resize(&self, machine: &Machine, drive: &str, size: u64, job: &Job) -> Result<()> {
        let _lock = self.lock(machine, "change")?;
        let bundle = open(machine)?;
        let (drive, name) = disk(&bundle.configuration, machine, drive)?;
        let chain = images::of_bundle(&bundle, &name)?;
        if let Some(wrong) = images::wrong_with(&crate::DiskSpec::of_size(size)) {
            return Err(Error::new(ErrorKind::Invalid, wrong));
        }
        if size < chain.virtual_size() {
            let message = format!("Drive {} has {}; a disk can only be made larger", drive.id, files::human(chain.virtual_size()));
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint("What is at its end would be lost"));
        }
        images::enlarge(self, &chain, size, job).await
    }

    /// Rewrites a disk in a format, which also gives back the space of what the guest has discarded; `compress` packs qcow2. The copy is
    /// compared with the original before it takes its place.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drive_convert(&self, machine: &Machine, drive: &str, format: DiskFormat, compress: bool, job: &Job) -> Result<()> {
        let _lock = self.lock(machine, "change")?;
        let bundle = open_to_change(machine)?;
        let (drive, name) = disk(&bundle.configuration, machine, drive)?;
        if bundle.configuration.as_apple().is_some() && format != DiskFormat::Raw {
            return Err(Error::new(ErrorKind::Unsupported, "Machines of the native backend have raw disks only"));
        }
        if compress && format != DiskFormat::Qcow2 {
            return Err(Error::new(ErrorKind::Invalid, "Only qcow2 can be compressed"));
        }
        let chain = images::of_bundle(&bundle, &name)?;
        if chain.top().header.snapshots > 0 {
            let message = format!("Drive {} holds snapshots, which a conversion would lose", drive.id);
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint("Delete the snapshots first with `qemu-img snapshot -d`"));
        }
        let data = data_folder(&bundle)?;
        // Packing and discarding may need as much again as what is there; the original goes only at the end.
        files::ensure_space(&data, chain.files().map(files::allocated).sum())?;
        let format = format.format();
        let what = format!("Converting {name}");
        let convert = Convert { format, compress, replace: false };
        let old = data.join(name.as_str());
        if chain.top().format.driver() == format.driver() && chain.top().path == files::absolute(&old) {
            return images::convert(self, &chain, &old, Convert { replace: true, ..convert }, &what, job).await;
        }
        let stem = name.as_str().rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let new = files::free_name(&data, &format!("{stem}.{}", format.extension()));
        let new = FileName::new(&new).map_err(|error| refuse("Cannot name the image", error))?;
        // Whichever of the two no drive uses in the end is not needed, also where this process dies.
        let _note = unfinished::Note::write(&data, &[&name, &new])?;
        images::convert(self, &chain, &data.join(new.as_str()), convert, &what, job).await?;
        images::record(bundle.path(), |images| images.set_format(&new, format.driver()))?;
        let renamed = self.edit_locked(machine, |configuration| {
            set_image(configuration, &name, &new);
            Ok(())
        });
        if let Err(error) = renamed {
            let _ = files::remove(&data.join(new.as_str()));
            return Err(error);
        }
        if is_below(&open(machine)?, &name, &chain.top().path) {
            return Ok(());
        }
        images::record(bundle.path(), |images| drop(images.remove(&name)))?;
        files::remove(&chain.top().path).map_err(|error| Error::io(format!("Cannot remove the old image {}", old.display()), error))
    }

    /// Looks for errors in a disk's metadata, and repairs what can be with `repair`, on a copy that then takes its place. Where more than
    /// leaks was repaired the original stays beside it, because the result of such a repair has to be looked at by the guest.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn drive_check(&self, machine: &Machine, drive: &str, repair: bool, job: &Job) -> Result<CheckReport> {
        let _lock = self.lock(machine, "check a drive of")?;
        let bundle = if repair { open_to_change(machine)? } else { open(machine)? };
        let (_, name) = disk(&bundle.configuration, machine, drive)?;
        let chain = images::of_bundle(&bundle, &name)?;
        if !chain.top().format.can_check() {
            return Ok(CheckReport::default());
        }
        job.report(format!("Checking {name}"), 0, None);
        let qemu_img = self.qemu_img()?;
        let found = images::cancellable(job, qemu_img.check(&chain, None)).await?;
        let report = |report: disk_image::CheckReport| CheckReport {
            checkable: true,
            corruptions: report.corruptions,
            leaks: report.leaks,
            repaired: report.corruptions_fixed.saturating_add(report.leaks_fixed),
            original: None,
        };
        let how = if found.is_sound() { Repair::Leaks } else { Repair::All };
        let before = report(found);
        if !repair || before.is_clean() {
            return Ok(before);
        }
        let data = data_folder(&bundle)?;
        let folder = unfinished::folder(&data)?;
        let image = &chain.top().path;
        files::ensure_space(&data, files::allocated(image))?;
        let copy = folder.path().join(name.as_str());
        let (from, to, copying) = (image.clone(), copy.clone(), job.clone());
        let label = format!("Copying {name}");
        crate::library::blocking(move || {
            transfer::copy_file(&from, &to, &copying, |done, total| copying.report(label.as_str(), done, Some(total)))
        })
        .await?;
        job.report(format!("Repairing {name}"), 0, None);
        let copied = disk_image::Chain::resolve(&copy, chain.top().format, bundle.path())
            .map_err(|error| Error::new(ErrorKind::Invalid, "The copy of the image cannot be used").with_source(error))?;
        let repaired = report(images::cancellable(job, qemu_img.check(&copied, Some(how))).await?);
        let after = images::cancellable(job, qemu_img.check(&copied, None)).await?;
        if !after.is_sound() {
            return Ok(before);
        }
        let failed = |error| Error::io(format!("Cannot replace {}", image.display()), error);
        fs::File::open(&copy).and_then(|file| file.sync_all()).map_err(failed)?;
        let original = if how == Repair::All { Some(keep(image).map_err(failed)?) } else { None };
        fs::rename(&copy, image).and_then(|()| atomic_file::sync_folder(&data)).map_err(failed)?;
        Ok(CheckReport { repaired: repaired.repaired, original, ..report(after) })
    }
}

/// Gives an image that is about to be replaced a second name beside its own.
fn keep(image: &Path) -> std::io::Result<PathBuf> {
    let folder = image.parent().unwrap_or(Path::new("/"));
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let kept = folder.join(files::free_name(folder, &format!("{}.before-repair.{}", part(image.file_stem()), part(image.extension()))));
    // Some file systems have no links; the image is then without a name until the other one takes its place.
    fs::hard_link(image, &kept).or_else(|_| atomic_file::rename_new(image, &kept))?;
    Ok(kept)
}

/// Opens a bundle whose images are to change. Those of an old format lie elsewhere; it is brought over first.
fn open_to_change(machine: &Machine) -> Result<Bundle> {
    let mut bundle = open(machine)?;
    if bundle.origin() != Origin::V4 {
        bundle.save().map_err(|error| from_save(error, &machine.name))?;
    }
    Ok(bundle)
}

/// Where new images go, without what is left of those whose maker has died. A link in its place would lead them out of the bundle.
fn data_folder(bundle: &Bundle) -> Result<PathBuf> {
    let data = bundle.path().join(DATA_FOLDER);
    if data.is_symlink() {
        return Err(
            Error::new(ErrorKind::Invalid, format!("Is a link, not a folder: {}", data.display())).with_hint("Put the folder itself there")
        );
    }
    fs::create_dir_all(&data).map_err(|error| Error::io(format!("Cannot make {}", data.display()), error))?;
    unfinished::clear(bundle, &data, |name| is_used(bundle, name, &data.join(name.as_str())));
    Ok(data)
}

/// The drives with the names of their images, as the configuration says.
fn listed(configuration: &Configuration) -> Vec<(DriveInfo, Option<FileName>)> {
    let info = |id: &str, image_type: &str, interface: &str, removable: bool, read_only: bool| DriveInfo {
        id: id.to_owned(),
        image_type: image_type.to_owned(),
        interface: interface.to_owned(),
        removable,
        read_only,
        path: None,
        format: None,
        virtual_size: None,
        allocated: None,
    };
    match configuration {
        Configuration::Qemu(qemu) => qemu
            .drives
            .iter()
            .map(|drive| {
                let (kind, interface) = (drive.image_type.as_str(), drive.interface.as_str());
                (info(&drive.identifier, kind, interface, drive.is_external(), drive.read_only), drive.image_name.clone())
            })
            .collect(),
        Configuration::Apple(apple) => apple
            .drives
            .iter()
            .map(|drive| {
                let interface = if drive.nvme { "NVMe" } else { "VirtIO" };
                (info(&drive.identifier, "Disk", interface, drive.is_external(), drive.read_only), drive.image_name.clone())
            })
            .collect(),
    }
}

fn look_inside(drive: &mut DriveInfo, bundle: &Bundle, name: &FileName) {
    drive.path = bundle.data_path(name).ok();
    drive.allocated = drive.path.as_deref().filter(|path| path.is_file()).map(files::allocated);
    if let Ok(chain) = images::of_bundle(bundle, name) {
        drive.format = Some(chain.top().format.to_string());
        drive.virtual_size = Some(chain.virtual_size());
    }
}

fn look_outside(drive: &mut DriveInfo) {
    let Some(path) = &drive.path else { return };
    drive.allocated = path.is_file().then(|| files::allocated(path));
    if let Ok(file) = fs::File::open(path)
        && let Ok(format) = disk_image::probe(&file)
    {
        drive.format = Some(format.to_string());
        drive.virtual_size = disk_image::header(&file, format).ok().map(|header| header.virtual_size);
    }
}

type Rule<'a> = &'a dyn Fn(usize, &DriveInfo) -> bool;

/// The drive that is meant.
pub(crate) fn resolve(drives: &[DriveInfo], machine: &Machine, query: &str) -> Result<DriveInfo> {
    let folded = query.to_lowercase();
    // A short number is a place, and never the beginning of an identifier, which may well be a digit.
    let place: Option<usize> = query.parse().ok().filter(|_| query.len() <= 3);
    let rules: [Rule<'_>; 3] = [&|_, drive| drive.id == query, &|index, _| place == Some(index), &|_, drive| {
        place.is_none() && !query.is_empty() && drive.id.to_lowercase().starts_with(&folded)
    }];
    for rule in rules {
        let meant: Vec<&DriveInfo> =
            drives.iter().enumerate().filter(|(index, drive)| rule(*index, drive)).map(|(_, drive)| drive).collect();
        match meant.as_slice() {
            [] => {}
            [drive] => return Ok((*drive).clone()),
            _ => {
                return Err(Error::new(
                    ErrorKind::Ambiguous,
                    format!("\"{query}\" can mean {} drives of \"{}\"", meant.len(), machine.name),
                )
                .with_hint("Write more of its identifier, or its place in the list"));
            }
        }
    }
    let known: Vec<String> = drives.iter().enumerate().map(|(index, drive)| format!("{index} ({})", drive.id)).collect();
    let hint = if known.is_empty() { "It has no drives".to_owned() } else { format!("Its drives are {}", known.join(", ")) };
    Err(Error::new(ErrorKind::NotFound, format!("\"{}\" has no drive \"{query}\"", machine.name)).with_hint(hint))
}

fn one(configuration: &Configuration, machine: &Machine, query: &str) -> Result<(DriveInfo, Option<FileName>)> {
    let drives = listed(configuration);
    let meant = resolve(&drives.iter().map(|(drive, _)| drive.clone()).collect::<Vec<_>>(), machine, query)?;
    let image = drives.into_iter().find(|(drive, _)| drive.id == meant.id).and_then(|(_, image)| image);
    Ok((meant, image))
}

/// A drive with its image in the bundle.
fn disk(configuration: &Configuration, machine: &Machine, query: &str) -> Result<(DriveInfo, FileName)> {
    let (drive, image) = one(configuration, machine, query)?;
    match image {
        Some(name) => Ok((drive, name)),
        None => Err(Error::new(ErrorKind::Unsupported, format!("Drive {} of \"{}\" has no image in the bundle", drive.id, machine.name))),
    }
}

/// Whether the image of another drive is built on the file at `path`, which is called `name`.
fn is_below(bundle: &Bundle, name: &FileName, path: &Path) -> bool {
    let path = files::absolute(path);
    let others = listed(&bundle.configuration).into_iter().filter_map(|(_, image)| image).filter(|other| other != name);
    others.filter_map(|other| images::of_bundle(bundle, &other).ok()).any(|chain| chain.files().any(|file| file == path))
}

/// Whether a drive of the machine uses the image at `path`, which is called `name`, or is built on it.
fn is_used(bundle: &Bundle, name: &FileName, path: &Path) -> bool {
    bundle.configuration.referenced_files().into_iter().any(|(_, other)| other == *name) || is_below(bundle, name, path)
}

fn set_image(configuration: &mut Configuration, old: &FileName, new: &FileName) {
    let names: Vec<&mut Option<FileName>> = match configuration {
        Configuration::Qemu(qemu) => qemu.drives.iter_mut().map(|drive| &mut drive.image_name).collect(),
        Configuration::Apple(apple) => apple.drives.iter_mut().map(|drive| &mut drive.image_name).collect(),
    };
    for name in names {
        if name.as_ref() == Some(old) {
            *name = Some(new.clone());
        }
    }
}
