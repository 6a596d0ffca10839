//! What callers ask for: plain data.

use std::path::PathBuf;
use std::time::Duration;

use bundle::Architecture;
use bundle::qemu::{DriveInterface, PortForward};
use machine::{Ending, StopMethod};

use crate::Machine;

/// What a new machine shall be. Everything is optional: what is left out is chosen for the architecture, the system and the host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateSpec {
    /// Its name. Left out: from the system (`Linux`, `Linux 2`, …). A given name that is taken is refused.
    pub name: Option<String>,
    /// What shall run it.
    pub backend: BackendChoice,
    /// The guest's architecture; left out: the host's.
    pub architecture: Option<Architecture>,
    /// QEMU's machine type; left out: the usual one of the architecture.
    pub machine: Option<String>,
    /// The system that it is for.
    pub os: Os,
    /// QEMU's CPU model; left out: `default`.
    pub cpu: Option<String>,
    /// Whether this computer's processor runs the guest's instructions; `false` emulates them in software. Left out: where it can.
    pub virtualize: Option<bool>,
    /// Memory in MiB; left out: a quarter of the host's, at most 4 GiB.
    pub memory_mib: Option<u64>,
    /// vCPUs; left out: from the host.
    pub cpus: Option<u32>,
    /// Disks; `None`: one of the usual size; empty: none.
    pub disks: Option<Vec<DiskSpec>>,
    /// CD images, which stay where they are. The machine boots from the first. Not combined with a kernel, and for a machine that boots a
    /// kernel just further drives.
    pub isos: Vec<PathBuf>,
    /// A Linux kernel to boot directly. Copied into the bundle.
    pub kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk. Copied into the bundle.
    pub initrd: Option<PathBuf>,
    /// The kernel's device tree. Copied into the bundle.
    pub dtb: Option<PathBuf>,
    /// The kernel's command line.
    pub append: Option<String>,
    /// Firmware of one's own in place of the machine's: a Macintosh's ROM, U-Boot. Copied into the bundle.
    pub bios: Option<PathBuf>,
    /// Left out: UEFI where the machine can have it and neither a kernel nor a `bios` is given.
    pub firmware: Option<Firmware>,
    /// A TPM 2.0, and with it Secure Boot; left out: for Windows with UEFI.
    pub tpm: Option<bool>,
    /// Network; left out: NAT.
    pub network: Option<NetworkSpec>,
    /// Ports of the host that lead to the guest; only with [`NetworkSpec::User`].
    pub port_forwards: Vec<PortForward>,
    /// Whether it has a screen; left out: yes.
    pub display: Option<bool>,
    /// Whether it has sound; left out: with a display.
    pub sound: Option<bool>,
    /// Free text.
    pub notes: Option<String>,
    /// Whether files are taken as disks and CDs that do not look like any.
    pub unchecked: bool,
}

/// What runs a new machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// QEMU.
    #[default]
    Qemu,
    /// Our own framework, which stores UTM's `Apple` kind of configuration.
    Native,
}

/// The system that a machine is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Os {
    /// Linux: paravirtual devices throughout.
    #[default]
    Linux,
    /// Windows 10 or later: devices that its installer has drivers for.
    Windows,
    /// macOS.
    MacOs,
    /// Anything else: conservative devices.
    Other,
}

/// What a machine's processor starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI.
    Uefi,
    /// What QEMU gives the machine unasked: a BIOS on PCs, Open Firmware, OpenSBI, …
    Bios,
    /// Nothing to boot from but a kernel. What QEMU itself needs to start that stays: a PC's BIOS, OpenSBI.
    None,
}

/// How a new machine reaches the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkSpec {
    /// NAT, without rights on the host.
    User,
    /// Bridged to an interface of the host.
    Bridged(String),
    /// Only the host.
    Host,
    /// No network card.
    None,
}

/// A disk of a new machine, or a drive to add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskSpec {
    /// Size in bytes. With `source` left out it is required; with one it enlarges the copy.
    pub size: Option<u64>,
    /// An existing image to copy into the bundle.
    pub source: Option<PathBuf>,
    /// The format in the bundle; left out: qcow2 for QEMU, raw for the native backend.
    pub format: Option<DiskFormat>,
    /// How it is attached; left out: chosen for architecture and system.
    pub interface: Option<DriveInterface>,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl DiskSpec {
    /// An empty disk.
    pub fn of_size(bytes: u64) -> Self {
        Self { size: Some(bytes), ..Self::default() }
    }
}

/// The format of an image in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// qcow2: grows with what the guest writes.
    Qcow2,
    /// The guest's bytes as they are, in a sparse file.
    Raw,
}

