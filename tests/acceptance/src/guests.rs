//! The test guests that `cargo xtask guests` has assembled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::skip;

/// All guests, and media from the distribution's packages.
#[derive(Debug, Deserialize)]
pub struct Guests {
    /// The guests.
    pub guests: Vec<Assembled>,
    /// By name, such as `grub_rescue_iso`.
    #[serde(default)]
    pub media: BTreeMap<String, PathBuf>,
}

/// A kernel with a busybox.
#[derive(Debug, Clone, Deserialize)]
pub struct Assembled {
    /// Its name.
    pub name: String,
    /// QEMU's name of the architecture.
    pub architecture: String,
    /// QEMU's machines that it runs on; the usual one first.
    pub machines: Vec<String>,
    /// The CPU model that it needs, where the usual one is none for it.
    pub cpu: Option<String>,
    /// Memory that it starts well with.
    pub memory_mib: u64,
    /// The kernel; absolute once loaded, as are the other files.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The device tree.
    pub dtb: Option<PathBuf>,
    /// Bootable images, by kind.
    #[serde(default)]
    pub images: BTreeMap<String, PathBuf>,
    /// UEFI firmware that starts the images, where the distribution's may not be installed.
    pub firmware: Option<Firmware>,
    /// The kernel's command line.
    pub append: String,
    /// What it prints when all is set up.
    pub ready: String,
    /// Its shell's prompt.
    pub prompt: String,
    /// What it prints when it was asked to switch off.
    pub going_down: String,
    /// Whether it heeds a power button.
    pub power_button: bool,
    /// Whether it can switch its machine off.
    pub powers_off: bool,
}

/// UEFI firmware.
#[derive(Debug, Clone, Deserialize)]
pub struct Firmware {
    /// Its read-only code; absolute once loaded, as is the other file.
    pub code: PathBuf,
    /// Its template of a machine's variables.
    pub variables: PathBuf,
}

fn folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("VIVARIUM_GUESTS").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME").unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".cache"));
        cache.join("vivarium-guests")
    })
}

/// The desktop that is put behind the initial RAM disk of the guest x86_64, or a reason to skip.
pub fn desktop() -> Option<PathBuf> {
    let archive = folder().join("desktop/initrd.gz");
    if archive.is_file() {
        return Some(archive);
    }
    skip("the guests' desktop is not assembled: `cargo xtask guests`");
    None
}

impl Guests {
    /// Reads the list, or gives a reason to skip.
    pub fn load() -> Option<Self> {
        let folder = folder();
        let Ok(text) = std::fs::read(folder.join("guests.json")) else {
            skip(&format!("there are no test guests in {}; `cargo xtask guests` assembles them", folder.display()));
            return None;
        };
        let mut all: Self = serde_json::from_slice(&text).expect("a list of guests");
        let within = |path: &mut PathBuf| *path = folder.join(&*path);
        for guest in &mut all.guests {
            let firmware = guest.firmware.iter_mut().flat_map(|firmware| [&mut firmware.code, &mut firmware.variables]);
            let files = [&mut guest.kernel, &mut guest.initrd].into_iter().chain(&mut guest.dtb).chain(guest.images.values_mut());
            files.chain(firmware).for_each(within);
        }
        Some(all)
    }

    /// A guest and its emulator, or a reason to skip.
    pub fn find(name: &str) -> Option<Assembled> {
        let found = Self::load()?.guests.into_iter().find(|guest| guest.name == name);
        let Some(guest) = found else {
            skip(&format!("the test guest {name} is not assembled: `cargo xtask guests {name}`"));
            return None;
        };
        crate::emulator(&guest.architecture).map(|_| guest)
    }

    /// A file from the distribution's packages, or a reason to skip.
    pub fn medium(name: &str) -> Option<PathBuf> {
        let found = Self::load()?.media.remove(name).filter(|path| path.is_file());
        if found.is_none() {
            skip(&format!("there is no {name}; `cargo xtask setup` installs it"));
        }
        found
    }
}

impl Assembled {
    /// What makes `viv create` a machine that boots its kernel on `machine`, with a few words more for the kernel.
    pub fn arguments(&self, machine: &str, words: &str) -> Vec<String> {
        let file = |path: &Path| path.display().to_string();
        let mut arguments = vec!["--arch".to_owned(), self.architecture.clone(), "--machine".to_owned(), machine.to_owned()];
        arguments.extend(["--kernel".to_owned(), file(&self.kernel), "--initrd".to_owned(), file(&self.initrd)]);
        arguments.extend(["--append".to_owned(), format!("{} quiet {words}", self.append).trim_end().to_owned()]);
        arguments.extend(["--memory".to_owned(), format!("{}MiB", self.memory_mib)]);
        arguments.extend(self.dtb.iter().flat_map(|dtb| ["--dtb".to_owned(), file(dtb)]));
        arguments
    }
}
