//! qemu-img, for what changes images.
//!
//! Formats are always explicit, images are given as the [`Chain`] that was checked, and what is written appears whole or not at all.
//! Dropping a future ends the program and removes what it has written so far. It runs confined to the files of these images.

mod grants;
mod program;
mod report;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::durable::{self, Partial, SaveError};
use crate::{Chain, Format, HeaderError, header};
use grants::Grants;
use program::strings;
use sandbox::{FindLauncherError, LaunchError, Requirement};

pub use program::QEMU_IMG_VARIABLE;
pub use report::{CheckReport, Info, Snapshot};

/// How much of a conversion's progress is converting; the rest is comparing.
const CONVERTING: f64 = 0.6;

/// Why qemu-img did not do what it should. Messages end with what it said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuImgError {
    /// The program is not installed.
    #[error("Could not find qemu-img; install it (Debian, Ubuntu: qemu-utils; Fedora: qemu-img), or name it in {QEMU_IMG_VARIABLE}: {}", .0.display())]
    NotFound(PathBuf),
    /// What would confine the program is not installed.
    #[error("Could not find what confines qemu-img; {0}")]
    NoLauncher(FindLauncherError),
    /// The program did not start, or not confined.
    #[error("Could not start qemu-img confined; {0}")]
    Start(LaunchError),
    /// The kernel did not tell what it says, or when it ended.
    #[error("Could not run qemu-img; {source}: {}", program.display())]
    Run {
        /// Its path.
        program: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The image is open elsewhere.
    #[error("Could not {attempt}: the image is in use; stop the machine that uses it and try again: {}", path.display())]
    InUse {
        /// What was attempted.
        attempt: &'static str,
        /// The image.
        path: PathBuf,
    },
    /// It failed.
    #[error("Could not {attempt}: {}; {said}", path.display())]
    Failed {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What qemu-img said, and where there is something to do, that.
        said: String,
    },
    /// It answered what we do not understand.
    #[error("Could not {attempt}: qemu-img answered in a way that is not understood; report this with its version (`qemu-img --version`)")]
    Answer {
        /// What was attempted.
        attempt: &'static str,
        /// Why it is not understood.
        source: serde_json::Error,
    },
    /// A file could not be written, for want of room or permission.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// What was written does not have the same content.
    #[error("The converted image differs from the original, which was left as it is; check the disk for faults, and convert again: {}", .0.display())]
    Differs(PathBuf),
    /// The file below a new image cannot be used.
    #[error("Could not read the image to build on: {}", path.display())]
    Backing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HeaderError,
    },
    /// A path is not UTF-8, which qemu-img cannot be told.
    #[error("The name holds characters that qemu-img cannot read; rename the file: {}", .0.display())]
    Name(PathBuf),
}

/// The file below an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// Its name, as the image shall hold it: relative to the image's folder, so that the folder can move, or absolute.
    pub file: PathBuf,
    /// Its format.
    pub format: Format,
}

/// How much room an image takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preallocation {
    /// As little as possible.
    #[default]
    Off,
    /// What the format needs to keep account of all.
    Metadata,
    /// All of it, reserved.
    Falloc,
    /// All of it, written.
    Full,
}

impl Preallocation {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Falloc => "falloc",
            Self::Full => "full",
        }
    }
}

/// A new image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Its format.
    pub format: Format,
    /// Bytes of the disk; `None`: as many as the file below has.
    pub size: Option<u64>,
    /// The file below.
    pub backing: Option<Backing>,
    /// How much room it takes at once (raw and qcow2).
    pub preallocation: Preallocation,
}

/// How to convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convert {
    /// To which format.
    pub format: Format,
    /// Whether to compress (qcow2, vmdk).
    pub compress: bool,
    /// Whether a file that is there is replaced, once the new one is complete and verified.
    pub replace: bool,
}

/// What a check may repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Room that nothing uses: never harms.
    Leaks,
    /// Everything, at the risk of making it worse: make a copy first.
    All,
}

/// The qemu-img that is installed, and how it is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuImg {
    program: PathBuf,
    launcher: PathBuf,
    landlock: Requirement,
}

