//! The packages that Vivarium needs, by what they are for.

/// Packages for one purpose.
pub struct Group {
    /// What they are for.
    pub reason: &'static str,
    /// Packages without which something does not work.
    pub packages: &'static [&'static str],
    /// Packages that are installed where the distribution has them.
    pub optional: &'static [&'static str],
    /// Programs by which a system with other package names is judged.
    pub programs: &'static [&'static str],
    /// They come from the suite for QEMU.
    pub qemu: bool,
    /// Only the benchmarks need them.
    pub bench: bool,
}

const GROUP: Group = Group { reason: "", packages: &[], optional: &[], programs: &[], qemu: false, bench: false };

/// Everything, in the order in which it is shown.
pub const GROUPS: &[Group] = &[
    Group { reason: "to build", packages: &["gcc", "libc6-dev", "git", "ca-certificates"], programs: &["cc", "git"], ..GROUP },
    Group {
        reason: "to build what talks to guests over SPICE",
        packages: &["libspice-client-glib-2.0-dev", "pkgconf"],
        programs: &["pkg-config"],
        ..GROUP
    },
    Group { reason: "to build the desktop app, which finds the system's fonts", packages: &["libfontconfig-dev"], ..GROUP },
    Group {
        reason: "what the desktop app loads to have windows",
        packages: &["libx11-6", "libx11-xcb1", "libxcb1", "libxcursor1", "libxi6", "libxrandr2", "libxkbcommon0", "libxkbcommon-x11-0"],
        ..GROUP
    },
    Group { reason: "to run the fuzz targets", packages: &["g++"], programs: &["c++"], ..GROUP },
    Group {
        reason: "QEMU, which runs the machines",
        packages: &[
            "qemu-system-x86",
            "qemu-system-arm",
            "qemu-system-misc",
            "qemu-system-ppc",
            "qemu-system-mips",
            "qemu-system-s390x",
            "qemu-system-sparc",
            "qemu-utils",
        ],
        // Split off from qemu-system-misc and from qemu-system-gui in newer releases.
        optional: &["qemu-system-riscv", "qemu-system-gui", "qemu-system-modules-spice", "qemu-system-modules-opengl"],
        programs: &["qemu-system-x86_64", "qemu-system-aarch64", "qemu-system-riscv64", "qemu-system-ppc", "qemu-system-s390x", "qemu-img"],
        qemu: true,
        ..GROUP
    },
    Group {
        reason: "firmware for UEFI machines",
        packages: &["ovmf", "qemu-efi-aarch64", "qemu-efi-arm"],
        // Newer releases have them.
        optional: &["ovmf-ia32", "qemu-efi-riscv64", "qemu-efi-loongarch64"],
        ..GROUP
    },
    Group {
        reason: "helpers of machines: TPM and network",
        packages: &["swtpm", "swtpm-tools"],
        // Older releases have no virtiofsd of their own: it is built there, with the libraries below.
        optional: &["passt", "virtiofsd"],
        programs: &["swtpm", "swtpm_setup", "passt"],
        ..GROUP
    },
    Group { reason: "to build virtiofsd where there is no package", packages: &["libcap-ng-dev", "libseccomp-dev"], ..GROUP },
    Group {
        reason: "to assemble the guests that the tests start",
        packages: &["busybox-static", "cpio", "xz-utils", "kmod", "mtools", "dosfstools", "xorriso", "debian-archive-keyring"],
        programs: &["dpkg-deb", "apt-get", "cpio", "xz", "gzip", "depmod", "mcopy", "mkfs.vfat", "xorriso"],
        ..GROUP
    },
    Group {
        reason: "bootable media that the tests start",
        // A release has the installer of its own version.
        optional: &[
            "grub-rescue-pc",
            "memtest86+",
            "debian-installer-12-netboot-amd64",
            "debian-installer-13-netboot-amd64",
            "debian-installer-14-netboot-amd64",
        ],
        ..GROUP
    },
    Group {
        reason: "what tests of the framework's guests use: a debugger, and settings of networks",
        packages: &["gdb", "iproute2"],
        programs: &["gdb", "ip"],
        ..GROUP
    },
    Group { reason: "the guest agent that tests talk to", packages: &["qemu-guest-agent"], programs: &["qemu-ga"], ..GROUP },
    Group {
        reason: "to look at what machines and windows show, and to use these",
        packages: &["imagemagick", "xvfb", "xdotool", "xclip"],
        programs: &["convert", "Xvfb", "xdotool", "xclip"],
        ..GROUP
    },
    Group {
        reason: "what screen readers reach windows by, as the tests do",
        packages: &["at-spi2-core", "dbus"],
        programs: &["dbus-daemon"],
        ..GROUP
    },
    Group {
        reason: "what the benchmarks compare with",
        packages: &["libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients", "virt-viewer"],
        programs: &["virsh", "remote-viewer"],
        bench: true,
        ..GROUP
    },
];
