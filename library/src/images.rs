//! Making and looking at the images in a bundle.

use std::fs::{self, File};
use std::future::Future;
use std::path::Path;

use bundle::{Bundle, FileName, Images};
use disk_image::{Chain, Convert, Create, Format, QemuImg, QemuImgError};
use supervisor_api::Settings;

use crate::transfer::{self, from_image_save};
use crate::{DiskFormat, DiskSpec, Error, ErrorKind, Job, Library, Result, files};

/// More than any disk that is sold; a slip of the keyboard, and beyond what formats can do.
const MAX_SIZE: u64 = 1 << 56;

impl DiskFormat {
    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Qcow2 => Format::Qcow2,
            Self::Raw => Format::Raw,
        }
    }
}

/// What is wrong with a request for a disk, as a sentence.
pub(crate) fn wrong_with(spec: &DiskSpec) -> Option<String> {
    match (spec.size, &spec.source) {
        (None, None) => Some("A disk needs a size, or an image to copy".to_owned()),
        (Some(0), _) => Some("A disk cannot have size 0".to_owned()),
        (Some(size), _) if size > MAX_SIZE => Some(format!("A disk cannot be larger than {}", files::human(MAX_SIZE))),
        (Some(size), _) if size % 512 != 0 => Some(format!("The size of a disk must be a multiple of 512 bytes, not {size}")),
        (_, Some(source)) => match fs::metadata(source) {
            Ok(data) if data.is_file() => None,
            Ok(_) => Some(format!("Not a file: {}", source.display())),
            Err(error) => Some(format!("Cannot open the image: {error}: {}", source.display())),
        },
        (Some(_), None) => None,
    }
}

/// Makes the image `target` that `spec` describes.
pub(crate) async fn place_disk(library: &Library, target: &Path, spec: &DiskSpec, format: Format, job: &Job) -> Result<()> {
    let Some(source) = &spec.source else {
        let size = spec.size.unwrap_or_default();
        job.report(format!("Making a disk of {}", files::human(size)), 0, None);
        return make_empty(library, target, size, format, job).await;
    };
    place_copy(library, source, target, format, job).await?;
    let Some(size) = spec.size else { return Ok(()) };
    let chain = Chain::resolve(target, format, folder(target)).map_err(|error| unusable(target, error))?;
    if size < chain.virtual_size() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("The disk cannot be smaller than the image that it is made from, which has {}", files::human(chain.virtual_size())),
        ));
    }
    enlarge(library, &chain, size, job).await
}

async fn make_empty(library: &Library, target: &Path, size: u64, format: Format, job: &Job) -> Result<()> {
    if format == Format::Raw {
        return disk_image::create_raw(target, size).map_err(|error| from_image_save(error, target));
    }
    let create = Create { format, size: Some(size), backing: None, preallocation: disk_image::Preallocation::Off };
    cancellable(job, library.qemu_img()?.create(target, &create)).await
}

/// Copies an image that comes from outside, into another format if need be.
async fn place_copy(library: &Library, source: &Path, target: &Path, format: Format, job: &Job) -> Result<()> {
    let chain = foreign(source)?;
    let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let top = chain.top();
    let allocated: u64 = chain.files().map(files::allocated).sum();
    if top.format.driver() == format.driver() && top.others().next().is_none() {
        if fs::metadata(source).is_ok() {
            files::ensure_space(folder(target), allocated)?;
        }
        let (from, to, job) = (top.path.clone(), target.to_path_buf(), job.clone());
        return crate::library::blocking(move || {
            transfer::copy_file(&from, &to, &job, |done, total| job.report(format!("Copying {name}"), done, Some(total)))
        })
        .await;
    }
    files::ensure_space(folder(target), allocated)?;
    convert(library, &chain, target, Convert { format, compress: false, replace: false }, &format!("Converting {name}"), job).await
}

