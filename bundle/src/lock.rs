//! Who runs a machine: an advisory lock on the bundle's directory, which the kernel drops when the last process that holds it is gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

/// Why a bundle could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds the lock: the machine runs.
    #[error("Machine is in use by another process: {}", .0.display())]
    Held(PathBuf),
    /// The operating system failed.
    #[error("Could not lock bundle: {}", .path.display())]
    Io {
        /// The bundle.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The lock on a bundle. It belongs to the open file description, so it is held until this and every inherited or duplicated descriptor is closed.
#[derive(Debug)]
pub struct BundleLock {
    descriptor: OwnedFd,
}

impl BundleLock {
    /// Takes the lock without waiting. The bundle itself need not be writable.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        // `is_held` takes a shared lock for a moment, and a process that is just being spawned still has its parent's descriptors; neither
        // must look like a machine that runs.
        const PROBE_RETRIES: u32 = 100;
        let failed = |error: rustix::io::Errno| LockError::Io { path: path.to_owned(), source: error.into() };
        let mut descriptor = open_directory(path).map_err(failed)?;
        for _ in 0..PROBE_RETRIES {
            match flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // While it was waited for, the bundle may have been renamed, and another may have its name now.
                    let now = open_directory(path).map_err(failed)?;
                    if same_file(&descriptor, &now).map_err(failed)? {
                        return Ok(Self { descriptor });
                    }
                    descriptor = now;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(4)),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(LockError::Held(path.to_owned()))
    }

    /// Wraps a descriptor that was inherited from a process that holds the lock.
    pub fn from_inherited(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }

    /// Whether somebody holds the lock on the bundle at `path`.
    pub fn is_held(path: &Path) -> Result<bool, LockError> {
        let failed = |error: rustix::io::Errno| LockError::Io { path: path.to_owned(), source: error.into() };
        let descriptor = open_directory(path).map_err(failed)?;
        match flock(&descriptor, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    /// A second descriptor of the same lock, for a child to inherit. It is closed on exec unless the launcher says otherwise.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Gives up the wrapper but not the lock.
    pub fn into_fd(self) -> OwnedFd {
        self.descriptor
    }
}

impl AsFd for BundleLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn same_file(a: &OwnedFd, b: &OwnedFd) -> Result<bool, rustix::io::Errno> {
    let (a, b) = (rustix::fs::fstat(a)?, rustix::fs::fstat(b)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// A name for the bundle on this host that survives renaming: 16 hexadecimal digits of the 64-bit FNV-1a hash of its directory's device and inode
/// numbers, each as eight little-endian bytes. A copy, or another file system, gives another one.
pub fn bundle_id(path: &Path) -> io::Result<String> {
    let metadata = File::open(path)?.metadata()?;
    if !metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let bytes = [metadata.dev().to_le_bytes(), metadata.ino().to_le_bytes()];
    let hash =
        bytes.iter().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    Ok(format!("{hash:016x}"))
}
