//! The Linux that is emulated: Debian's kernel with the modules that KVM needs, and busybox.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::guests::{self, apt, initrd, kernel};

const INIT: &str = include_str!("init.sh");
const MODULES: &[&str] = &["kvm_amd virtio_pci 9p 9pnet_virtio overlay dummy tun"];
const SUITE: &str = "bookworm";

/// Its files.
pub struct Host {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
}

/// Assembles it beside the test guests, unless it is there.
pub fn assemble() -> Result<Host> {
    let place = guests::folder()?.join("kvm-host");
    let mut hasher = DefaultHasher::new();
    (INIT, MODULES, SUITE).hash(&mut hasher);
    let recipe = format!("{:016x}", hasher.finish());
    let host = Host { kernel: place.join("kernel"), initrd: place.join("initrd.gz") };
    if fs::read_to_string(place.join("recipe")).is_ok_and(|known| known == recipe) {
        return Ok(host);
    }

    println!("Assembling the Linux that has KVM");
    let work = place.with_file_name("kvm-host.work");
    guests::remove(&work)?;
    let apt = apt::Apt::new(&work.join("apt"), SUITE, "amd64")?;
    let mut packages = apt.kernel("linux-image-amd64")?;
    packages.push(apt.candidate("busybox-static")?);
    let tree = work.join("tree");
    apt.unpack(&packages, &work, &tree)?;

    let (finished, root) = (work.join("finished"), work.join("root"));
    fs::create_dir_all(&finished)?;
    fs::create_dir_all(root.join("bin"))?;
    let found = kernel::find(&tree)?;
    fs::copy(&found.image, finished.join("kernel")).context("Could not copy the kernel")?;
    initrd::put_busybox(&tree, &root)?;
    fs::write(root.join("init"), INIT).context("Could not write the emulated Linux's init")?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    kernel::stage_modules(&found, &[], MODULES, &root)?;
    initrd::pack(&root, &finished.join("initrd.gz"))?;
    fs::write(finished.join("recipe"), recipe)?;

    guests::remove(&place)?;
    fs::rename(&finished, &place).with_context(|| format!("Could not move it to {}", place.display()))?;
    guests::remove(&work)?;
    Ok(host)
}
