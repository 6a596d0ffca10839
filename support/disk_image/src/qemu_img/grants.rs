//! What one run of qemu-img may use: the files of the images that it is about, and the folder that it writes a new one into.
//!
//! Files that a chain keeps open are handed over as descriptors, under whose names qemu-img opens them: what was looked at is what is used,
//! whatever has come to have its path since. A name in an image that leads elsewhere leads to a file that may not be opened.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::{Confinement, Limits, Requirement};

use super::QemuImgError;
use crate::Chain;
use crate::chain::Part;

/// The first number of a descriptor.
const FIRST: i32 = 3;
/// Bytes that it may allocate. A check keeps two for each cluster of the file: enough for one of 128 TiB with clusters of the usual size.
/// Without a limit a small file with large holes could take all the memory there is.
const MEMORY: u64 = 4 << 30;

/// What a run may use.
#[derive(Default)]
pub struct Grants {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    handed: Vec<(Arc<File>, PathBuf)>,
}

impl Grants {
    /// The image as qemu-img takes it: a graph with nothing left to guess. All of it may be read.
    pub fn reading(&mut self, chain: &Chain) -> Result<String, QemuImgError> {
        let graph = chain.graph(&mut |part| self.name(part)).ok_or_else(|| QemuImgError::Name(chain.top().path.clone()))?;
        self.read.extend(chain.layers().flat_map(|layer| layer.extents.iter().cloned()));
        Ok(format!("json:{graph}"))
    }

    /// The same, and its topmost layer may be written.
    pub fn writing(&mut self, chain: &Chain) -> Result<String, QemuImgError> {
        let top = chain.top();
        let graph = self.reading(chain)?;
        if !top.extents.is_empty() {
            self.by_path(chain);
        }
        let own = [Some(&top.file), top.data.as_ref().map(|data| &data.file)];
        for file in own.into_iter().flatten() {
            self.write.extend(self.handed.iter().position(|(handed, _)| Arc::ptr_eq(handed, file)).map(descriptor_path));
        }
        Ok(graph)
    }

    /// The files of an image by their paths; the topmost layer's may be written.
    pub fn by_path(&mut self, chain: &Chain) {
        let top = chain.top();
        self.write.push(top.path.clone());
        self.write.extend(top.others().map(Path::to_path_buf));
        self.read.extend(chain.files().map(Path::to_path_buf));
    }

    /// A file that may be read.
    pub fn file(&mut self, path: PathBuf) {
        self.read.push(path);
    }

    /// A folder in which files may be made.
    pub fn folder(&mut self, path: PathBuf) {
        self.write.push(path);
    }

    fn name(&mut self, part: Part<'_>) -> Option<String> {
        if part.by_path {
            self.read.push(part.path.to_owned());
            return part.path.to_str().map(str::to_owned);
        }
        let name = descriptor_path(self.handed.len());
        self.handed.push((part.file.clone(), part.path.to_owned()));
        let text = name.to_str().map(str::to_owned);
        self.read.push(name);
        text
    }

    /// The confinement of a run with nothing else.
    pub fn confinement(&self, landlock: Requirement) -> Confinement {
        Confinement {
            limits: Limits { memory: Some(MEMORY), ..Limits::default() },
            // Messages are understood by their English words.
            environment: vec![("LC_ALL".to_owned(), "C".to_owned())],
            landlock,
            ..Confinement::system_program().with_read(self.read.iter().cloned()).with_write(self.write.iter().cloned())
        }
    }

    /// The descriptors, with their numbers.
    pub fn descriptors(&self) -> std::io::Result<Vec<(OwnedFd, i32)>> {
        let number = |(file, number): (&(Arc<File>, PathBuf), i32)| Ok((file.0.try_clone()?.into(), number));
        self.handed.iter().zip(FIRST..).map(number).collect()
    }

    /// What qemu-img said, with the files' own names.
    pub fn readable(&self, said: &str) -> String {
        // The longer numbers first: one may begin with another.
        self.handed.iter().enumerate().rev().fold(said.to_owned(), |said, (index, (_, path))| {
            said.replace(&descriptor_path(index).display().to_string(), &path.display().to_string())
        })
    }
}

/// The name under which the program finds a descriptor.
fn descriptor_path(index: usize) -> PathBuf {
    format!("/proc/self/fd/{}", index.saturating_add(FIRST.unsigned_abs() as usize)).into()
}
