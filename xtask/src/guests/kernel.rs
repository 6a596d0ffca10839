//! Finds the kernel in an unpacked package and copies the modules that virtual machines need, with what those depend on.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Folders of modules (below `kernel/`) that are taken whole.
pub const FOLDERS: &[&str] = &["drivers/virtio/", "drivers/s390/virtio/", "drivers/misc/pvpanic/"];

/// Modules that are taken by name, where the kernel has them as modules: what QEMU's devices and UTM's choices of them need.
pub const MODULES: &[&str] = &[
    // Buses and storage.
    "virtio_blk virtio_scsi virtio_mmio ahci ata_piix ata_generic pata_macio pata_cmd64x nvme sd_mod sr_mod sg cdrom sym53c8xx ibmvscsi",
    "mptspi mptsas megaraid_sas vmw_pvscsi floppy sdhci_pci sdhci_iproc bcm2835 mmc_block usb_storage uas physmap cfi_cmdset_0001 mtdblock",
    // File systems.
    "isofs udf vfat nls_cp437 nls_iso8859_1 nls_ascii nls_utf8 ext4 xfs 9p 9pnet_virtio fuse virtiofs overlay crc32c_generic loop",
    // Networks.
    "virtio_net e1000 e1000e igb 8139cp 8139too pcnet32 ne2k_pci tulip vmxnet3 ibmveth sungem sunhme rtl8150 cdc_ether rndis_host smc91x",
    "af_packet vmw_vsock_virtio_transport",
    // Consoles, input, power, clocks.
    "virtio_console virtio_rng evdev button i8042 atkbd psmouse usbhid hid_generic hid_apple gpio_keys gpio_pl061 gpio_poweroff ambakmi",
    "qemu_fw_cfg pcspkr rtc_pl031 rtc_ds1307 rtc_goldfish i6300esb",
    // USB controllers.
    "xhci_pci xhci_hcd ehci_pci ohci_pci uhci_hcd dwc2",
    // Displays.
    "virtio_gpu bochs bochs_drm qxl cirrus cirrus_qemu vmwgfx simpledrm ofdrm fbcon vc4",
    // Sound.
    "snd_hda_intel snd_hda_codec_generic snd_intel8x0 snd_ens1370 snd_usb_audio virtio_snd",
    // Trusted platform modules.
    "tpm_tis tpm_crb tpm_ibmvtpm",
    // Virtio devices, where they are not in a folder above.
    "virtio_balloon virtio_input virtio_mem virtio_pmem virtio_crypto virtio_iommu",
];

/// A kernel in an unpacked package.
pub struct Kernel {
    /// The kernel itself.
    pub image: PathBuf,
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// The folder of its modules.
    modules: PathBuf,
}

/// Finds the kernel below the root of an unpacked package: in `boot`, or since Debian 14 with its modules.
pub fn find(tree: &Path) -> Result<Kernel> {
    let folders = ["lib/modules", "usr/lib/modules"].map(|folder| tree.join(folder));
    let releases = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let modules = releases.map(|entry| entry.path()).next().context("The kernel package has no modules")?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let boot = tree.join("boot");
    let images = ["vmlinuz", "vmlinux"].into_iter().flat_map(|name| [boot.join(format!("{name}-{release}")), modules.join(name)]);
    let image = images.into_iter().find(|image| image.is_file()).with_context(|| format!("There is no kernel {release} in the package"))?;
    Ok(Kernel { image, release, modules })
}

/// Copies the device tree of that name to the folder; returns the name.
pub fn copy_dtb(tree: &Path, name: &str, to: &Path) -> Result<String> {
    let found = process::text(Command::new("find").arg(tree.join("usr/lib")).args(["-name", name]))?;
    let found = found.lines().next().with_context(|| format!("The kernel package has no device tree {name}"))?;
    fs::copy(found, to.join(name)).with_context(|| format!("Could not copy the device tree {found}"))?;
    Ok(name.to_owned())
}

/// Copies modules to `root/lib/modules/RELEASE`, with what they depend on, and indexes them there. They are named as in [`FOLDERS`] and
/// [`MODULES`].
pub fn stage_modules(kernel: &Kernel, folders: &[&str], modules: &[&str], root: &Path) -> Result<()> {
    let base = kernel.modules.ancestors().nth(3).context("The folder of modules has no parent")?;
    depmod(base, &kernel.release)?;
    let index = fs::read_to_string(kernel.modules.join("modules.dep")).context("depmod wrote no modules.dep")?;
    let to = root.join("lib/modules").join(&kernel.release);
    for module in closure(&index, folders, modules) {
        let target = to.join(module.trim_end_matches(".xz"));
        fs::create_dir_all(target.parent().unwrap_or(&to))?;
        let source = kernel.modules.join(&module);
        if module.ends_with(".xz") {
            fs::write(&target, process::output(Command::new("xz").arg("-dc").arg(&source))?)
        } else {
            fs::copy(&source, &target).map(drop)
        }
        .with_context(|| format!("Could not copy the module {}", source.display()))?;
    }
    for list in ["modules.builtin", "modules.order", "modules.builtin.modinfo"] {
        // Not every kernel has the last one; depmod does without.
        let _ = fs::copy(kernel.modules.join(list), to.join(list));
    }
    depmod(root, &kernel.release)
}

fn depmod(base: &Path, release: &str) -> Result<()> {
    let program = which::which("depmod").unwrap_or_else(|_| PathBuf::from("/usr/sbin/depmod"));
    process::quiet(Command::new(program).arg("-b").arg(base).arg(release))
}

/// The wanted modules and all that they depend on, as paths in the folder of modules.
fn closure(index: &str, folders: &[&str], modules: &[&str]) -> BTreeSet<String> {
    let mut depends: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut named: HashMap<String, &str> = HashMap::new();
    for (path, needs) in index.lines().filter_map(|line| line.split_once(':')) {
        depends.insert(path, needs.split_whitespace().collect());
        named.insert(module_name(path), path);
    }
    let by_folder = depends.keys().copied().filter(|path| folders.iter().any(|folder| path.contains(&format!("kernel/{folder}"))));
    let by_name = modules.iter().flat_map(|names| names.split(' ')).filter_map(|name| named.get(name).copied());
    // modules.dep lists indirect dependencies too.
    by_folder.chain(by_name).flat_map(|path| depends[path].iter().copied().chain([path])).map(str::to_owned).collect()
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_wanted_and_what_it_needs() {
        let index = "kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz\n\
                     kernel/net/core/failover.ko.xz:\n\
                     kernel/drivers/usb/storage/usb-storage.ko:\n\
                     kernel/drivers/virtio/virtio.ko:\n\
                     kernel/drivers/wireless/other.ko:\n";
        let taken = closure(index, FOLDERS, MODULES);
        assert_eq!(
            taken.into_iter().collect::<Vec<_>>(),
            [
                "kernel/drivers/net/virtio_net.ko.xz",
                "kernel/drivers/usb/storage/usb-storage.ko",
                "kernel/drivers/virtio/virtio.ko",
                "kernel/net/core/failover.ko.xz"
            ]
        );
    }
}
