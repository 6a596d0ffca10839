//! Bootable images of a guest: a disk for UEFI, and an ISO that starts from CD or disk, with UEFI and, on PCs, with a BIOS.
//!
//! Everything in them is a file from a package, put in place with mtools and xorriso; nothing needs root. UEFI starts systemd-boot, a BIOS
//! starts isolinux.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::manifest;
use super::table::{Boots, Guest};
use crate::process;

/// Changed by hand when the images are made differently.
pub const RECIPE: u32 = 1;

const MIB: u64 = 1 << 20;

/// Packages that the images are made of, beside kernel and busybox.
pub fn packages(guest: &Guest) -> Vec<&'static str> {
    match guest.boots {
        Boots::Kernel => vec![],
        Boots::Uefi(_) => vec!["systemd-boot-efi"],
        Boots::UefiAndBios(_) => vec!["systemd-boot-efi", "isolinux", "syslinux-common"],
        Boots::UefiWith(_, firmware) => vec!["systemd-boot-efi", firmware.package],
    }
}

/// Makes the images beside `kernel` and `initrd.gz` in the folder; returns their file names by what they are.
pub fn make(guest: &Guest, tree: &Path, folder: &Path) -> Result<BTreeMap<String, String>> {
    let suffix = match guest.boots {
        Boots::Kernel => return Ok(BTreeMap::new()),
        Boots::Uefi(suffix) | Boots::UefiAndBios(suffix) | Boots::UefiWith(suffix, _) => suffix,
    };
    for program in ["mkfs.vfat", "mcopy", "xorriso"] {
        if which::which(program).is_err() && !Path::new("/usr/sbin").join(program).exists() {
            bail!("The program {program} is missing; cargo xtask setup installs it");
        }
    }
    let system = tree.with_file_name("system-partition");
    make_system_partition(guest, suffix, tree, folder, &system)?;
    make_disk(&system, &folder.join("uefi.raw"))?;
    let mut images = BTreeMap::from([("uefi_disk".to_owned(), "uefi.raw".to_owned())]);
    if matches!(guest.boots, Boots::UefiAndBios(_)) {
        make_iso(guest, tree, folder, &system, &folder.join("boot.iso"))?;
        images.insert("iso".to_owned(), "boot.iso".to_owned());
    }
    Ok(images)
}

/// Copies the firmware that comes with the guest, if any, to the folder; the paths of what is returned are the files' names.
pub fn take_firmware(guest: &Guest, tree: &Path, folder: &Path) -> Result<Option<manifest::Firmware>> {
    let Boots::UefiWith(_, firmware) = guest.boots else { return Ok(None) };
    let (code, variables) = ("firmware-code.fd", "firmware-variables.fd");
    for (from, to) in [(firmware.code, code), (firmware.variables, variables)] {
        fs::copy(tree.join(from), folder.join(to)).with_context(|| format!("The package {} has no {from}", firmware.package))?;
    }
    Ok(Some(manifest::Firmware { code: code.into(), variables: variables.into(), unpacks_kernel: firmware.unpacks_kernel }))
}

/// The kernel command line in every image.
fn append(guest: &Guest) -> String {
    format!("console=tty0 console={}", guest.console)
}

