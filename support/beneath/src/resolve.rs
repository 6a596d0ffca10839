//! From a name below a folder to a descriptor.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::Folder;

/// [`Errno::XDEV`] where a link leads out of the folder.
#[cfg(target_os = "linux")]
pub fn open(folder: &Folder, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel gives up with EAGAIN when something is renamed while it resolves.
    for _ in 0..16 {
        match openat2(&folder.descriptor, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return compared(folder.path(), relative, flags),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// [`Errno::XDEV`] where a link leads out of the folder.
#[cfg(not(target_os = "linux"))]
pub fn open(folder: &Folder, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    compared(folder.path(), relative, flags)
}

/// Resolves the path, compares it with the folder's and opens what it led to. Somebody who changes the folder at the same moment could win the race.
fn compared(folder: &Path, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let root = folder.canonicalize().map_err(errno)?;
    let resolved = root.join(relative).canonicalize().map_err(errno)?;
    if !resolved.starts_with(&root) {
        return Err(Errno::XDEV);
    }
    rustix::fs::open(&resolved, flags | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Where the kernel cannot resolve beneath a folder, comparing paths refuses the same links.
    #[test]
    fn comparing_refuses_what_the_kernel_would() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("a.utm");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(outer.path().join("secret"), "").unwrap();
        std::fs::write(path.join("file"), "").unwrap();
        symlink("../secret", path.join("out")).unwrap();
        symlink("file", path.join("in")).unwrap();
        let folder = Folder::open(&path).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        for (name, outcome) in
            [("file", Ok(())), ("in", Ok(())), ("out", Err(Errno::XDEV)), ("../secret", Err(Errno::XDEV)), ("missing", Err(Errno::NOENT))]
        {
            assert_eq!(compared(&path, Path::new(name), flags).map(drop), outcome, "{name}");
            assert_eq!(open(&folder, Path::new(name), flags).map(drop), outcome, "{name}");
        }
    }
}
