//! A desktop for the guest x86_64: an X server without a screen, SPICE's agent, and the server of WebDAV folders. It is an archive that is put
//! behind that guest's initial RAM disk; its command `/etc/vivarium/desktop` starts the session.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{apt, folder, initrd, remove};

const SUITE: &str = "bookworm";
const SESSION: &str = include_str!("init/desktop.sh");
/// What there is to be of it. Their dependencies come along.
const PACKAGES: &[&str] = &["xvfb", "spice-vdagent", "spice-webdavd", "xclip"];
/// Packages whose name begins so are left out of the dependencies: what draws in three dimensions, starts a whole system, or configures
/// packages, of which nothing runs.
const LEFT_OUT: &[&str] = &[
    "adduser",
    "adwaita-icon-theme",
    "debconf",
    "dmsetup",
    "dpkg",
    "gcc-",
    "libcolord",
    "libcryptsetup",
    "libdb5",
    "libdevmapper",
    "libdrm-",
    "libgl1-mesa-dri",
    "libllvm",
    "libpam-modules",
    "libperl",
    "libssl",
    "libsystemd-shared",
    "libz3",
    "mount",
    "passwd",
    "perl",
    "procps",
    "systemd",
    "tar",
    "usrmerge",
];
/// Folders that nothing in it reads.
const UNREAD: &[&str] = &["doc", "man", "locale", "icons", "help", "info", "bug", "lintian", "themes", "applications"];
/// Who some of its programs run as, and whom their configuration names.
const PEOPLE: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\navahi:x:101:101::/:/bin/false\n"),
    ("etc/group", "root:x:0:\nmessagebus:x:100:\navahi:x:101:\nnetdev:x:102:\nsudo:x:103:\n"),
];

/// Assembles it beside the guests, unless it is there.
pub fn assemble() -> Result<PathBuf> {
    let place = folder()?.join("desktop");
    let mut hasher = DefaultHasher::new();
    (SUITE, SESSION, PACKAGES, LEFT_OUT, UNREAD, PEOPLE).hash(&mut hasher);
    let recipe = format!("{:016x}", hasher.finish());
    let archive = place.join("initrd.gz");
    if fs::read_to_string(place.join("recipe")).is_ok_and(|known| known == recipe) && archive.is_file() {
        return Ok(archive);
    }

    println!("Assembling the guests' desktop");
    let work = place.with_file_name("desktop.work");
    remove(&work)?;
    let apt = apt::Apt::new(&work.join("apt"), SUITE, "amd64")?;
    let mut packages = apt.closure(PACKAGES)?;
    packages.retain(|package| !LEFT_OUT.iter().any(|left_out| package.name.starts_with(left_out)));
    let (tree, finished) = (work.join("tree"), work.join("finished"));
    apt.unpack(&packages, &work, &tree)?;
    fs::create_dir_all(&finished)?;
    for folder in UNREAD {
        remove(&tree.join("usr/share").join(folder))?;
    }
    remove(&tree.join("usr/lib/x86_64-linux-gnu/gconv"))?;
    for (path, text) in PEOPLE {
        put(&tree.join(path), text, 0o644)?;
    }
    put(&tree.join("etc/vivarium/desktop"), SESSION, 0o755)?;
    initrd::pack(&tree, &finished.join("initrd.gz"))?;
    fs::write(finished.join("recipe"), recipe)?;

    remove(&place)?;
    fs::rename(&finished, &place).with_context(|| format!("Could not move it to {}", place.display()))?;
    remove(&work)?;
    Ok(archive)
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("Could not write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("Could not set the mode of {}", path.display()))
}