/// An EFI system partition: systemd-boot, one entry, the kernel and its initrd.
fn make_system_partition(guest: &Guest, suffix: &str, tree: &Path, folder: &Path, system: &Path) -> Result<()> {
    let (kernel, initrd) = (folder.join("kernel"), folder.join("initrd.gz"));
    let needed = fs::metadata(&kernel)?.len() + fs::metadata(&initrd)?.len();
    let size = (needed / MIB + 16).max(48) * MIB;
    File::create(system)?.set_len(size).with_context(|| format!("Could not make {}", system.display()))?;
    process::quiet(command("mkfs.vfat").args(["-F", "32", "-s", "1", "-n", "VIVARIUM", "-i", "56495641", "--invariant"]).arg(system))?;

    let loader = system.with_file_name("loader.conf");
    fs::write(&loader, "timeout 0\ndefault guest.conf\neditor no\n")?;
    let entry = system.with_file_name("guest.conf");
    fs::write(&entry, format!("title Vivarium test guest\nlinux /kernel\ninitrd /initrd.gz\noptions {}\n", append(guest)))?;
    let boot = tree.join(format!("usr/lib/systemd/boot/efi/systemd-boot{}.efi", suffix.to_ascii_lowercase()));

    process::quiet(command("mmd").arg("-i").arg(system).args(["::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"]))?;
    for (from, to) in [
        (&boot, format!("::/EFI/BOOT/BOOT{suffix}.EFI")),
        (&loader, "::/loader/loader.conf".to_owned()),
        (&entry, "::/loader/entries/guest.conf".to_owned()),
        (&kernel, "::/kernel".to_owned()),
        (&initrd, "::/initrd.gz".to_owned()),
    ] {
        process::quiet(command("mcopy").arg("-i").arg(system).arg(from).arg(to))?;
    }
    Ok(())
}

/// A disk with that partition, which starts at 1 MiB, in an MBR partition table.
fn make_disk(system: &Path, disk: &Path) -> Result<()> {
    let sectors = u32::try_from(fs::metadata(system)?.len() / 512).context("The EFI system partition is too large")?;
    let start = u32::try_from(MIB / 512)?;
    // Type EF is an EFI system partition; the addresses in cylinders are the usual "too large to say".
    let mut partition = vec![0, 0xFE, 0xFF, 0xFF, 0xEF, 0xFE, 0xFF, 0xFF];
    partition.extend(start.to_le_bytes());
    partition.extend(sectors.to_le_bytes());

    let mut file = File::create(disk).with_context(|| format!("Could not make {}", disk.display()))?;
    file.seek(SeekFrom::Start(446))?;
    file.write_all(&partition)?;
    file.seek(SeekFrom::Start(510))?;
    file.write_all(&[0x55, 0xAA])?;
    file.seek(SeekFrom::Start(MIB))?;
    std::io::copy(&mut File::open(system)?, &mut file)?;
    file.set_len((u64::from(start) + u64::from(sectors)) * 512 + MIB)?;
    Ok(())
}

/// An ISO for BIOS and UEFI that can also be written to a disk.
fn make_iso(guest: &Guest, tree: &Path, folder: &Path, system: &Path, iso: &Path) -> Result<()> {
    let content = system.with_file_name("iso");
    let isolinux = content.join("isolinux");
    fs::create_dir_all(&isolinux)?;
    for (from, to) in [
        (folder.join("kernel"), content.join("kernel")),
        (folder.join("initrd.gz"), content.join("initrd.gz")),
        (system.to_owned(), content.join("efi.img")),
        (tree.join("usr/lib/ISOLINUX/isolinux.bin"), isolinux.join("isolinux.bin")),
        (tree.join("usr/lib/syslinux/modules/bios/ldlinux.c32"), isolinux.join("ldlinux.c32")),
    ] {
        fs::copy(&from, &to).with_context(|| format!("Could not copy {}", from.display()))?;
    }
    let configuration = format!(
        "SERIAL 0 115200\nDEFAULT guest\nPROMPT 0\nTIMEOUT 1\nLABEL guest\n  LINUX /kernel\n  INITRD /initrd.gz\n  APPEND {}\n",
        append(guest)
    );
    fs::write(isolinux.join("isolinux.cfg"), configuration)?;

    let mut xorriso = command("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-V", "VIVARIUM", "-J", "-r", "-o"]).arg(iso);
    xorriso.args(["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
    xorriso.arg("-isohybrid-mbr").arg(tree.join("usr/lib/ISOLINUX/isohdpfx.bin"));
    xorriso.args(["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat"]).arg(&content);
    process::quiet(&mut xorriso)
}

/// A program that may be in a folder for administrators, which is not on everyone's path.
fn command(program: &str) -> Command {
    let administrators = Path::new("/usr/sbin").join(program);
    if which::which(program).is_err() && administrators.exists() { Command::new(administrators) } else { Command::new(program) }
}
