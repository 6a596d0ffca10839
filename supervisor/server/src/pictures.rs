//! The picture of a machine in its bundle, `screenshot.png`: what its first display showed when somebody last paused it or stopped it.
//!
//! UTM takes one each minute as well. A supervisor wakes up for nothing, so here a machine that ends by itself leaves the last one.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The largest one that is kept, in bytes: a guest chooses what it shows.
const LARGEST: usize = 64 << 20;

/// Where the picture is kept, if at all.
#[derive(Debug)]
pub struct Pictures {
    file: Option<PathBuf>,
}

impl Pictures {
    /// Of the machine in `bundle`. Where a person does not want them, the one that is there goes; a disposable run changes nothing.
    pub fn new(bundle: &Path, wanted: bool, disposable: bool) -> Self {
        let file = bundle.join(bundle::SCREENSHOT_FILE);
        match (wanted, disposable) {
            (_, true) => Self { file: None },
            (true, false) => Self { file: Some(file) },
            (false, false) => {
                if let Err(error) = std::fs::remove_file(&file)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(%error, "Cannot remove the picture of the machine");
                }
                Self { file: None }
            }
        }
    }

    /// Whether any are kept.
    pub const fn are_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Keeps this one instead of the last. Whoever reads the file finds the one or the other. Where there can be none, in a bundle that may not
    /// be written for example, the machine is none the worse.
    pub fn keep(&self, png: &[u8]) {
        let Some(file) = self.file.as_ref().filter(|_| png.len() <= LARGEST) else { return };
        // Not flushed to the disk: flushing could take its time, and what a power cut takes is only a picture.
        let kept = || -> std::io::Result<()> {
            let folder = file.parent().unwrap_or(file);
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            let mut new = tempfile::Builder::new().prefix(".new-").permissions(permissions).tempfile_in(folder)?;
            new.write_all(png)?;
            new.persist(file).map(drop).map_err(|error| error.error)
        };
        if let Err(error) = kept() {
            tracing::info!(%error, "Cannot keep a picture of the machine");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_is_kept_unless_nobody_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("screenshot.png");
        let entries = || std::fs::read_dir(folder.path()).unwrap().count();
        let pictures = Pictures::new(folder.path(), true, false);
        pictures.keep(b"first");
        pictures.keep(b"second");
        assert_eq!((std::fs::read(&file).unwrap().as_slice(), entries()), (b"second".as_slice(), 1));

        for wanted in [true, false] {
            let disposable = Pictures::new(folder.path(), wanted, true);
            disposable.keep(b"third");
            assert!(!disposable.are_kept() && std::fs::read(&file).unwrap() == b"second");
        }
        pictures.keep(&vec![0; LARGEST + 1]);
        assert_eq!(std::fs::read(&file).unwrap(), b"second");
        Pictures::new(folder.path(), false, false).keep(b"fourth");
        assert_eq!(entries(), 0);
    }

    #[test]
    fn it_is_never_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (bundle, precious) = (folder.path().join("M.utm"), folder.path().join("precious"));
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, bundle.join("screenshot.png")).unwrap();
        Pictures::new(&bundle, true, false).keep(b"picture");
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        assert_eq!(std::fs::read(bundle.join("screenshot.png")).unwrap(), b"picture");
    }
}
