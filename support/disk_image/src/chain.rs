//! The files that an image is made of, each looked at before anything uses it.
//!
//! A chain keeps what it looked at open: whoever goes on with these descriptors ([`Layer::file`]) uses what was checked, whatever has been
//! put in its place meanwhile.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beneath::{Access, FileError, Folder};
use serde_json::{Value, json};

use crate::durable::folder;
use crate::{Format, Header, HeaderError, header, probe};

/// Layers that a chain may have.
pub const MAXIMUM_LAYERS: usize = 32;

/// One image file of a chain.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where it is: canonical, below the root.
    pub path: PathBuf,
    /// It, opened for reading.
    pub file: Arc<File>,
    /// What it is.
    pub format: Format,
    /// What it says about itself.
    pub header: Header,
    /// The file that holds its data instead of itself (qcow2).
    pub data: Option<DataFile>,
    /// The files that it is made of besides itself (vmdk), canonical, below the root. There may be thousands, so they are not kept open.
    pub extents: Vec<PathBuf>,
}

/// The external data file of an image.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Where it is: canonical, below the root.
    pub path: PathBuf,
    /// It, opened for reading.
    pub file: Arc<File>,
}

/// An image and what is below it, all of it inside one directory.
#[derive(Debug, Clone)]
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
    /// Nobody chose it: the image was to be used alone.
    #[error("It was not chosen with the image")]
    NotChosen,
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
        let whole = |reason: &RefusalReason| {
            matches!(reason, RefusalReason::Outside(_) | RefusalReason::NotAName | RefusalReason::TooDeep | RefusalReason::NotChosen)
        };
        if self.refused.iter().any(|refusal| whole(&refusal.reason)) {
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
    /// Follows what `image` is built on. A format that is not given is looked at; that of a file below is what the image above says, or
    /// else is looked at.
    ///
    /// # Errors
    ///
    /// [`ChainError`] names every file that is refused: outside `root` (after symbolic links), not a regular file, part of a cycle, deeper
    /// than [`MAXIMUM_LAYERS`], of unknown format, unreadable.
    pub fn resolve(image: &Path, format: impl Into<Option<Format>>, root: &Path) -> Result<Self, ChainError> {
        let opened = Folder::open(root).and_then(|folder| Ok((folder, root.canonicalize()?)));
        let (folder, canonical) = opened.map_err(|error| ChainError {
            image: image.to_owned(),
            refused: vec![Refusal { file: root.display().to_string(), named_by: image.to_owned(), reason: RefusalReason::Open(error) }],
        })?;
        let mut resolver = Resolver { folder, canonical, seen: HashSet::new(), refused: Vec::new() };
        let mut layers = resolver.follow(image, format.into()).into_iter();
        match layers.next() {
            Some(top) if resolver.refused.is_empty() => Ok(Self { top, below: layers.collect() }),
            _ => Err(ChainError { image: image.to_owned(), refused: resolver.refused }),
        }
    }

    /// An image that somebody chose, and only it: a file or block device, opened by the caller from `path`. A format that is not given is
    /// looked at.
    ///
    /// # Errors
    ///
    /// [`ChainError`] where it cannot be understood or needs other files.
    pub fn alone(file: File, path: &Path, format: impl Into<Option<Format>>) -> Result<Self, ChainError> {
        let refusal = |file: &str, reason| Refusal { file: file.to_owned(), named_by: path.to_owned(), reason };
        let top = Layer::look(file, path.to_owned(), format.into());
        let top = top.map_err(|reason| ChainError { image: path.to_owned(), refused: vec![refusal(&path.to_string_lossy(), reason)] })?;
        let header = &top.header;
        let others = header.backing_file.iter().chain(&header.data_file).chain(&header.extents);
        let refused: Vec<Refusal> = others.map(|other| refusal(other, RefusalReason::NotChosen)).collect();
        if refused.is_empty() { Ok(Self { top, below: Vec::new() }) } else { Err(ChainError { image: path.to_owned(), refused }) }
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
        self.layers().flat_map(|layer| std::iter::once(layer.path.as_path()).chain(layer.others()))
    }

    /// The chain as QEMU's block device options, with every format and file explicit, so that QEMU follows no name in an image's header.
    /// `name` says how each file shall be opened. Extents of a vmdk are the exception: only QEMU's driver names them, from the place of the
    /// image that does; they were checked. `None` when a file has no name.
    #[must_use]
    pub fn graph(&self, name: &mut dyn FnMut(Part<'_>) -> Option<String>) -> Option<Value> {
        self.layers().rev().try_fold(Value::Null, |below, layer| layer.node(&below, name))
    }
}

/// A file of a chain that its graph names.
#[derive(Debug, Clone, Copy)]
pub struct Part<'c> {
    /// Where it is.
    pub path: &'c Path,
    /// It, opened for reading.
    pub file: &'c Arc<File>,
    /// Whether it must have its own path, because it names others that are found beside it.
    pub by_path: bool,
}

