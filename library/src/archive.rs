//! Zip files with a bundle in them, which anybody may have made.
//!
//! Only files below the one `.utm` folder are taken, by plain relative names; links, absolute names, `..` and anything that is there twice
//! refuse the whole archive. Sizes and numbers are bounded, and blocks of zeros become holes.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::{Error, ErrorKind, Job, Result, files};

/// More entries than this are not a machine's.
const MAX_ENTRIES: usize = 20_000;
/// Folders that are nested deeper are not a machine's.
const MAX_DEPTH: usize = 8;
/// More than any machine's files have together, unpacked.
const MAX_BYTES: u64 = 64 << 40;
/// What stays free while unpacking: an archive can promise little and hold much.
const RESERVE: u64 = 256 << 20;
/// Bytes between two looks at the wish to cancel and at the free space; blocks of zeros of [`HOLE`] bytes become holes.
const STEP: usize = 1 << 20;
const HOLE: usize = 64 << 10;

/// Whether the file is a zip archive, by its beginning (APPNOTE 4.3.7 and 4.3.16).
pub(crate) fn is_zip(path: &Path) -> Result<bool> {
    let failed = |error| Error::io(format!("Cannot open {}", path.display()), error);
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(4).read_to_end(&mut start).map_err(failed)?;
    Ok(start == b"PK\x03\x04" || start == b"PK\x05\x06")
}

/// An archive with one bundle in it.
pub(crate) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    path: PathBuf,
    bundle_name: String,
    entries: Vec<Entry>,
}

struct Entry {
    index: usize,
    relative: PathBuf,
    folder: bool,
    size: u64,
}

impl Archive {
    /// Looks at every entry before anything is unpacked.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(format!("Cannot open {}", path.display()), error))?;
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, error))?;
        let refused = |why: String| Error::new(ErrorKind::Invalid, format!("The archive is refused: {why}: {}", path.display()));
        if zip.len() > MAX_ENTRIES {
            return Err(refused(format!("it has {} entries, more than a machine does", zip.len())));
        }
        let mut bundle: Option<PathBuf> = None;
        let mut entries = Vec::new();
        let mut total: u64 = 0;
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(|error| damaged(path, error))?;
            let name = entry.name().map_err(|error| damaged(path, error))?.into_owned();
            let parts = plain_parts(&name).ok_or_else(|| refused(format!("it names a file outside of itself, {name:?}")))?;
            if parts.first() == Some(&"__MACOSX") {
                continue;
            }
            let Some(top) = parts.iter().position(|part| part.to_ascii_lowercase().ends_with(".utm") && !part.starts_with('.')) else {
                continue;
            };
            if entry.is_symlink() {
                return Err(refused(format!("it holds a link, {name:?}")));
            }
            if entry.encrypted() {
                return Err(refused("it is encrypted".to_owned()));
            }
            let root: PathBuf = parts.iter().take(top + 1).collect();
            match &bundle {
                Some(known) if *known != root => {
                    return Err(refused(format!("it holds more than one machine, {} and {}", known.display(), root.display())));
                }
                Some(_) => {}
                None => bundle = Some(root),
            }
            let relative: PathBuf = parts.iter().skip(top + 1).collect();
            if parts.len() > top + 1 + MAX_DEPTH {
                return Err(refused(format!("its folders are nested too deeply, {name:?}")));
            }
            total = total.saturating_add(entry.size());
            if total > MAX_BYTES {
                return Err(refused(format!("it would unpack to more than {}", files::human(MAX_BYTES))));
            }
            if relative.as_os_str().is_empty() {
                if !entry.is_dir() {
                    return Err(refused(format!("{name:?} is not a folder")));
                }
                continue;
            }
            entries.push(Entry { index, relative, folder: entry.is_dir(), size: entry.size() });
        }
        let Some(bundle) = bundle else {
            return Err(Error::new(ErrorKind::Unsupported, format!("There is no .utm folder in the archive: {}", path.display())));
        };
        let bundle_name = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { zip, path: path.to_path_buf(), bundle_name, entries })
    }

    /// What the folder is called.
    pub fn bundle_name(&self) -> &str {
        &self.bundle_name
    }

    /// Unpacks the bundle's content into `target`, an empty folder.
    pub fn extract(&mut self, target: &Path, job: &Job) -> Result<()> {
        let total = self.entries.iter().map(|entry| entry.size).sum();
        let mut done = 0;
        for entry in &self.entries {
            job.check()?;
            let to = target.join(&entry.relative);
            let failed = |error: io::Error| match error.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Error::new(
                    ErrorKind::Invalid,
                    format!("The archive is refused: it holds {} twice: {}", entry.relative.display(), self.path.display()),
                ),
                _ => Error::io(format!("Cannot unpack to {}", to.display()), error),
            };
            if entry.folder {
                fs::create_dir_all(&to).map_err(failed)?;
                continue;
            }
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            let mut output = File::create_new(&to).map_err(failed)?;
            let input = self.zip.by_index(entry.index).map_err(|error| damaged(&self.path, error))?;
            let what = format!("Unpacking {}", entry.relative.display());
            let mut unpacking = Unpacking { input, output: &mut output, limit: entry.size, target, path: &self.path };
            unpacking.run(job, &failed, |part| job.report(what.as_str(), done + part, Some(total)))?;
            done += entry.size;
        }
        Ok(())
    }
}