impl QemuImg {
    /// Makes an image. Its size is that of `create`, or of the file below.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`]; there is no new file then.
    pub async fn create(&self, path: &Path, create: &Create) -> Result<(), QemuImgError> {
        const ATTEMPT: &str = "make the image";
        let path = absolute(path)?;
        let size = match (create.size, &create.backing) {
            (Some(size), _) => size,
            (None, Some(backing)) => backing_size(&path, backing)?,
            (None, None) => 0,
        };
        let partial = Partial::new(&path, false)?;
        let mut arguments = strings(["create", "-q", "-f", create.format.driver()]);
        if let Some(backing) = &create.backing {
            // Without opening it: its name is relative to where the image will be.
            arguments.extend(strings(["-u", "-F", backing.format.driver(), "-b", backing_name(backing)?]));
        }
        let options = options(create.format, create.preallocation);
        if !options.is_empty() {
            arguments.extend(strings(["-o", &options]));
        }
        arguments.push(partial.path().into());
        arguments.push(size.to_string().into());
        let mut grants = Grants::default();
        grants.folder(partial.make()?);
        let answer = self.run(arguments, grants, &mut |_| ()).await?;
        let needed = if create.preallocation == Preallocation::Off { 0 } else { size };
        answer.succeeded(ATTEMPT, &path, needed)?;
        finish(partial, false).await
    }

    /// Writes the content of `source` into a new image without layers, compares both, and only then gives it its place. `progress` hears a
    /// fraction from 0 to 1.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`]; the target is then as it was before.
    pub async fn convert(
        &self,
        source: &Chain,
        target: &Path,
        convert: Convert,
        mut progress: impl FnMut(f64) + Send,
    ) -> Result<(), QemuImgError> {
        const ATTEMPT: &str = "convert the image";
        let target = absolute(target)?;
        let partial = Partial::new(&target, convert.replace)?;
        let path = partial.path();
        let mut arguments = strings(["convert", "-p", "-O", convert.format.driver()]);
        if convert.compress {
            arguments.extend(strings(["-c"]));
        }
        let options = options(convert.format, Preallocation::Off);
        if !options.is_empty() {
            arguments.extend(strings(["-o", &options]));
        }
        let mut grants = Grants::default();
        arguments.push(grants.reading(source)?.into());
        arguments.push(path.clone().into());
        grants.folder(partial.make()?);
        let answer = self.run(arguments, grants, &mut |fraction| progress(fraction * CONVERTING)).await?;
        if answer.is_full() {
            let needed = self.measure(source, convert.format).await.unwrap_or(source.virtual_size());
            return Err(SaveError::NoSpace { available: durable::available(&target), path: target, needed }.into());
        }
        answer.succeeded(ATTEMPT, &source.top().path, source.virtual_size())?;

        let folder = durable::folder(&path);
        let written = Chain::resolve(&path, convert.format, folder).map_err(|error| QemuImgError::Failed {
            attempt: ATTEMPT,
            path: target.clone(),
            said: error.to_string(),
        })?;
        if !self.compare(source, &written, |fraction| progress(CONVERTING + fraction * (1.0 - CONVERTING))).await? {
            return Err(QemuImgError::Differs(target));
        }
        if convert.format.can_check() && !self.check(&written, None).await?.is_sound() {
            return Err(QemuImgError::Differs(target));
        }
        finish(partial, convert.replace).await?;
        progress(1.0);
        Ok(())
    }

    /// Changes the size of the disk. `shrink` says that data beyond the new end may be lost.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`]; among others when the disk would shrink and `shrink` does not allow it.
    pub async fn resize(&self, image: &Chain, size: u64, shrink: bool) -> Result<(), QemuImgError> {
        const ATTEMPT: &str = "change the size of the image";
        let mut arguments = strings(["resize", "-q"]);
        if shrink {
            arguments.extend(strings(["--shrink"]));
        }
        let mut grants = Grants::default();
        arguments.push(grants.writing(image)?.into());
        arguments.push(size.to_string().into());
        self.run(arguments, grants, &mut |_| ()).await?.succeeded(ATTEMPT, &image.top().path, size)
    }

    /// Looks whether the image is consistent, and repairs it if asked to.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`] when the image cannot be checked. Faults are no error: see [`CheckReport`].
    pub async fn check(&self, image: &Chain, repair: Option<Repair>) -> Result<CheckReport, QemuImgError> {
        const ATTEMPT: &str = "check the image";
        let mut arguments = strings(["check", "--output=json"]);
        if let Some(repair) = repair {
            arguments.extend(strings(["-r", if repair == Repair::All { "all" } else { "leaks" }]));
        }
        let mut grants = Grants::default();
        arguments.push(if repair.is_some() { grants.writing(image)? } else { grants.reading(image)? }.into());
        let answer = self.run(arguments, grants, &mut |_| ()).await?;
        match answer.code {
            // Sound, corrupt, leaking.
            Some(0 | 2 | 3) => answer.parse(ATTEMPT),
            _ => Err(answer.failure(ATTEMPT, &image.top().path, 0)),
        }
    }

