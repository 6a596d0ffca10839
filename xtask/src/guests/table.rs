//! The guests that can be assembled: one row per architecture that Debian packages a kernel for.
//!
//! Debian 12 (bookworm) has most of them; riscv64 became a release architecture with Debian 13 (trixie), loong64 will with Debian 14 (forky).
//! Architectures that live only in Debian's ports archive (powerpc, ppc64, sparc64, m68k, hppa, alpha, sh4, x32) and big-endian mips, which
//! Debian dropped, have no row: mirrors of the main archive, where apt gets everything else from, do not have them.

/// One guest.
#[derive(Debug, Hash)]
pub struct Guest {
    /// QEMU's name of the architecture, as in `qemu-system-NAME` and in `.utm` configurations, or such a name and a variant.
    pub name: &'static str,
    /// QEMU's name of the architecture.
    pub architecture: &'static str,
    /// Debian's name of the architecture.
    pub debian: &'static str,
    /// The suite that its packages come from.
    pub suite: &'static str,
    /// The package that depends on the current kernel.
    pub kernel: &'static str,
    /// QEMU machines that it starts on; the first is the suggested one.
    pub machines: &'static [&'static str],
    /// CPU model where the machine's own default does not run the kernel.
    pub cpu: Option<&'static str>,
    /// The kernel's name of the serial console.
    pub console: &'static str,
    /// What else the kernel needs to be told.
    pub append: &'static str,
    /// Memory in MiB that it starts well with.
    pub memory: u32,
    /// Device tree in the kernel package, for machines to which QEMU does not give one.
    pub dtb: Option<&'static str>,
    /// What turns the machine off when a person presses its power button, if anything does.
    pub power_button: bool,
    /// The machine can be switched off by the guest.
    pub powers_off: bool,
    /// Which bootable images are made of it.
    pub boots: Boots,
}

/// Firmware for which bootable images are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Boots {
    /// Only by handing QEMU a kernel.
    Kernel,
    /// A disk and an ISO for UEFI, with this suffix in `BOOT<suffix>.EFI`.
    Uefi(&'static str),
    /// The same; the ISO also starts with a PC BIOS.
    UefiAndBios(&'static str),
    /// As [`Boots::Uefi`], with firmware beside it, for which Debian 12 has no package.
    UefiWith(&'static str, Firmware),
}

/// UEFI firmware out of a package of the guest's own suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Firmware {
    /// The package.
    pub package: &'static str,
    /// Its read-only code, as a path in the package.
    pub code: &'static str,
    /// Its template of a machine's variables, as a path in the package.
    pub variables: &'static str,
    /// A kernel that is handed to QEMU needs it, too: QEMU itself cannot unpack it.
    pub unpacks_kernel: bool,
}

const BASE: Guest = Guest {
    name: "",
    architecture: "",
    debian: "",
    suite: "bookworm",
    kernel: "",
    machines: &[],
    cpu: None,
    console: "ttyS0",
    append: "",
    memory: 512,
    dtb: None,
    power_button: true,
    powers_off: true,
    boots: Boots::Kernel,
};

/// Every guest, most used first.
pub const GUESTS: &[Guest] = &[
    Guest {
        name: "x86_64",
        architecture: "x86_64",
        debian: "amd64",
        kernel: "linux-image-amd64",
        machines: &["q35", "pc", "microvm"],
        boots: Boots::UefiAndBios("X64"),
        ..BASE
    },
    Guest {
        name: "aarch64",
        architecture: "aarch64",
        debian: "arm64",
        kernel: "linux-image-arm64",
        machines: &["virt"],
        cpu: Some("max"),
        console: "ttyAMA0",
        boots: Boots::Uefi("AA64"),
        ..BASE
    },
    Guest { name: "i386", architecture: "i386", debian: "i386", kernel: "linux-image-686-pae", machines: &["pc", "q35"], ..BASE },
    Guest {
        name: "arm",
        architecture: "arm",
        debian: "armhf",
        kernel: "linux-image-armmp-lpae",
        machines: &["virt"],
        cpu: Some("cortex-a15"),
        console: "ttyAMA0",
        boots: Boots::Uefi("ARM"),
        ..BASE
    },
    Guest {
        name: "ppc64",
        architecture: "ppc64",
        debian: "ppc64el",
        kernel: "linux-image-powerpc64le",
        machines: &["pseries"],
        console: "hvc0",
        memory: 1024,
        ..BASE
    },
    Guest {
        name: "s390x",
        architecture: "s390x",
        debian: "s390x",
        kernel: "linux-image-s390x",
        machines: &["s390-ccw-virtio"],
        console: "ttysclp0",
        ..BASE
    },
    Guest {
        name: "riscv64",
        architecture: "riscv64",
        debian: "riscv64",
        suite: "trixie",
        kernel: "linux-image-riscv64",
        machines: &["virt"],
        power_button: false,
        boots: Boots::UefiWith(
            "RISCV64",
            Firmware {
                package: "qemu-efi-riscv64",
                code: "usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
                variables: "usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd",
                unpacks_kernel: false,
            },
        ),
        ..BASE
    },
    Guest {
        name: "loongarch64",
        architecture: "loongarch64",
        debian: "loong64",
        suite: "forky",
        kernel: "linux-image-loong64",
        machines: &["virt"],
        boots: Boots::UefiWith(
            "LOONGARCH64",
            Firmware {
                package: "qemu-efi-loongarch64",
                code: "usr/share/qemu-efi-loongarch64/QEMU_EFI.fd",
                variables: "usr/share/qemu-efi-loongarch64/QEMU_VARS.fd",
                unpacks_kernel: true,
            },
        ),
        ..BASE
    },
    Guest {
        name: "mips64el",
        architecture: "mips64el",
        debian: "mips64el",
        kernel: "linux-image-5kc-malta",
        machines: &["malta"],
        cpu: Some("5KEc"),
        power_button: false,
        ..BASE
    },
    Guest {
        name: "mipsel",
        architecture: "mipsel",
        debian: "mipsel",
        kernel: "linux-image-4kc-malta",
        machines: &["malta"],
        cpu: Some("24Kf"),
        power_button: false,
        ..BASE
    },
    Guest {
        name: "armv6",
        architecture: "arm",
        debian: "armel",
        kernel: "linux-image-rpi",
        machines: &["raspi0"],
        console: "ttyAMA0",
        // QEMU has no power domains of this board, and the kernel's driver for them does not survive that.
        append: "initcall_blacklist=bcm2835_pm_driver_init,bcm2835_power_driver_init",
        dtb: Some("bcm2835-rpi-zero.dtb"),
        power_button: false,
        powers_off: false,
        ..BASE
    },
];
