//! Giving a machine away.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bundle::{Bundle, BundleLock, LockError, bundle_file_name};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::clone::forget_generation;
use crate::staging::Part;
use crate::transfer::{self, Item, ItemKind};
use crate::{Error, ErrorKind, ExportFormat, Job, Library, Machine, Result, files};

/// Bytes that are packed between two looks at the wish to cancel.
const STEP: usize = 1 << 20;

impl Library {
    /// Copies a machine to `destination`: a folder that exists, in which it gets its name, or the name of a folder or file to make. What lies
    /// there is replaced only with `replace`. Returns what was made.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`], [`crate::ErrorKind::WrongState`] while it runs, [`crate::ErrorKind::NoSpace`].
    pub async fn export(&self, machine: &Machine, destination: &Path, format: ExportFormat, replace: bool, job: &Job) -> Result<PathBuf> {
        let (machine, destination, job) = (machine.clone(), destination.to_path_buf(), job.clone());
        self.work(move |library| library.export_now(&machine, &destination, format, replace, &job)).await
    }

    fn export_now(&self, machine: &Machine, destination: &Path, format: ExportFormat, replace: bool, job: &Job) -> Result<PathBuf> {
        let bundle_name = bundle_file_name(&machine.name);
        let target = target(destination, &bundle_name, format)?;
        let (Some(parent), Some(file_name)) = (target.parent(), target.file_name()) else {
            return Err(Error::new(ErrorKind::Invalid, format!("Cannot export to {}", destination.display())));
        };
        let own = files::absolute(&machine.path);
        if target == machine.path || target.starts_with(&own) {
            return Err(Error::new(ErrorKind::Exists, format!("\"{}\" cannot be exported onto or into itself", machine.name)));
        }
        let exists = target.symlink_metadata().is_ok();
        if exists && !replace {
            return Err(Error::new(ErrorKind::Exists, format!("Already exists: {}", target.display()))
                .with_hint("Choose another name, or replace it"));
        }
        let replaced = if exists { self.lock_replaced(&target, format)? } else { None };
        let _lock = self.lock(machine, "export")?;
        let file_name = file_name.to_string_lossy();
        let part = match format {
            ExportFormat::Folder => {
                let part = Part::folder(self.places(), parent, &file_name)?;
                transfer::copy_bundle(&machine.path, part.path(), job)?;
                // It may be listed where it is, and run.
                forget_generation(part.path())?;
                part
            }
            ExportFormat::Zip => {
                let part = Part::file(self.places(), parent, &file_name)?;
                pack(&machine.path, &bundle_name, part.path(), job)?;
                part
            }
        };
        job.check()?;
        if exists {
            part.replace(&target)?;
        } else {
            part.publish(&target)?;
        }
        drop(replaced);
        Ok(target)
    }

    /// Only what an export made is replaced by one: a machine in use, or a person's folder, is not. A bundle is locked until it is replaced.
    fn lock_replaced(&self, target: &Path, format: ExportFormat) -> Result<Option<BundleLock>> {
        let failed = |error| Error::io(format!("Cannot replace {}", target.display()), error);
        let data = fs::symlink_metadata(target).map_err(failed)?;
        let fits = match format {
            ExportFormat::Folder => data.is_dir() && target.join(bundle::CONFIGURATION_FILE).is_file(),
            ExportFormat::Zip => data.is_file(),
        };
        if !fits {
            return Err(Error::new(ErrorKind::Exists, format!("Already exists and is something else: {}", target.display())));
        }
        if format == ExportFormat::Zip {
            return Ok(None);
        }
        // By what it is: the library's folder may have several names.
        let id = bundle::bundle_id(target).map_err(failed)?;
        if self.machines().iter().any(|machine| machine.id == id) {
            return Err(Error::new(ErrorKind::Exists, format!("Is a machine of the library: {}", target.display()))
                .with_hint("Delete that machine first, or choose another name"));
        }
        match Bundle::lock(target) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Held(_)) => Err(Error::new(ErrorKind::WrongState, format!("A machine that is in use: {}", target.display()))
                .with_hint("Stop it first, or choose another name")),
            Err(LockError::Io { source, .. }) => Err(failed(source)),
        }
    }
}

/// What is to be made.
fn target(destination: &Path, bundle_name: &str, format: ExportFormat) -> Result<PathBuf> {
    let absolute = std::path::absolute(destination).map_err(|error| Error::io(format!("Cannot use {}", destination.display()), error))?;
    let is_bundle = absolute.extension() == Some(OsStr::new(bundle::BUNDLE_EXTENSION));
    if absolute.is_dir() && !(is_bundle && format == ExportFormat::Folder) {
        return Ok(files::absolute(&absolute).join(match format {
            ExportFormat::Folder => bundle_name.to_owned(),
            ExportFormat::Zip => format!("{bundle_name}.zip"),
        }));
    }
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(Error::new(ErrorKind::Invalid, format!("Cannot export to {}", destination.display())));
    };
    if !parent.is_dir() {
        return Err(Error::new(ErrorKind::NotFound, format!("There is no folder {}", parent.display())).with_hint("Make it first"));
    }
    let name = name.to_string_lossy();
    let wanted = match format {
        ExportFormat::Folder => ".utm",
        ExportFormat::Zip => ".zip",
    };
    let name = if name.to_lowercase().ends_with(wanted) { name.into_owned() } else { format!("{name}{wanted}") };
    Ok(files::absolute(parent).join(name))
}

