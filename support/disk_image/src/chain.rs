//! The files that an image is made of, each looked at before anything opens it.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::durable::folder;
use crate::{Format, Header, HeaderError, header, probe};

/// Layers that a chain may have.
pub const MAXIMUM_LAYERS: usize = 32;

/// One image file of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where it is: canonical, below the root.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// What it says about itself.
    pub header: Header,
    /// Other files that hold its data, canonical, below the root: extents (vmdk) or the external data file (qcow2).
    pub files: Vec<PathBuf>,
}

/// An image and what is below it, all of it inside one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    top: Layer,
    below: Vec<Layer>,
}

/// Files that an image names and that are refused.
#[derive(Debug)]
pub struct ChainError {
    /// The image.
    pub image: PathBuf,
    /// Each file, and why. Never empty.
    pub refused: Vec<Refusal>,
}

/// A file that is refused.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {file}, named by {}", named_by.display())]
pub struct Refusal {
    /// The name, as the image gives it.
    pub file: String,
    /// The image that names it; of the topmost, itself.
    pub named_by: PathBuf,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// It leads out of the root.
    #[error("It lies outside {}", .0.display())]
    Outside(PathBuf),
    /// It is an address or a program's notation, not a file's name.
    #[error("It is not the name of a file")]
    NotAName,
    /// It is a directory, a device or the like.
    #[error("It is not a regular file")]
    NotAFile,
    /// The chain comes back to it.
    #[error("The image is built on itself")]
    Cycle,
    /// The chain does not end.
    #[error("The image has more than {MAXIMUM_LAYERS} layers")]
    TooDeep,
    /// The image says that it has a format that we do not know.
    #[error("Its format is not known ({0})")]
    Format(String),
    /// It cannot be opened.
    #[error("It cannot be opened ({0})")]
    Open(io::Error),
    /// Its header cannot be understood.
    #[error("{0}")]
    Header(HeaderError),
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The image depends on files that cannot be used")?;
        for refusal in &self.refused {
            write!(f, "; {refusal}")?;
        }
        let image = self.image.display();
        if self
            .refused
            .iter()
            .any(|refusal| matches!(refusal.reason, RefusalReason::Outside(_) | RefusalReason::NotAName | RefusalReason::TooDeep))
        {
            write!(
                f,
                "; make it one file if you trust where it comes from, with `qemu-img convert -O qcow2`, and import the result: {image}"
            )
        } else {
            write!(f, "; check that it was copied completely, with all its files: {image}")
        }
    }
}

impl std::error::Error for ChainError {}

impl Chain {
    /// Follows what `image`, of `format`, is built on. The format of a file below is what the image above says, or else is looked at once.
    ///
    /// # Errors
    ///
    /// [`ChainError`] names every file that is refused: outside `root` (after symbolic links), not a regular file, part of a cycle, deeper
    /// than [`MAXIMUM_LAYERS`], of unknown format, unreadable.
    pub fn resolve(image: &Path, format: Format, root: &Path) -> Result<Self, ChainError> {
        let mut resolver = Resolver { root: PathBuf::new(), seen: HashSet::new(), refused: Vec::new() };
        let mut layers = resolver.follow(image, format, root).into_iter();
        match layers.next() {
            Some(top) if resolver.refused.is_empty() => Ok(Self { top, below: layers.collect() }),
            _ => Err(ChainError { image: image.to_owned(), refused: resolver.refused }),
        }
    }

    /// The layers, the topmost first.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = &Layer> {
        std::iter::once(&self.top).chain(&self.below)
    }

    /// The topmost layer: the image itself.
    #[must_use]
    pub fn top(&self) -> &Layer {
        &self.top
    }

    /// Bytes of the disk that a guest sees.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.top.header.virtual_size
    }

    /// Every file that the image is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.layers().flat_map(|layer| std::iter::once(&layer.path).chain(&layer.files)).map(PathBuf::as_path)
    }

    /// The chain as QEMU's block device options, with every format and file explicit, so that QEMU follows no name in an image's header.
    /// Extents of a vmdk are the exception: only QEMU's driver names them; they were checked. `None` when a path is not UTF-8.
    #[must_use]
    pub fn graph(&self) -> Option<Value> {
        self.layers().rev().try_fold(Value::Null, |below, layer| layer.node(&below))
    }
}

