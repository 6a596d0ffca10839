//! Copies an image: shares its blocks where the file system can, else copies only what holds data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::durable::{Partial, SaveError};

/// Bytes that are copied between two looks at the wish to cancel.
const STEP: u64 = 16 << 20;
/// Bytes of the buffer where the kernel cannot copy by itself.
const BUFFER: usize = 1 << 20;

/// How an image was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Both share their blocks until one is written to.
    Shared,
    /// Data was copied, holes were left holes.
    Copied,
}

/// Why an image was not copied. The target is then as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source could not be read.
    #[error("Could not read the image; check that it may be read: {}", path.display())]
    Read {
        /// The source.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The target could not be written.
    #[error(transparent)]
    Write(#[from] SaveError),
    /// As was wished.
    #[error("Copying was cancelled")]
    Cancelled,
}

/// Copies `source` to `target`, which must not exist. `progress` hears how many bytes of how many are done. Setting `cancel` ends it soon.
///
/// It blocks; an event loop calls it on a thread for such.
///
/// # Errors
///
/// [`CopyError`]; the target does not exist then.
pub fn copy(source: &Path, target: &Path, progress: &mut dyn FnMut(u64, u64), cancel: &AtomicBool) -> Result<Method, CopyError> {
    let unreadable = |error| CopyError::Read { path: source.to_owned(), source: error };
    let from = File::open(source).map_err(unreadable)?;
    let length = from.metadata().map_err(unreadable)?.len();
    let partial = Partial::new(target, false)?;
    let failed = SaveError::on("write the copy", target, length);
    let to = File::create_new(partial.path()).map_err(&failed)?;
    let method = if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        Method::Shared
    } else {
        to.set_len(length).map_err(&failed)?;
        let job = Job { from: &from, to: &to, length, cancel };
        job.run(progress).map_err(|trouble| match trouble {
            Trouble::Read(error) => unreadable(error),
            Trouble::Write(error) => failed(error).into(),
            Trouble::Cancelled => CopyError::Cancelled,
        })?;
        Method::Copied
    };
    partial.finish(false)?;
    progress(length, length);
    Ok(method)
}

enum Trouble {
    Read(io::Error),
    Write(io::Error),
    Cancelled,
}

struct Job<'a> {
    from: &'a File,
    to: &'a File,
    length: u64,
    cancel: &'a AtomicBool,
}

impl Job<'_> {
    fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Trouble> {
        let mut in_kernel = true;
        let mut done = 0;
        while let Some(data) = self.next_data(done)? {
            let end = self.next_hole(data)?;
            done = data;
            while done < end {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Trouble::Cancelled);
                }
                progress(done, self.length);
                let step = (end - done).min(STEP);
                let copied = if in_kernel { self.copy_in_kernel(done, step)? } else { Some(self.copy_through(done, step)?) };
                match copied {
                    // The source was cut meanwhile.
                    Some(0) => return Err(Trouble::Read(io::ErrorKind::UnexpectedEof.into())),
                    Some(copied) => done += copied,
                    None => in_kernel = false,
                }
            }
        }
        Ok(())
    }

    /// Where the next data begins, if there is more.
    fn next_data(&self, offset: u64) -> Result<Option<u64>, Trouble> {
        if offset >= self.length {
            return Ok(None);
        }
        match rustix::fs::seek(self.from, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data).filter(|data| *data < self.length)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that does not tell: all is data.
            Err(Errno::INVAL) => Ok(Some(offset)),
            Err(errno) => Err(Trouble::Read(errno.into())),
        }
    }

    fn next_hole(&self, offset: u64) -> Result<u64, Trouble> {
        match rustix::fs::seek(self.from, SeekFrom::Hole(offset)) {
            Ok(hole) => Ok(hole.min(self.length)),
            Err(Errno::INVAL) => Ok(self.length),
            Err(errno) => Err(Trouble::Read(errno.into())),
        }
    }

    /// `None` where the kernel cannot.
    fn copy_in_kernel(&self, offset: u64, count: u64) -> Result<Option<u64>, Trouble> {
        let (mut read, mut written) = (offset, offset);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(self.from, Some(&mut read), self.to, Some(&mut written), count) {
            // Some file systems answer 0 for what they cannot; reading tells.
            Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
            Ok(copied) => Ok(Some(copied as u64)),
            Err(errno) => Err(Trouble::Write(errno.into())),
        }
    }

    fn copy_through(&self, offset: u64, count: u64) -> Result<u64, Trouble> {
        let mut buffer = vec![0; usize::try_from(count).unwrap_or(BUFFER).min(BUFFER)];
        let got = self.from.read_at(&mut buffer, offset).map_err(Trouble::Read)?;
        self.to.write_all_at(buffer.get(..got).unwrap_or_default(), offset).map_err(Trouble::Write)?;
        Ok(got as u64)
    }
}
