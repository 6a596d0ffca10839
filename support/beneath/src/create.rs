//! Making files.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::{Access, FileError, Folder};

/// Makes the names of unfinished files differ.
static UNFINISHED: AtomicU32 = AtomicU32::new(0);

impl Folder {
    /// The folder `name` in this one, made where there is none.
    ///
    /// # Errors
    /// [`FileError::Escapes`] for a link that leads out; else what the kernel says.
    pub fn folder(&self, name: &str) -> Result<Self, FileError> {
        let path = self.path.join(name);
        match mkdirat(&self.descriptor, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // One that is there and cannot be written beside is found below.
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) if path.is_dir() => {}
            Err(error) => return Err(FileError::Io { path, source: error.into() }),
        }
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let flags = OFlags::RDONLY;
        Ok(Self { descriptor: self.resolved(Path::new(name), flags | OFlags::DIRECTORY | OFlags::CLOEXEC)?, path })
    }

    /// Makes the file `name` with what `fill` writes into it: whole and on the disk, or not at all. The descriptor that it was written by is
    /// what is returned. Nothing is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where there is something of that name; else what `fill` or the kernel says. Nothing is left then.
    pub fn create(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
        let (unfinished, mut file) = self.unfinished()?;
        let made = fill(&mut file).and_then(|()| file.sync_all()).and_then(|()| self.name(&unfinished, name));
        if let Err(error) = made {
            let _ = unlinkat(&self.descriptor, &unfinished, AtFlags::empty());
            return Err(error);
        }
        self.sync()?;
        Ok(file)
    }

    /// Puts a file with what `fill` writes into it in the place of `name`: whole, or not at all. A link of that name is replaced, and not what
    /// it leads to.
    ///
    /// # Errors
    /// What `fill` or the kernel says; among others that `name` is a folder. Nothing has changed then.
    pub fn replace(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (unfinished, mut file) = self.unfinished()?;
        let made = fill(&mut file).and_then(|()| Ok(renameat(&self.descriptor, &unfinished, &self.descriptor, name)?));
        if made.is_err() {
            let _ = unlinkat(&self.descriptor, &unfinished, AtFlags::empty());
        }
        made
    }

    /// A file that nobody else has, and its name.
    fn unfinished(&self) -> io::Result<(String, File)> {
        let flags = Access::ReadWrite.flags() | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        loop {
            let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
            let name = format!(".new-{}-{number}", std::process::id());
            match openat(&self.descriptor, &name, flags, Mode::from_raw_mode(0o666)) {
                Ok(descriptor) => return Ok((name, descriptor.into())),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn name(&self, unfinished: &str, name: &str) -> io::Result<()> {
        match linkat(&self.descriptor, unfinished, &self.descriptor, name, AtFlags::empty()) {
            Ok(()) => Ok(unlinkat(&self.descriptor, unfinished, AtFlags::empty())?),
            // File systems without hard links.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                match statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(Errno::NOENT) => Ok(renameat(&self.descriptor, unfinished, &self.descriptor, name)?),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let folder = openat(&self.descriptor, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        match rustix::fs::fsync(folder) {
            // Some network and FUSE file systems have no such operation on folders.
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
