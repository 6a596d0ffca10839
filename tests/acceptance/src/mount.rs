//! A small file system of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory; it goes with this.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts one of `size` (as in `64m`) at a new folder, or gives a reason to skip.
    ///
    /// # Panics
    /// Where the folder cannot be made.
    pub fn tmpfs(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "viv-acceptance"]).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_path_buf()));
        }
        crate::not_possible_here("a file system can only be mounted by root");
        None
    }

    /// Mounts it anew with other options.
    ///
    /// # Panics
    /// Where that is refused.
    pub fn again(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status().unwrap();
        assert!(done.success(), "mount -o remount,{options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
