//! The guests' initial file system: busybox, modules, and an init of our own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::kernel::{self, Kernel};
use super::table::Guest;
use crate::process;

/// Files of ours: where they go, what they say, whether they run.
pub const FILES: &[(&str, &str, bool)] = &[
    ("init", include_str!("init/init.sh"), true),
    ("etc/vivarium/banner", include_str!("init/banner.sh"), true),
    ("etc/vivarium/going-down", include_str!("init/going-down.sh"), true),
    ("etc/vivarium/uevent", include_str!("init/uevent.sh"), true),
    ("etc/acpi/PWRF/00000080", include_str!("init/going-down.sh"), true),
    ("usr/share/udhcpc/default.script", include_str!("init/udhcpc.sh"), true),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", false),
    ("etc/group", "root:x:0:\n", false),
    ("etc/hosts", "127.0.0.1 localhost\n", false),
];

/// Assembles the initrd from the unpacked packages.
pub fn make(guest: &Guest, tree: &Path, kernel: &Kernel, root: &Path, file: &Path) -> Result<()> {
    for folder in ["bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "sys", "run", "tmp", "mnt", "root", "etc", "var/log"] {
        fs::create_dir_all(root.join(folder))?;
    }
    put_busybox(tree, root)?;
    for (path, text, runs) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, text).with_context(|| format!("Could not write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(if *runs { 0o755 } else { 0o644 }))?;
    }
    fs::write(root.join("etc/vivarium/name"), format!("{}\n", guest.name))?;
    kernel::stage_modules(kernel, kernel::FOLDERS, kernel::MODULES, root)?;
    pack(root, file)
}

/// Copies busybox from the unpacked packages, as the shell too.
pub fn put_busybox(tree: &Path, root: &Path) -> Result<()> {
    let busybox = ["bin/busybox", "usr/bin/busybox"]
        .into_iter()
        .map(|path| tree.join(path))
        .find(|path| path.is_file())
        .context("The package busybox-static has no busybox")?;
    fs::copy(&busybox, root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh")).context("Could not make busybox the shell")
}

/// Packs a tree into an initial RAM disk, the same for the same tree.
pub fn pack(root: &Path, file: &Path) -> Result<()> {
    let script = r#"find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --create --format=newc --owner=0:0 --reproducible | gzip -n > "$0""#;
    process::quiet(Command::new("bash").args(["-o", "pipefail", "-c", script]).arg(file).current_dir(root))
}