    /// Whether two images have the same content; zeros at the end of the longer one do not count.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`] when they cannot be compared.
    pub async fn compare(&self, one: &Chain, other: &Chain, mut progress: impl FnMut(f64) + Send) -> Result<bool, QemuImgError> {
        const ATTEMPT: &str = "compare the images";
        let mut arguments = strings(["compare", "-p"]);
        let mut grants = Grants::default();
        arguments.extend([grants.reading(one)?.into(), grants.reading(other)?.into()]);
        let answer = self.run(arguments, grants, &mut progress).await?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(answer.failure(ATTEMPT, &one.top().path, 0)),
        }
    }

    /// What qemu-img says about the image. Works while a machine uses it.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`] when it cannot be read.
    pub async fn info(&self, image: &Chain) -> Result<Info, QemuImgError> {
        const ATTEMPT: &str = "look at the image";
        let mut arguments = strings(["info", "--output=json", "--force-share"]);
        let mut grants = Grants::default();
        arguments.push(grants.reading(image)?.into());
        let answer = self.run(arguments, grants, &mut |_| ()).await?;
        answer.succeeded(ATTEMPT, &image.top().path, 0)?;
        answer.parse(ATTEMPT)
    }

    /// Puts the image upon another file, or upon none; its content stays the same. Needs room for what only the old file below holds.
    /// Dropping the future midway leaves an image that is larger than it needs to be, with the same content.
    ///
    /// # Errors
    ///
    /// [`QemuImgError`]; the image has the same content as before then.
    pub async fn rebase(&self, image: &Chain, backing: Option<&Backing>, mut progress: impl FnMut(f64) + Send) -> Result<(), QemuImgError> {
        const ATTEMPT: &str = "change what the image is built on";
        let top = image.top();
        let mut arguments = strings(["rebase", "-p", "-f", top.format.driver()]);
        match backing {
            Some(backing) => arguments.extend(strings(["-F", backing.format.driver(), "-b", backing_name(backing)?])),
            None => arguments.extend(strings(["-b", ""])),
        }
        // By its path: with a graph there would be no name for the old file below.
        arguments.push(top.path.clone().into());
        let mut grants = Grants::default();
        grants.by_path(image);
        if let Some(backing) = backing {
            grants.file(durable::folder(&top.path).join(&backing.file));
        }
        let answer = self.run(arguments, grants, &mut progress).await?;
        answer.succeeded(ATTEMPT, &top.path, image.virtual_size())
    }

    /// Bytes that `source` takes in `format`, at most.
    async fn measure(&self, source: &Chain, format: Format) -> Option<u64> {
        let mut arguments = strings(["measure", "--output=json", "-O", format.driver()]);
        let mut grants = Grants::default();
        arguments.push(grants.reading(source).ok()?.into());
        let answer = self.run(arguments, grants, &mut |_| ()).await.ok()?;
        let measured: Value = answer.parse("measure the image").ok()?;
        measured.get("required")?.as_u64()
    }
}

fn options(format: Format, preallocation: Preallocation) -> String {
    let mut options = Vec::new();
    if preallocation != Preallocation::Off && matches!(format, Format::Raw | Format::Iso | Format::Qcow2) {
        options.push(format!("preallocation={}", preallocation.name()));
    }
    if format == Format::Vpc {
        // Else the size is rounded to what a disk of 1990 could have.
        options.push("force_size=on".to_owned());
    }
    options.join(",")
}

/// A path that begins with a slash, so that qemu-img takes no part of it for a protocol.
fn absolute(path: &Path) -> Result<PathBuf, QemuImgError> {
    std::path::absolute(path).map_err(|source| SaveError::Io { attempt: "find the folder", path: path.to_owned(), source }.into())
}

fn backing_name(backing: &Backing) -> Result<&str, QemuImgError> {
    let name = backing.file.to_str().ok_or_else(|| QemuImgError::Name(backing.file.clone()))?;
    if name.split('/').next().is_some_and(|first| first.contains(':')) { Err(QemuImgError::Name(backing.file.clone())) } else { Ok(name) }
}

fn backing_size(image: &Path, backing: &Backing) -> Result<u64, QemuImgError> {
    let path = durable::folder(image).join(&backing.file);
    let header = std::fs::File::open(&path).map_err(HeaderError::from).and_then(|file| header(&file, backing.format));
    header.map(|header| header.virtual_size).map_err(|source| QemuImgError::Backing { path, source })
}

/// Waits for the disk on a thread that may wait.
async fn finish(partial: Partial, replace: bool) -> Result<(), QemuImgError> {
    Ok(program::on_a_thread(move || partial.finish(replace)).await?)
}