/// Packs a bundle into a zip file, as a folder with the name that belongs to it. Links are packed as what they lead to.
fn pack(source: &Path, folder: &str, target: &Path, job: &Job) -> Result<()> {
    let mut items = transfer::inventory(source)?;
    let generation = Path::new(bundle::OWN_FOLDER).join(bundle::GENERATION_FILE);
    items.retain(|item| item.relative != generation);
    let length = |kind: &ItemKind| match kind {
        ItemKind::File { length, .. } => *length,
        ItemKind::Folder | ItemKind::Link(_) | ItemKind::Outward => 0,
    };
    let total: u64 = items.iter().map(|item| length(&item.kind)).sum();
    let failed = |error: io::Error| Error::io(format!("Cannot write {}", target.display()), error);
    let file = File::options().write(true).open(target).map_err(failed)?;
    let abandoned = Rc::new(Cell::new(false));
    let output = Output { file: io::BufWriter::with_capacity(STEP, file), abandoned: Rc::clone(&abandoned), at: 0, end: 0 };
    let mut zip = ZipWriter::new(output);
    let packed = pack_items(source, folder, &items, total, &mut zip, job, &failed);
    if packed.is_err() {
        abandoned.set(true);
        return packed;
    }
    let mut output = zip.finish().map_err(|error| failed(error.into()))?;
    output.flush().map_err(failed)
}

/// The file that is packed into. A writer that is dropped still completes its archive, and complains on standard error where it cannot: what
/// is given up goes on as if all was well, and keeps nothing.
struct Output {
    file: io::BufWriter<File>,
    abandoned: Rc<Cell<bool>>,
    /// Where the next byte goes, and the end.
    at: u64,
    end: u64,
}

impl Output {
    fn attempt<T>(&mut self, work: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<T>) -> io::Result<Option<T>> {
        if self.abandoned.get() {
            return Ok(None);
        }
        let result = work(&mut self.file);
        self.abandoned.set(result.is_err());
        result.map(Some)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.attempt(|file| file.write(bytes))?.unwrap_or(bytes.len());
        self.at = self.at.saturating_add(written as u64);
        self.end = self.end.max(self.at);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(Write::flush).map(drop)
    }
}

impl Seek for Output {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let there = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            io::SeekFrom::End(distance) => self.end.checked_add_signed(distance),
        };
        self.attempt(|file| file.seek(to))?;
        self.at = there.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn pack_items<W: Write + Seek>(
    source: &Path,
    folder: &str,
    items: &[Item],
    total: u64,
    zip: &mut ZipWriter<W>,
    job: &Job,
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(1)).large_file(true);
    zip.add_directory(format!("{folder}/"), options).map_err(|error| failed(error.into()))?;
    let mut done = 0;
    for item in items {
        job.check()?;
        if matches!(item.kind, ItemKind::Outward) {
            tracing::warn!(path = %item.relative.display(), "left out a link that leads out of the bundle");
            continue;
        }
        let relative = item.relative.to_str().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("A file name that is not UTF-8 cannot be packed: {}", item.relative.display()))
        })?;
        let name = format!("{folder}/{relative}");
        match &item.kind {
            ItemKind::Folder => zip.add_directory(format!("{name}/"), options).map_err(|error| failed(error.into()))?,
            ItemKind::File { .. } | ItemKind::Link(_) | ItemKind::Outward => {
                let path = source.join(&item.relative);
                // Links of links can lead out though each name stays inside; what they lead to is not given away.
                if !path.is_file() || matches!(item.kind, ItemKind::Link(_)) && !files::absolute(&path).starts_with(files::absolute(source))
                {
                    continue;
                }
                zip.start_file(name, options).map_err(|error| failed(error.into()))?;
                pack_file(&path, zip, &mut done, total, relative, job, failed)?;
            }
        }
    }
    Ok(())
}

fn pack_file<W: Write + Seek>(
    path: &Path,
    zip: &mut ZipWriter<W>,
    done: &mut u64,
    total: u64,
    what: &str,
    job: &Job,
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<()> {
    let unreadable = |error| Error::io(format!("Cannot read {}", path.display()), error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut buffer = vec![0; STEP];
    loop {
        job.check()?;
        let got = file.read(&mut buffer).map_err(unreadable)?;
        if got == 0 {
            return Ok(());
        }
        zip.write_all(buffer.get(..got).unwrap_or_default()).map_err(failed)?;
        *done = done.saturating_add(got as u64);
        job.report(format!("Packing {what}"), *done, Some(total));
    }
}
