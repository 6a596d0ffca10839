//! The files of a run, each opened once: what was looked at is what QEMU gets, whatever has come to have its path since.

use beneath::{Access, FileError, Folder};
use bundle::FileName;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of a bundle, and media from elsewhere, by their paths.
#[derive(Debug)]
pub struct Files {
    bundle: Folder,
    opened: HashMap<PathBuf, Arc<File>>,
}

impl Files {
    /// Those of the bundle at `bundle`; none yet.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn of(bundle: &Path) -> io::Result<Self> {
        Ok(Self { bundle: Folder::open(bundle)?, opened: HashMap::new() })
    }

    /// Keeps a file that was looked at.
    pub fn keep(&mut self, path: PathBuf, file: Arc<File>) {
        self.opened.insert(path, file);
    }

    /// Opens a file of the bundle's `Data` and keeps it; `false` where there is none.
    ///
    /// # Errors
    /// A link that leads elsewhere, and the like.
    pub fn open(&mut self, name: &FileName) -> Result<bool, FileError> {
        let Some((path, file)) = bundle::open_data(&self.bundle, name, Access::Read)? else { return Ok(false) };
        self.keep(path, Arc::new(file));
        Ok(true)
    }

    /// Makes a file of the bundle's `Data`, unless it is there: whole, or not at all, and never through a link.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make(&mut self, path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        if self.opened.contains_key(path) {
            return Ok(());
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|_| path.parent() == Some(&self.bundle.path().join(bundle::DATA_FOLDER)));
        let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no file of the machine"))?;
        let data = self.bundle.folder(bundle::DATA_FOLDER).map_err(said)?;
        let file = data.create(name, fill)?;
        self.keep(path.to_owned(), Arc::new(file));
        Ok(())
    }

    /// The file, where it was opened.
    pub fn get(&self, path: &Path) -> Option<&File> {
        self.opened.get(path).map(Arc::as_ref)
    }

    /// A descriptor for QEMU, with an offset and locks of its own. A file of the bundle is only ever the one that was looked at; others are
    /// ours, like overlays and firmware, and opened by their paths.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hand_over(&self, path: &Path, access: Access) -> io::Result<File> {
        match self.opened.get(path) {
            Some(file) => beneath::reopen(file, access),
            None if path.starts_with(self.bundle.path()) => {
                Err(io::Error::new(io::ErrorKind::NotFound, "it was not there when the machine was looked at"))
            }
            None => File::options().read(true).write(access == Access::ReadWrite).open(path),
        }
    }
}

/// An error in the words of who has a path to say it with.
fn said(error: FileError) -> io::Error {
    match error {
        FileError::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    /// A bundle beside a file that is nobody else's business.
    fn bundle() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("a.utm");
        std::fs::create_dir_all(bundle.join("Data")).unwrap();
        std::fs::write(folder.path().join("precious"), "precious").unwrap();
        (folder, bundle)
    }

    #[test]
    fn what_takes_a_files_name_after_it_was_looked_at_is_not_handed_over() {
        let (_folder, bundle) = bundle();
        let path = bundle.join("Data/disk");
        std::fs::write(&path, "disk").unwrap();
        let mut files = Files::of(&bundle).unwrap();
        assert!(files.open(&FileName::new("disk").unwrap()).unwrap());
        assert!(!files.open(&FileName::new("late").unwrap()).unwrap());
        std::fs::remove_file(&path).unwrap();
        for name in ["disk", "late"] {
            symlink("../../precious", bundle.join("Data").join(name)).unwrap();
        }
        let mut text = String::new();
        files.hand_over(&path, Access::ReadWrite).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "disk");
        assert!(files.hand_over(&bundle.join("Data/late"), Access::Read).is_err());
    }

    #[test]
    fn what_is_made_is_never_written_through_a_link() {
        let (folder, bundle) = bundle();
        let path = bundle.join("Data/efi_vars.fd");
        let mut files = Files::of(&bundle).unwrap();
        symlink("../../precious", &path).unwrap();
        assert!(files.make(&path, |file| file.write_all(b"variables")).is_err());
        std::fs::remove_file(&path).unwrap();
        files.make(&path, |file| file.write_all(b"variables")).unwrap();
        files.make(&path, |_| Err(io::Error::other("it is there"))).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"variables");
        assert_eq!(std::fs::read_dir(bundle.join("Data")).unwrap().count(), 1);
        std::fs::remove_dir_all(bundle.join("Data")).unwrap();
        symlink("..", bundle.join("Data")).unwrap();
        assert!(files.make(&bundle.join("Data/tpmdata"), |_| Ok(())).is_err());
        assert!(files.make(&folder.path().join("elsewhere"), |_| Ok(())).is_err());
        assert_eq!(std::fs::read(folder.path().join("precious")).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