impl Layer {
    /// The files that hold its data, besides itself.
    pub fn others(&self) -> impl Iterator<Item = &Path> {
        self.data.iter().map(|data| &data.path).chain(&self.extents).map(PathBuf::as_path)
    }

    fn look(file: File, path: PathBuf, format: Option<Format>) -> Result<Self, RefusalReason> {
        let format = match format {
            Some(format) => format,
            None => probe(&file).map_err(RefusalReason::Open)?,
        };
        let header = header(&file, format).map_err(RefusalReason::Header)?;
        Ok(Self { path, file: Arc::new(file), format, header, data: None, extents: Vec::new() })
    }

    fn node(&self, below: &Value, name: &mut dyn FnMut(Part<'_>) -> Option<String>) -> Option<Value> {
        let mut file = |path: &Path, file: &Arc<File>, by_path| {
            let name = name(Part { path, file, by_path })?;
            Some(json!({ "driver": "file", "filename": name }))
        };
        let own = file(&self.path, &self.file, !self.extents.is_empty())?;
        let mut node = json!({ "driver": self.format.driver(), "file": own });
        if matches!(self.format, Format::Qcow2 | Format::Qcow | Format::Qed | Format::Vmdk) {
            node["backing"] = below.clone();
        }
        if let Some(data) = &self.data {
            node["data-file"] = file(&data.path, &data.file, false)?;
        }
        Some(node)
    }
}

struct Resolver {
    folder: Folder,
    /// Where the folder really is.
    canonical: PathBuf,
    /// Device and inode of every file met.
    seen: HashSet<(u64, u64)>,
    refused: Vec<Refusal>,
}

impl Resolver {
    fn follow(&mut self, image: &Path, format: Option<Format>) -> Vec<Layer> {
        let mut layers = Vec::new();
        let mut next = Some((image.to_owned(), format, image.display().to_string()));
        let mut above = image.to_owned();
        while let Some((path, format, name)) = next.take() {
            let mut layer = match self.layer(&path, format, layers.len()) {
                Ok(layer) => layer,
                Err(reason) => {
                    self.refuse(name, &above, reason);
                    break;
                }
            };
            // QEMU looks for files beside the path that it was given, before symbolic links.
            let beside = folder(&path).to_owned();
            if let Some(name) = layer.header.data_file.clone() {
                match locate(&beside, &name).and_then(|path| self.open(&path)) {
                    Ok((path, file)) => layer.data = Some(DataFile { path, file: Arc::new(file) }),
                    Err(reason) => self.refuse(name, &path, reason),
                }
            }
            for extent in layer.header.extents.clone() {
                match locate(&beside, &extent).and_then(|path| self.open(&path)) {
                    Ok((path, _)) => layer.extents.push(path),
                    Err(reason) => self.refuse(extent, &path, reason),
                }
            }
            if let Some(name) = layer.header.backing_file.clone() {
                match (locate(&beside, &name), backing_format(&layer)) {
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
        Layer::look(file, path, format)
    }

    fn open(&mut self, path: &Path) -> Result<(PathBuf, File), RefusalReason> {
        let relative = self.relative(path)?;
        let file = self.folder.file(&relative, Access::Read).map_err(|error| match error {
            FileError::Escapes(_) => RefusalReason::Outside(self.canonical.clone()),
            FileError::NotAFile(_) => RefusalReason::NotAFile,
            FileError::Io { source, .. } => RefusalReason::Open(source),
            other => RefusalReason::Open(io::Error::new(io::ErrorKind::NotFound, other.to_string())),
        })?;
        let metadata = file.metadata().map_err(RefusalReason::Open)?;
        let identity = (metadata.dev(), metadata.ino());
        if !self.seen.insert(identity) {
            return Err(RefusalReason::Cycle);
        }
        // The path is for people, and for programs that take no descriptors; what counts is the file.
        let path = self.canonical.join(relative).canonicalize().map_err(RefusalReason::Open)?;
        let there = path.metadata().map_err(RefusalReason::Open)?;
        if identity != (there.dev(), there.ino()) {
            return Err(RefusalReason::Open(io::Error::other("somebody replaced it at this moment")));
        }
        Ok((path, file))
    }

    /// The name below the folder.
    fn relative(&self, path: &Path) -> Result<PathBuf, RefusalReason> {
        let below = |path: &Path| {
            let relative = path.strip_prefix(self.folder.path()).or_else(|_| path.strip_prefix(&self.canonical));
            relative.ok().map(Path::to_owned)
        };
        match below(path) {
            Some(relative) => Ok(relative),
            // By another way, which leads through links outside.
            None => below(&path.canonicalize().map_err(RefusalReason::Open)?).ok_or_else(|| RefusalReason::Outside(self.canonical.clone())),
        }
    }
}

/// Where a file that an image names is.
fn locate(beside: &Path, name: &str) -> Result<PathBuf, RefusalReason> {
    // QEMU takes what stands before a colon, before any slash, for a protocol: `nbd:`, `json:`, `https:`.
    if name.is_empty() || name.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err(RefusalReason::NotAName);
    }
    Ok(beside.join(name))
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
