//! Giving a machine away.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bundle::bundle_file_name;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::staging::{self, Part};
use crate::transfer::{self, ItemKind};
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
        if target == machine.path {
            return Err(Error::new(ErrorKind::Exists, format!("\"{}\" cannot be exported onto itself", machine.name)));
        }
        if target.symlink_metadata().is_ok() {
            if !replace {
                return Err(Error::new(ErrorKind::Exists, format!("Already exists: {}", target.display()))
                    .with_hint("Choose another name, or replace it"));
            }
            self.refuse_to_replace(&target, format)?;
        }
        let _lock = self.lock(machine, "export")?;
        let file_name = file_name.to_string_lossy();
        let part = match format {
            ExportFormat::Folder => {
                let part = Part::folder(self.places(), parent, &file_name)?;
                transfer::copy_bundle(&machine.path, part.path(), job)?;
                part
            }
            ExportFormat::Zip => {
                let part = Part::file(self.places(), parent, &file_name)?;
                pack(&machine.path, &bundle_name, part.path(), job)?;
                part
            }
        };
        job.check()?;
        if target.symlink_metadata().is_ok() {
            staging::discard(self.places(), &target).map_err(|error| Error::io(format!("Cannot replace {}", target.display()), error))?;
        }
        part.publish(&target)?;
        Ok(target)
    }

    /// Only what an export made is replaced by one: a machine in use, or a person's folder, is not.
    fn refuse_to_replace(&self, target: &Path, format: ExportFormat) -> Result<()> {
        let data = fs::symlink_metadata(target).map_err(|error| Error::io(format!("Cannot replace {}", target.display()), error))?;
        let fits = match format {
            ExportFormat::Folder => data.is_dir() && target.join(bundle::CONFIGURATION_FILE).is_file(),
            ExportFormat::Zip => data.is_file(),
        };
        if !fits {
            return Err(Error::new(ErrorKind::Exists, format!("Already exists and is something else: {}", target.display())));
        }
        if format == ExportFormat::Folder && self.machines().iter().any(|machine| machine.path == target) {
            return Err(Error::new(ErrorKind::Exists, format!("Is a machine of the library: {}", target.display()))
                .with_hint("Delete that machine first, or choose another name"));
        }
        Ok(())
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
    let items = transfer::inventory(source)?;
    let length = |kind: &ItemKind| match kind {
        ItemKind::File { length, .. } => *length,
        ItemKind::Folder | ItemKind::Link(_) => 0,
    };
    let total: u64 = items.iter().map(|item| length(&item.kind)).sum();
    let failed = |error: io::Error| Error::io(format!("Cannot write {}", target.display()), error);
    let file = File::options().write(true).open(target).map_err(failed)?;
    let mut zip = ZipWriter::new(io::BufWriter::with_capacity(STEP, file));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(1)).large_file(true);
    zip.add_directory(format!("{folder}/"), options).map_err(|error| failed(error.into()))?;
    let mut done = 0;
    for item in &items {
        job.check()?;
        let relative = item.relative.to_str().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("A file name that is not UTF-8 cannot be packed: {}", item.relative.display()))
        })?;
        let name = format!("{folder}/{relative}");
        match &item.kind {
            ItemKind::Folder => zip.add_directory(format!("{name}/"), options).map_err(|error| failed(error.into()))?,
            ItemKind::File { .. } | ItemKind::Link(_) => {
                let path = source.join(&item.relative);
                if !path.is_file() {
                    continue;
                }
                zip.start_file(name, options).map_err(|error| failed(error.into()))?;
                pack_file(&path, &mut zip, &mut done, total, relative, job, &failed)?;
            }
        }
    }
    let mut file = zip.finish().map_err(|error| failed(error.into()))?;
    file.flush().map_err(failed)
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
