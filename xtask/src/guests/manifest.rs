//! `guests.json`: what the cache of guests holds, for tests and for people.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::table::Guest;

/// The file `guests.json`.
#[derive(Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Assembled guests, by name.
    pub guests: Vec<Entry>,
    /// Bootable media from the distribution that are there, by name; absolute paths.
    #[serde(default)]
    pub media: BTreeMap<String, PathBuf>,
}

/// One guest. Paths are relative to the folder that holds `guests.json`.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    /// The guest's name.
    pub name: String,
    /// QEMU's name of the architecture.
    pub architecture: String,
    /// Debian's name of the architecture.
    pub debian_architecture: String,
    /// QEMU machines that it starts on; the first is the suggested one.
    pub machines: Vec<String>,
    /// CPU model, where the machine's own default does not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// The device tree, where QEMU gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtb: Option<PathBuf>,
    /// Bootable images, by what they are: `uefi_disk`, `iso`.
    pub images: BTreeMap<String, PathBuf>,
    /// UEFI firmware that starts the images, where that of Debian 12 does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// The kernel's name of the serial console.
    pub console: String,
    /// A kernel command line that shows the guest on its display and its shell on the serial console.
    pub append: String,
    /// The line that the guest prints when it has started.
    pub ready: String,
    /// The shell's prompt.
    pub prompt: String,
    /// The line that the guest prints before it switches off.
    pub going_down: String,
    /// It switches off when its power button is pressed (`system_powerdown`).
    pub power_button: bool,
    /// It can switch its machine off.
    pub powers_off: bool,
    /// Versions of the packages that it was made of.
    pub packages: BTreeMap<String, String>,
    /// Which recipe made it.
    pub recipe: String,
}

/// UEFI firmware of a guest.
#[derive(Serialize, Deserialize)]
pub struct Firmware {
    /// Its read-only code.
    pub code: PathBuf,
    /// Its template of a machine's variables.
    pub variables: PathBuf,
    /// A kernel that is handed to QEMU needs it, too.
    pub unpacks_kernel: bool,
}

/// Names of files that not every guest has, in its folder.
pub struct Files {
    /// The device tree.
    pub dtb: Option<String>,
    /// Bootable images, by what they are.
    pub images: BTreeMap<String, String>,
    /// The firmware; its paths are names, too.
    pub firmware: Option<Firmware>,
}

impl Entry {
    /// Describes a guest that has just been assembled.
    pub fn new(guest: &Guest, recipe: String, packages: BTreeMap<String, String>, files: Files) -> Self {
        let place = |file: &Path| Path::new(guest.name).join(file);
        let serial = format!("console={}", guest.console);
        Self {
            name: guest.name.to_owned(),
            architecture: guest.architecture.to_owned(),
            debian_architecture: guest.debian.to_owned(),
            machines: guest.machines.iter().map(|&machine| machine.to_owned()).collect(),
            cpu: guest.cpu.map(str::to_owned),
            memory_mib: guest.memory,
            kernel: place("kernel".as_ref()),
            initrd: place("initrd.gz".as_ref()),
            dtb: files.dtb.map(|file| place(file.as_ref())),
            firmware: files.firmware.map(|firmware| Firmware {
                code: place(&firmware.code),
                variables: place(&firmware.variables),
                ..firmware
            }),
            images: files.images.into_iter().map(|(name, file)| (name, place(file.as_ref()))).collect(),
            console: guest.console.to_owned(),
            append: ["console=tty0", &serial, guest.append].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "),
            ready: format!("vivarium guest ready {}", guest.name),
            prompt: "guest# ".to_owned(),
            going_down: "vivarium guest going down".to_owned(),
            power_button: guest.power_button,
            powers_off: guest.powers_off,
            packages,
            recipe,
        }
    }

    /// Every file of the guest.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let firmware = self.firmware.iter().flat_map(|firmware| [&firmware.code, &firmware.variables]);
        [&self.kernel, &self.initrd].into_iter().chain(&self.dtb).chain(self.images.values()).chain(firmware)
    }
}

impl Manifest {
    /// Reads the manifest; an empty one when there is none, or one of another form.
    pub fn load(cache: &Path) -> Result<Self> {
        let path = cache.join("guests.json");
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("Could not read the list of guests {}", path.display())),
        }
    }

    /// The guest of that name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.guests.iter().find(|entry| entry.name == name)
    }

    /// Adds or replaces a guest.
    pub fn put(&mut self, entry: Entry) {
        self.guests.retain(|other| other.name != entry.name);
        self.guests.push(entry);
        self.guests.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Whether the media in the list are those that are installed.
    pub fn has_current_media(&self) -> bool {
        self.media == media()
    }

    /// Writes the manifest at once, so that a reader never sees half of it.
    pub fn save(&mut self, cache: &Path) -> Result<()> {
        self.media = media();
        let (path, new) = (cache.join("guests.json"), cache.join("guests.json.new"));
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("Could not write the list of guests {}", path.display()))
    }
}

/// Bootable media that distribution packages install.
fn media() -> BTreeMap<String, PathBuf> {
    let installer = newest_installer(Path::new("/usr/lib/debian-installer/images")).unwrap_or_default();
    [
        ("grub_rescue_iso", PathBuf::from("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")),
        ("memtest_iso", PathBuf::from("/usr/lib/memtest86+/memtest86+x64.iso")),
        ("debian_installer_kernel", installer.join("linux")),
        ("debian_installer_initrd", installer.join("initrd.gz")),
    ]
    .into_iter()
    .map(|(name, path)| (name.to_owned(), path))
    .filter(|(_, path)| path.is_file())
    .collect()
}

/// The folder of the newest Debian's installer in text for PCs, below a folder with one for each release by its number.
fn newest_installer(images: &Path) -> Option<PathBuf> {
    let releases = fs::read_dir(images).ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let folder = |release: u32| images.join(release.to_string()).join("amd64/text/debian-installer/amd64");
    let mut there: Vec<u32> = releases.filter(|release| folder(*release).join("linux").is_file()).collect();
    there.sort_unstable();
    there.pop().map(folder)
}

/// Keeps two runs from assembling at once; held until dropped.
pub fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("Could not create {}", path.display()))?;
    file.lock().with_context(|| format!("Could not lock {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_installer_is_the_one_of_the_highest_number() {
        let images = tempfile::tempdir().unwrap();
        assert_eq!(newest_installer(&images.path().join("none")), None);
        for release in ["9", "12", "13", "daily"] {
            let folder = images.path().join(release).join("amd64/text/debian-installer/amd64");
            fs::create_dir_all(&folder).unwrap();
            // Of the last number there is only the graphical one.
            if release != "13" {
                fs::write(folder.join("linux"), "").unwrap();
            }
        }
        assert_eq!(newest_installer(images.path()), Some(images.path().join("12/amd64/text/debian-installer/amd64")));
    }
}