struct Unpacking<'a, R> {
    input: R,
    output: &'a mut File,
    limit: u64,
    target: &'a Path,
    path: &'a Path,
}

impl<R: Read> Unpacking<'_, R> {
    fn run(&mut self, job: &Job, failed: &dyn Fn(io::Error) -> Error, mut progress: impl FnMut(u64)) -> Result<()> {
        let mut buffer = vec![0; STEP];
        let mut written: u64 = 0;
        loop {
            job.check()?;
            let got = fill(&mut self.input, &mut buffer).map_err(|error| {
                Error::new(ErrorKind::Invalid, format!("The archive is damaged: {}", self.path.display())).with_source(error)
            })?;
            let data = buffer.get(..got).unwrap_or_default();
            if data.is_empty() {
                break;
            }
            written = written.saturating_add(got as u64);
            if written > self.limit {
                let message = format!("The archive is refused: it holds more than it says: {}", self.path.display());
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            self.write(data).map_err(failed)?;
            progress(written);
        }
        // The last block may have been a hole.
        self.output.set_len(written).map_err(failed)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let mut checked = false;
        for block in data.chunks(HOLE) {
            if block.iter().all(|byte| *byte == 0) {
                self.output.seek(io::SeekFrom::Current(i64::try_from(block.len()).unwrap_or(i64::MAX)))?;
                continue;
            }
            if !checked && files::free_space(self.target).is_ok_and(|free| free < RESERVE) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            checked = true;
            self.output.write_all(block)?;
        }
        Ok(())
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The components of a name that is relative and plain; `None` for any other.
fn plain_parts(name: &str) -> Option<Vec<&str>> {
    let name = name.strip_suffix('/').unwrap_or(name);
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && part.len() <= 255 && !part.contains(['\\', '\0']);
    let parts: Vec<&str> = name.split('/').collect();
    parts.iter().all(plain).then_some(parts)
}

fn damaged(path: &Path, error: ZipError) -> Error {
    match error {
        ZipError::Io(error) if error.kind() != io::ErrorKind::InvalidData && error.kind() != io::ErrorKind::UnexpectedEof => {
            Error::io(format!("Cannot read {}", path.display()), error)
        }
        ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_) => {
            Error::new(ErrorKind::Unsupported, format!("The archive is packed in a way that is not supported: {}", path.display()))
                .with_source(error)
                .with_hint("Unpack it with another program and import the .utm folder")
        }
        error => Error::new(ErrorKind::Invalid, format!("The archive is damaged: {}", path.display())).with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::plain_parts;

    #[test]
    fn only_plain_relative_names_pass() {
        assert_eq!(plain_parts("A.utm/Data/"), Some(vec!["A.utm", "Data"]));
        for name in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a\\..\\b", "./a", "a/\0b"] {
            assert_eq!(plain_parts(name), None, "{name:?}");
        }
    }
}
