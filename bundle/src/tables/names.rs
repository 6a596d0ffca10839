//! Names that people see, and the relation between versioned machine names and their aliases.

use crate::Architecture;

/// The name of an architecture as people know it.
pub fn label(architecture: Architecture) -> &'static str {
    use Architecture as A;
    match architecture {
        A::Alpha => "Alpha",
        A::Arm => "ARM (aarch32)",
        A::Aarch64 => "ARM64 (aarch64)",
        A::Avr => "AVR",
        A::Hppa => "HPPA",
        A::I386 => "i386 (x86)",
        A::Loongarch64 => "LoongArch64",
        A::M68k => "m68k",
        A::Microblaze => "Microblaze",
        A::Microblazeel => "Microblaze (Little Endian)",
        A::Mips => "MIPS",
        A::Mipsel => "MIPS (Little Endian)",
        A::Mips64 => "MIPS64",
        A::Mips64el => "MIPS64 (Little Endian)",
        A::Or1k => "OpenRISC",
        A::Ppc => "PowerPC",
        A::Ppc64 => "PowerPC64",
        A::Riscv32 => "RISC-V32",
        A::Riscv64 => "RISC-V64",
        A::Rx => "RX",
        A::S390x => "S390x (zSeries)",
        A::Sh4 => "SH4",
        A::Sh4eb => "SH4 (Big Endian)",
        A::Sparc => "SPARC",
        A::Sparc64 => "SPARC64",
        A::Tricore => "TriCore",
        A::X86_64 => "x86_64",
        A::Xtensa => "Xtensa",
        A::Xtensaeb => "Xtensa (Big Endian)",
    }
}

/// Versioned machine names start with one of these, followed by `-` and a version; the alias stands beside it. Longer ones come first.
const FAMILIES: [(&str, &str); 6] = [
    ("pc-q35", "q35"),
    ("pc-i440fx", "pc"),
    ("pc", "pc"),
    ("virt", "virt"),
    ("pseries", "pseries"),
    ("s390-ccw-virtio", "s390-ccw-virtio"),
];

/// The machine without its version: `pc-q35-9.2` is a `q35`, `virt-9.0` a `virt`. A name without a version is its own family.
///
/// The rules of [`super::reset_for_machine`] do not use this: UTM tests raw names, and takes `pc-q35-9.2` for a `pc`.
pub fn machine_family(target: &str) -> &str {
    for (prefix, alias) in FAMILIES {
        if let Some(version) = target.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'))
            && is_version(version)
        {
            return alias;
        }
    }
    target
}

/// `9.2`, `4.0.1`, and with a variant `2.12-sxxm`.
fn is_version(text: &str) -> bool {
    let number = text.split_once('-').map_or(text, |(number, _)| number);
    !number.is_empty() && number.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Names of UTM's built-in icons (`Information.Icon` when `IconCustom` is off). An unknown name means no icon and is no error.
pub const ICONS: [&str; 69] = [
    "AIX",
    "IOS",
    "SUSE",
    "Windows7",
    "almalinux",
    "alpine",
    "amigaos",
    "android",
    "apple-tv",
    "arch-linux",
    "backtrack",
    "bada",
    "beos",
    "centos",
    "chrome-os",
    "cyanogenmod",
    "debian",
    "elementary-os",
    "fedora",
    "firefox-os",
    "freebsd",
    "gentoo",
    "haiku-os",
    "hp-ux",
    "kaios",
    "knoppix",
    "kubuntu",
    "linux",
    "lubuntu",
    "mac",
    "macos",
    "maemo",
    "mandriva",
    "meego",
    "mint",
    "netbsd",
    "nintendo",
    "nixos",
    "openbsd",
    "opensuse",
    "openwrt",
    "os2",
    "palmos",
    "pardus",
    "pisi",
    "playstation-portable",
    "playstation",
    "pop-os",
    "red-hat",
    "remix-os",
    "risc-os",
    "rocky-linux",
    "sabayon",
    "sailfish-os",
    "slackware",
    "solaris",
    "syllable",
    "symbian",
    "threadx",
    "tizen",
    "ubuntu",
    "webos",
    "windows-11",
    "windows-9x",
    "windows-xp",
    "windows",
    "xbox",
    "xubuntu",
    "yunos",
];

/// Whether the name is a built-in icon.
pub fn icon_is_known(name: &str) -> bool {
    ICONS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versioned_machines_belong_to_their_alias() {
        for (target, family) in [
            ("pc-q35-9.2", "q35"),
            ("pc-q35-4.0.1", "q35"),
            ("q35", "q35"),
            ("pc-i440fx-8.0", "pc"),
            ("pc-1.3", "pc"),
            ("pc", "pc"),
            ("virt-9.0", "virt"),
            ("virt", "virt"),
            ("virtex-ml507", "virtex-ml507"),
            ("pseries-10.0", "pseries"),
            ("pseries-2.12-sxxm", "pseries"),
            ("s390-ccw-virtio-9.0", "s390-ccw-virtio"),
            ("s390-ccw-virtio", "s390-ccw-virtio"),
            ("mps2-an385", "mps2-an385"),
            ("virt-", "virt-"),
            ("", ""),
        ] {
            assert_eq!(machine_family(target), family, "{target}");
        }
    }

    #[test]
    fn icons_are_file_names_without_extension() {
        let unique: std::collections::BTreeSet<&str> = ICONS.into_iter().collect();
        assert_eq!(unique.len(), ICONS.len());
        assert!(ICONS.iter().all(|icon| icon.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')));
        assert!(icon_is_known("linux") && !icon_is_known("../linux"));
    }
}
