//! What each architecture and machine can have, so that nothing else decides by name.

use crate::Architecture;

/// What a machine can have. Absence is a property of the emulated machine, whatever the host or its QEMU offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A guest agent and the SPICE agent: clipboard, resizing, time.
    pub agent: bool,
    /// A shared directory.
    pub directory_sharing: bool,
    /// A USB controller.
    pub usb: bool,
    /// EDK2 firmware.
    pub uefi: bool,
    /// The Secure Boot build of that firmware.
    pub secure_boot: bool,
    /// A PS/2 controller that can replace USB keyboard and mouse.
    pub ps2: bool,
}

/// What this machine can have.
pub fn capabilities(architecture: Architecture, target: &str) -> Capabilities {
    use Architecture as A;
    let isapc = target == "isapc";
    let no_agent = matches!(
        architecture,
        A::Avr | A::M68k | A::Microblaze | A::Microblazeel | A::Ppc | A::Ppc64 | A::Rx | A::Sparc | A::Sparc64 | A::Tricore
    );
    let no_usb = matches!(architecture, A::S390x | A::Sparc | A::Sparc64 | A::M68k);
    let secure = matches!(architecture, A::X86_64 | A::I386 | A::Aarch64);
    Capabilities {
        agent: !no_agent && !isapc,
        directory_sharing: !matches!(architecture, A::Sparc | A::Sparc64),
        usb: !no_usb && !isapc,
        uefi: uefi_firmware(architecture).is_some(),
        secure_boot: secure && target != "microvm",
        ps2: target.starts_with("pc") || target.starts_with("q35"),
    }
}

/// Whether a hypervisor on `host` runs guests of this architecture at native speed.
pub fn hypervisor_is_possible(architecture: Architecture, host: Option<Architecture>) -> bool {
    host == Some(architecture)
}

/// The mount tag of the shared folder, where it is a file system of the guest's.
pub fn share_tag(target: &str) -> &'static str {
    if matches!(target, "q800" | "mac99") { "share_1" } else { "share" }
}

/// Prefixes of the EDK2 files of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UefiFirmware {
    /// `<code>-code.fd`, and `<code>-secure-code.fd` where there is Secure Boot.
    pub code: &'static str,
    /// `<vars>-vars.fd`, the template of `Data/efi_vars.fd`.
    pub vars: &'static str,
}

/// The firmware of an architecture; `None` when there is none, and then a configuration with `UEFIBoot` cannot be saved.
pub fn uefi_firmware(architecture: Architecture) -> Option<UefiFirmware> {
    use Architecture as A;
    let (code, vars) = match architecture {
        A::Arm => ("edk2-arm", "edk2-arm"),
        A::Aarch64 => ("edk2-aarch64", "edk2-arm"),
        A::I386 => ("edk2-i386", "edk2-i386"),
        A::X86_64 => ("edk2-x86_64", "edk2-i386"),
        A::Loongarch64 => ("edk2-loongarch64", "edk2-loongarch64"),
        A::Riscv64 => ("edk2-riscv", "edk2-riscv"),
        _ => return None,
    };
    Some(UefiFirmware { code, vars })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isapc_has_neither_agent_nor_usb() {
        let isapc = capabilities(Architecture::X86_64, "isapc");
        assert!(!isapc.agent && !isapc.usb && isapc.directory_sharing);
        let q35 = capabilities(Architecture::X86_64, "q35");
        assert!(q35.agent && q35.usb && q35.ps2 && q35.uefi && q35.secure_boot);
        assert!(!capabilities(Architecture::X86_64, "microvm").secure_boot);
    }

    #[test]
    fn capabilities_follow_the_architecture() {
        assert!(!capabilities(Architecture::S390x, "s390-ccw-virtio").usb);
        assert!(capabilities(Architecture::S390x, "s390-ccw-virtio").agent);
        assert!(!capabilities(Architecture::Ppc, "mac99").agent);
        assert!(!capabilities(Architecture::Sparc64, "sun4u").directory_sharing);
        assert!(capabilities(Architecture::Arm, "virt").uefi && !capabilities(Architecture::Arm, "virt").secure_boot);
        assert_eq!(uefi_firmware(Architecture::X86_64).map(|firmware| firmware.vars), Some("edk2-i386"));
        assert_eq!(uefi_firmware(Architecture::Riscv32), None);
    }

    #[test]
    fn a_hypervisor_runs_only_its_own_architecture() {
        assert!(hypervisor_is_possible(Architecture::X86_64, Some(Architecture::X86_64)));
        assert!(!hypervisor_is_possible(Architecture::X86_64, Some(Architecture::Aarch64)));
        assert!(!hypervisor_is_possible(Architecture::X86_64, None));
    }
}