impl Layer {
    fn node(&self, below: &Value) -> Option<Value> {
        let file = |path: &Path| Some(json!({ "driver": "file", "filename": path.to_str()? }));
        let mut node = json!({ "driver": self.format.driver(), "file": file(&self.path)? });
        if matches!(self.format, Format::Qcow2 | Format::Qcow | Format::Qed | Format::Vmdk) {
            node["backing"] = below.clone();
        }
        if let (Format::Qcow2, Some(data)) = (self.format, self.files.first()) {
            node["data-file"] = file(data)?;
        }
        Some(node)
    }
}

struct Resolver {
    root: PathBuf,
    /// Device and inode of every file met.
    seen: HashSet<(u64, u64)>,
    refused: Vec<Refusal>,
}

impl Resolver {
    fn follow(&mut self, image: &Path, format: Format, root: &Path) -> Vec<Layer> {
        let mut layers = Vec::new();
        let mut next = Some((image.to_owned(), Some(format), image.display().to_string()));
        let mut above = image.to_owned();
        match root.canonicalize() {
            Ok(root) => self.root = root,
            Err(error) => {
                self.refuse(root.display().to_string(), image, RefusalReason::Open(error));
                return layers;
            }
        }
        while let Some((path, format, name)) = next.take() {
            let layer = match self.layer(&path, format, layers.len()) {
                Ok(layer) => layer,
                Err(reason) => {
                    self.refuse(name, &above, reason);
                    break;
                }
            };
            // QEMU looks for files beside the path that it was given, before symbolic links.
            let beside = folder(&path).to_owned();
            let mut layer = layer;
            for other in layer.header.data_file.iter().chain(&layer.header.extents) {
                match self.locate(&beside, other).and_then(|path| self.open(&path)) {
                    Ok((path, _)) => layer.files.push(path),
                    Err(reason) => self.refuse(other.clone(), &path, reason),
                }
            }
            if let Some(name) = layer.header.backing_file.clone() {
                match (self.locate(&beside, &name), backing_format(&layer)) {
                    (Ok(below), Ok(format)) => next = Some((below, format, name)),
                    (Err(reason), _) | (_, Err(reason)) => self.refuse(name, &path, reason),
                }
            }
            layers.push(layer);
            above = path;
        }
        layers
    }

    fn refuse(&mut self, file: String, named_by: &Path, reason: RefusalReason) {
        self.refused.push(Refusal { file, named_by: named_by.to_owned(), reason });
    }

    fn layer(&mut self, path: &Path, format: Option<Format>, depth: usize) -> Result<Layer, RefusalReason> {
        if depth >= MAXIMUM_LAYERS {
            return Err(RefusalReason::TooDeep);
        }
        let (path, file) = self.open(path)?;
        let format = match format {
            Some(format) => format,
            None => probe(&file).map_err(RefusalReason::Open)?,
        };
        let header = header(&file, format).map_err(RefusalReason::Header)?;
        Ok(Layer { path, format, header, files: Vec::new() })
    }

    /// Where a file that an image names is.
    fn locate(&self, beside: &Path, name: &str) -> Result<PathBuf, RefusalReason> {
        // QEMU takes what stands before a colon, before any slash, for a protocol: `nbd:`, `json:`, `https:`.
        if name.is_empty() || name.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err(RefusalReason::NotAName);
        }
        Ok(beside.join(name))
    }

    fn open(&mut self, path: &Path) -> Result<(PathBuf, File), RefusalReason> {
        let path = path.canonicalize().map_err(RefusalReason::Open)?;
        if !path.starts_with(&self.root) {
            return Err(RefusalReason::Outside(self.root.clone()));
        }
        // A pipe would make opening wait; a link that was put there meanwhile is not followed.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NOCTTY;
        let flags = flags.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(&path).map_err(RefusalReason::Open)?;
        let metadata = file.metadata().map_err(RefusalReason::Open)?;
        if !metadata.is_file() {
            return Err(RefusalReason::NotAFile);
        }
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Err(RefusalReason::Cycle);
        }
        Ok((path, file))
    }
}

/// The format of the file below, if the image says it.
fn backing_format(layer: &Layer) -> Result<Option<Format>, RefusalReason> {
    match &layer.header.backing_format {
        Some(name) => name.parse().map(Some).map_err(|_| RefusalReason::Format(name.clone())),
        // A vmdk's parent is one too.
        None if layer.format == Format::Vmdk => Ok(Some(Format::Vmdk)),
        None => Ok(None),
    }
}
