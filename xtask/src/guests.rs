//! `cargo xtask guests`: small Linux guests for the tests, one per architecture, assembled from Debian's kernel packages and a static
//! busybox.
//!
//! With all of them comes a desktop for the first, whose agent tests exchange things with.
//!
//! They are kept in `$VIVARIUM_GUESTS` or `~/.cache/vivarium-guests`; `guests.json` there says what each one is and how to start it.

pub mod apt;
mod boot;
mod desktop;
mod images;
pub mod initrd;
pub mod kernel;
mod manifest;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use manifest::Files;
pub use manifest::{Entry, Manifest};
use table::{GUESTS, Guest};

/// What `cargo xtask guests` can be told.
#[derive(Args)]
pub struct Options {
    /// Guests to assemble (all when none is named)
    names: Vec<String>,
    /// Look for newer packages instead of keeping what is there
    #[arg(long)]
    refresh: bool,
    /// Start every guest once with QEMU, without acceleration, and wait for its prompt
    #[arg(long)]
    boot: bool,
    /// List the guests that exist and whether they are assembled
    #[arg(long)]
    list: bool,
}

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    let cache = folder()?;
    let chosen = choose(&options.names)?;
    if options.list {
        let manifest = Manifest::load(&cache)?;
        for guest in &chosen {
            let state = if is_current(&manifest, &cache, guest) { "assembled" } else { "not assembled" };
            println!("{:<10} {:<12} {state}", guest.name, guest.machines.join(","));
        }
        return Ok(());
    }
    ensure_all(&cache, &chosen, options.refresh)?;
    println!("The guests are in {}", cache.display());
    if options.boot {
        let manifest = Manifest::load(&cache)?;
        boot::all(&manifest, &cache, &chosen)?;
    }
    Ok(())
}

/// Assembles the named guests (all when none is named) unless they are there.
pub fn assemble(names: &[String]) -> Result<()> {
    ensure_all(&folder()?, &choose(names)?, false)
}

fn ensure_all(cache: &Path, guests: &[&Guest], refresh: bool) -> Result<()> {
    guests.iter().try_for_each(|guest| ensure(cache, guest, refresh))?;
    if guests.len() == GUESTS.len() {
        desktop::assemble().context("Could not assemble the guests' desktop")?;
    }
    // Media come and go with packages, not with guests.
    let _lock = manifest::lock(cache)?;
    let mut manifest = Manifest::load(cache)?;
    if !manifest.has_current_media() {
        manifest.save(cache)?;
    }
    Ok(())
}

/// Where the guests are kept.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("VIVARIUM_GUESTS").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let home = std::env::var_os("HOME").context("Neither VIVARIUM_GUESTS nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/vivarium-guests"))
}

fn choose(names: &[String]) -> Result<Vec<&'static Guest>> {
    if names.is_empty() {
        return Ok(GUESTS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            GUESTS.iter().find(|guest| guest.name == name).with_context(|| {
                let known = GUESTS.iter().map(|guest| guest.name).collect::<Vec<_>>().join(", ");
                format!("There is no guest {name}; there are {known}")
            })
        })
        .collect()
}

/// Whether the guest in the cache was made by this recipe and is complete.
fn is_current(manifest: &Manifest, cache: &Path, guest: &Guest) -> bool {
    manifest.find(guest.name).is_some_and(|entry| entry.recipe == recipe(guest) && entry.files().all(|file| cache.join(file).is_file()))
}

/// Changes whenever what a guest is made of changes here, apart from the versions of packages.
fn recipe(guest: &Guest) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (guest, initrd::FILES, kernel::MODULES, kernel::FOLDERS, images::RECIPE).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn ensure(cache: &Path, guest: &Guest, refresh: bool) -> Result<()> {
    let manifest = Manifest::load(cache)?;
    if !refresh && is_current(&manifest, cache, guest) {
        return Ok(());
    }
    build(cache, guest).with_context(|| format!("Could not assemble the guest {}", guest.name))
}

fn build(cache: &Path, guest: &Guest) -> Result<()> {
    let started = Instant::now();
    for program in ["apt-get", "dpkg-deb", "depmod", "cpio", "gzip", "xz"] {
        if which::which(program).is_err() && !Path::new("/usr/sbin").join(program).exists() {
            bail!("The program {program} is missing; cargo xtask setup installs it");
        }
    }
    fs::create_dir_all(cache).with_context(|| format!("Could not create the folder of guests {}", cache.display()))?;
    let _lock = manifest::lock(cache)?;
    let mut manifest = Manifest::load(cache)?;

    let work = cache.join("work").join(guest.name);
    remove(&work)?;
    let apt = apt::Apt::new(&work.join("apt"), guest.suite, guest.debian)?;
    let mut packages = apt.kernel(guest.kernel)?;
    let kernel_package = packages.first().cloned().context("There is no kernel package")?;
    packages.push(apt.candidate("busybox-static")?);
    packages.extend(images::packages(guest).iter().map(|name| apt.candidate(name)).collect::<Result<Vec<_>>>()?);
    let versions = packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect();
    if is_current(&manifest, cache, guest) && manifest.find(guest.name).is_some_and(|entry| entry.packages == versions) {
        println!("{:<10} is up to date", guest.name);
        return remove(&work);
    }

    println!("{:<10} from {} {}", guest.name, kernel_package.name, kernel_package.version);
    let tree = work.join("tree");
    apt.unpack(&packages, &work, &tree)?;

    let finished = work.join("finished");
    fs::create_dir_all(&finished)?;
    let installed = kernel::find(&tree)?;
    fs::copy(&installed.image, finished.join("kernel"))
        .with_context(|| format!("Could not copy the kernel {}", installed.image.display()))?;
    let dtb = guest.dtb.map(|name| kernel::copy_dtb(&tree, name, &finished)).transpose()?;
    initrd::make(guest, &tree, &installed, &work.join("root"), &finished.join("initrd.gz"))?;
    let images = images::make(guest, &tree, &finished)?;
    let firmware = images::take_firmware(guest, &tree, &finished)?;

    // Old files of this guest go only when the new ones are complete.
    let place = cache.join(guest.name);
    remove(&place)?;
    fs::rename(&finished, &place).with_context(|| format!("Could not move the guest to {}", place.display()))?;
    remove(&work)?;
    manifest.put(Entry::new(guest, recipe(guest), versions, Files { dtb, images, firmware }));
    manifest.save(cache)?;
    println!("{:<10} assembled in {:.0} s", guest.name, started.elapsed().as_secs_f32());
    Ok(())
}

/// Removes a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("Could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