/// An image of which nothing is known yet, with the files that it is made of. It may name no file but its own parts: whoever made it could
/// name any file of the person.
pub(crate) fn foreign(source: &Path) -> Result<Chain> {
    let source = files::absolute(source);
    let failed = |error| Error::io(format!("Cannot open {}", source.display()), error);
    if !fs::metadata(&source).map_err(failed)?.is_file() {
        return Err(Error::new(ErrorKind::Invalid, format!("Not a disk image: {}", source.display())));
    }
    let chain = Chain::resolve(&source, None, folder(&source)).map_err(|error| unusable(&source, error))?;
    let foreign_part = |path: &Path| !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vmdk"));
    if chain.layers().count() > 1 || chain.layers().any(|layer| layer.others().any(foreign_part)) {
        let message = format!("The image is built on other files, which are not taken in with it: {}", source.display());
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("If you trust where it comes from, make it one file with `qemu-img convert -O qcow2` and use the result"));
    }
    if chain.top().header.encrypted {
        return Err(Error::new(ErrorKind::Unsupported, format!("The image is encrypted: {}", source.display()))
            .with_hint("Remove the encryption with `qemu-img convert` first"));
    }
    Ok(chain)
}

pub(crate) async fn convert(library: &Library, chain: &Chain, target: &Path, convert: Convert, what: &str, job: &Job) -> Result<()> {
    let total = chain.virtual_size();
    let progress = |fraction: f64| job.report(what, (fraction.clamp(0.0, 1.0) * total as f64) as u64, Some(total));
    cancellable(job, library.qemu_img()?.convert(chain, target, convert, progress)).await
}

/// Enlarges a disk; raw ones need no program for that.
pub(crate) async fn enlarge(library: &Library, chain: &Chain, size: u64, job: &Job) -> Result<()> {
    let top = chain.top();
    if size <= chain.virtual_size() {
        return Ok(());
    }
    if top.format.driver() == "raw" {
        let grown = File::options().write(true).open(&top.path).and_then(|file| {
            file.set_len(size)?;
            file.sync_all()
        });
        return grown.map_err(|error| Error::io(format!("Cannot enlarge {}", top.path.display()), error));
    }
    cancellable(job, library.qemu_img()?.resize(chain, size, false)).await
}

/// The image `name` of a bundle with what it is built on, none of it outside the bundle. The recorded format counts; where there is none,
/// the machine has never run here and the image is looked at.
pub(crate) fn of_bundle(bundle: &Bundle, name: &FileName) -> Result<Chain> {
    let path = bundle.data_path(name).map_err(|error| Error::new(ErrorKind::Io, "Cannot use the image").with_source(error))?;
    let images = Images::read(bundle.path()).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
    let recorded = images.format(name).map(str::parse::<Format>).transpose();
    let format = recorded.map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
    Chain::resolve(&path, format, bundle.path()).map_err(|error| unusable(&path, error))
}

/// Changes the recorded formats of a bundle.
pub(crate) fn record(bundle: &Path, change: impl FnOnce(&mut Images)) -> Result<()> {
    let mut images = Images::read(bundle).map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
    let before = images.clone();
    change(&mut images);
    if images == before {
        return Ok(());
    }
    images.write(bundle).map_err(|error| Error::io(format!("Cannot record the formats of the images of {}", bundle.display()), error))
}

/// Runs qemu-img unless the job is cancelled; it then ends and what it had made goes.
pub(crate) async fn cancellable<T>(job: &Job, work: impl Future<Output = Result<T, QemuImgError>>) -> Result<T> {
    tokio::select! {
        biased;
        () = job.cancel().cancelled() => Err(Error::cancelled()),
        result = work => result.map_err(from_qemu_img),
    }
}

impl Library {
    /// qemu-img, confined as this computer's settings say.
    pub(crate) fn qemu_img(&self) -> Result<QemuImg> {
        QemuImg::find(Settings::read(&self.places().state).landlock).map_err(from_qemu_img)
    }
}

fn from_qemu_img(error: QemuImgError) -> Error {
    let kind = match error {
        QemuImgError::NotFound(_) | QemuImgError::NoLauncher(_) | QemuImgError::Start(_) => ErrorKind::Missing,
        QemuImgError::InUse { .. } => ErrorKind::WrongState,
        QemuImgError::Save(disk_image::SaveError::NoSpace { path, needed, available }) => {
            return files::no_space(folder(&path), needed, available);
        }
        QemuImgError::Save(disk_image::SaveError::Exists(_)) => ErrorKind::Exists,
        _ => ErrorKind::Io,
    };
    Error::new(kind, error.to_string())
}

fn unusable(path: &Path, error: disk_image::ChainError) -> Error {
    Error::new(ErrorKind::Invalid, format!("The image cannot be used: {}", path.display())).with_source(error)
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