/// A drive to add to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveSpec {
    /// A hard disk in the bundle.
    Disk(DiskSpec),
    /// A removable drive whose media stay outside the bundle.
    Removable {
        /// What it is.
        kind: RemovableKind,
        /// What is in it at first.
        medium: Option<PathBuf>,
        /// How it is attached; left out: chosen for architecture and machine.
        interface: Option<DriveInterface>,
    },
    /// A file that the machine is booted with. Copied into the bundle.
    BootFile {
        /// What it is used as.
        kind: BootFileKind,
        /// The file.
        source: PathBuf,
    },
}

/// A removable drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovableKind {
    /// CD or DVD.
    Cd,
    /// Floppy.
    Floppy,
    /// A disk whose image is outside the bundle, such as an installer's USB stick.
    Disk,
}

/// A file that a machine is booted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFileKind {
    /// Firmware for `-bios`.
    Bios,
    /// A Linux kernel.
    Kernel,
    /// Its initial RAM disk.
    Initrd,
    /// Its device tree.
    Dtb,
}

/// How something is imported.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportOptions {
    /// The name; left out: the bundle's own, or the file's.
    pub name: Option<String>,
    /// A bundle stays where it is and is only registered.
    pub link: bool,
    /// A disk image keeps its format instead of becoming qcow2.
    pub keep_format: bool,
    /// For a disk image or a CD: the rest of the machine. Its `name`, `disks` and `isos` are set by the import.
    pub machine: CreateSpec,
}

/// What an export makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// A `.utm` folder.
    #[default]
    Folder,
    /// A `.utm.zip` file.
    Zip,
}

/// How something is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deletion {
    /// Into the desktop's trash, from where it can be brought back.
    #[default]
    Trash,
    /// For good.
    Permanent,
}

/// What a drive's removal does with its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageFate {
    /// Into the desktop's trash.
    #[default]
    Trash,
    /// Deleted for good.
    Delete,
}

/// How to stop a machine: each step that is given is taken and waited for, then the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopPlan {
    /// Ask the guest, and wait so long for it.
    pub request: Option<Duration>,
    /// End the machine in an orderly way without asking the guest, and wait so long.
    pub force: Option<Duration>,
    /// Kill the backend.
    pub kill: bool,
}

impl StopPlan {
    /// Ask the guest; where it does not stop in time, fail with [`crate::ErrorKind::Timeout`].
    pub const fn request(wait: Duration) -> Self {
        Self { request: Some(wait), force: None, kill: false }
    }

    /// Ask the guest; where it does not stop in time, end the machine.
    pub const fn request_then_force(wait: Duration) -> Self {
        Self { request: Some(wait), force: Some(Self::FORCE_WAIT), kill: true }
    }

    /// End the machine without asking the guest; where that fails, kill it.
    pub const fn force() -> Self {
        Self { request: None, force: Some(Self::FORCE_WAIT), kill: true }
    }

    /// Kill the backend.
    pub const fn kill() -> Self {
        Self { request: None, force: None, kill: true }
    }

    const FORCE_WAIT: Duration = Duration::from_secs(20);
}

/// How a machine was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Which step did it; `None` where it was not running or ended by itself.
    pub by: Option<StopMethod>,
    /// What the machine said at its end, where it said something.
    pub ending: Option<Ending>,
}

/// A machine that was made, and what a person should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The machine.
    pub machine: Machine,
    /// A sentence each: a UUID that was replaced, arguments for QEMU that came with an import, …
    pub notes: Vec<String>,
}

/// What a check of a disk image found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Whether the format has something to check; raw images have not.
    pub checkable: bool,
    /// Errors that endanger data.
    pub corruptions: u64,
    /// Clusters that are allocated for nothing: space that is wasted, nothing worse.
    pub leaks: u64,
    /// Errors that were repaired.
    pub repaired: u64,
    /// The image as it was before the repair, where that changed more than leaks.
    pub original: Option<PathBuf>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub const fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0
    }
}

/// A drive as its machine's configuration and the host's registry say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveInfo {
    /// Its identifier.
    pub id: String,
    /// What it is used as: `Disk`, `CD`, `LinuxKernel`, …
    pub image_type: String,
    /// How it is attached: `VirtIO`, `IDE`, …
    pub interface: String,
    /// Whether its media come from outside the bundle.
    pub removable: bool,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// The image: in the bundle, or the medium in a removable drive.
    pub path: Option<PathBuf>,
    /// The image's format, where it could be told.
    pub format: Option<String>,
    /// What the guest sees, in bytes, where it could be told.
    pub virtual_size: Option<u64>,
    /// What the file takes on disk, in bytes.
    pub allocated: Option<u64>,
}
