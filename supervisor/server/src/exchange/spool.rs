//! Files on their way into the guest. The process that sends them may open nothing else of a person's, so they are put where it may: as
//! another name of the same file where the file system can, as a copy (on write, where possible) otherwise.

use machine::{Error, ErrorKind, Result};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder.
pub struct Spool(PathBuf);

/// A file that was put there.
pub struct Placed {
    /// Where.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

fn emptied(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

impl Spool {
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Empties it, for a process that is about to start. Its path, without links.
    pub fn prepare(&self) -> io::Result<PathBuf> {
        emptied(&self.0)?;
        private(&self.0)?;
        self.0.canonicalize()
    }

    /// Puts a file there under the number of its transfer.
    pub async fn place(&self, id: u64, path: PathBuf) -> Result<Placed> {
        let folder = self.0.join(id.to_string());
        let placing = tokio::task::spawn_blocking(move || place(&folder, &path));
        placing.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::File, "Cannot read the file").with_source(error)))
    }

    /// Takes it away again.
    pub fn remove(&self, id: u64) {
        // Whatever is left goes with the next process.
        let _ = fs::remove_dir_all(self.0.join(id.to_string()));
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place(folder: &Path, path: &Path) -> Result<Placed> {
    let refused = |error: io::Error| Error::new(ErrorKind::File, format!("Cannot send {}", path.display())).with_source(error);
    let file = path.canonicalize().map_err(refused)?;
    let size = fs::File::open(&file).and_then(|opened| opened.metadata()).map_err(refused)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !size.is_file() || name.is_empty() {
        return Err(Error::new(ErrorKind::File, format!("Only files can be sent, not {}", path.display()))
            .with_hint("share a folder instead: `viv share` does"));
    }
    // The guest hears the name of what was asked for, not of what a link leads to.
    let name = path.file_name().map_or(name, |asked| asked.to_string_lossy().into_owned());
    let full = |error: io::Error| Error::new(ErrorKind::File, format!("Cannot copy {} for the guest", path.display())).with_source(error);
    emptied(folder).and_then(|()| private(folder)).map_err(full)?;
    let to = folder.join(&name);
    if fs::hard_link(&file, &to).is_err() {
        fs::copy(&file, &to).map_err(full)?;
    }
    Ok(Placed { path: to, name, size: size.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_there_as_long_as_it_is_on_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("letter.txt");
        fs::write(&file, "dear guest").unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("link.txt")).unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        spool.prepare().unwrap();
        let placed = spool.place(7, folder.path().join("link.txt")).await.unwrap();
        assert_eq!((placed.name.as_str(), placed.size), ("link.txt", 10));
        assert_eq!(fs::read_to_string(&placed.path).unwrap(), "dear guest");
        spool.remove(7);
        assert!(!placed.path.exists() && file.exists());
        let placed = spool.place(8, file.clone()).await.unwrap();
        spool.prepare().unwrap();
        assert!(!placed.path.exists() && file.exists());
        for wrong in [folder.path().to_path_buf(), folder.path().join("nothing"), "/dev/null".into()] {
            assert_eq!(spool.place(9, wrong).await.err().map(|error| error.kind()), Some(ErrorKind::File));
        }
    }
}
