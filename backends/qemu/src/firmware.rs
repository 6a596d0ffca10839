//! UEFI firmware of the distribution.
//!
//! Distributions describe their firmware in JSON files (QEMU's `docs/interop/firmware.json`): for which targets and machines it is, where
//! its code and its template of variables are, and whether it has Secure Boot. A file of the same name in a directory of higher priority
//! replaces one of lower priority; an empty one hides it; names are tried in their order. What nobody describes is looked for where
//! distributions and QEMU's own build put it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bundle::Architecture;
use serde::{Deserialize, Serialize};

use crate::command_line::INSTALL;

/// Descriptions larger than this are not looked at.
const MAX_DESCRIPTION: u64 = 256 << 10;

/// The firmware that is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Catalogue {
    /// In order of priority; only those whose files exist.
    pub entries: Vec<Firmware>,
}

/// One firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// Read-only code.
    pub code: PathBuf,
    /// Format of `code`.
    pub code_driver: String,
    /// Template of the machine's variables.
    pub variables: PathBuf,
    /// Format of `variables`.
    pub variables_driver: String,
    /// Targets (`x86_64`) with patterns of the machines (`pc-q35-*`) that it is for.
    pub targets: Vec<(String, Vec<String>)>,
    /// Whether it checks signatures.
    pub secure_boot: bool,
    /// Whether the variables have the keys for that.
    pub enrolled_keys: bool,
    /// Whether it needs System Management Mode.
    pub requires_smm: bool,
}

/// Firmware that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No UEFI firmware{} for the machine {machine} ({architecture}) is installed", if *.secure_boot { " with Secure Boot" } else { "" })]
pub struct Missing {
    /// Architecture.
    pub architecture: &'static str,
    /// Machine.
    pub machine: String,
    /// Whether Secure Boot was asked for.
    pub secure_boot: bool,
    /// Debian package; empty where there is none.
    pub package: &'static str,
    /// Machine types that what is installed for the architecture is for, as its descriptions have them.
    pub others: Vec<String>,
}

/// What a machine needs of its firmware.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Architecture.
    pub architecture: Architecture,
    /// Full name of the machine type (`pc-q35-10.0` rather than `q35`), which is what descriptions match.
    pub machine: &'a str,
    /// Whether signatures are to be checked, with keys in the variables.
    pub secure_boot: bool,
    /// Whether the machine can have System Management Mode.
    pub smm: bool,
}

impl Missing {
    /// What to do about it.
    pub fn hint(&self) -> String {
        if !self.secure_boot && !self.others.is_empty() {
            format!("what is installed is for {}: choose such a machine, or switch UEFIBoot off", self.others.join(", "))
        } else if self.package.is_empty() {
            "no package is known to have it: switch UEFIBoot off, or choose another machine".to_owned()
        } else {
            format!("{INSTALL} {} (Debian, Ubuntu)", self.package)
        }
    }
}

impl Catalogue {
    /// What is installed here.
    pub fn read() -> Self {
        let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
        let mut directories = vec![PathBuf::from("/usr/share/qemu/firmware"), PathBuf::from("/usr/local/share/qemu/firmware")];
        directories.push(PathBuf::from("/etc/qemu/firmware"));
        directories.extend(home.map(|home| home.join("qemu/firmware")));
        let mut catalogue = Self::read_from(&directories);
        catalogue.entries.extend(known_places(Path::new("/usr/share")));
        catalogue
    }

    /// What is described in `directories`, which come in order of rising priority.
    pub fn read_from(directories: &[PathBuf]) -> Self {
        let mut files: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
        for directory in directories {
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            for entry in entries.flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "json") {
                    files.insert(entry.file_name(), entry.path());
                }
            }
        }
        let entries = files.into_values().filter_map(|file| {
            let small = file.metadata().is_ok_and(|metadata| metadata.len() <= MAX_DESCRIPTION);
            let text = small.then(|| std::fs::read(&file).ok()).flatten()?;
            // A description that somebody else got wrong must not keep the others from being used.
            let description = serde_json::from_slice::<Description>(&text).ok()?;
            description.firmware().filter(|firmware| firmware.code.is_file() && firmware.variables.is_file())
        });
        Self { entries: entries.collect() }
    }

    /// The best firmware for a machine.
    pub fn choose(&self, need: &Need<'_>) -> Result<&Firmware, Missing> {
        let fits = |firmware: &&Firmware| {
            firmware.is_for(need.architecture, need.machine)
                && firmware.secure_boot == need.secure_boot
                && (!need.secure_boot || firmware.enrolled_keys)
                && (need.smm || !firmware.requires_smm)
                && firmware.variables_driver == "raw"
        };
        let best = self.entries.iter().find(fits);
        let others = || {
            let targets = self.entries.iter().flat_map(|firmware| &firmware.targets);
            let others = targets.filter(|(target, _)| target == need.architecture.as_str()).flat_map(|(_, machines)| machines.clone());
            others.collect::<BTreeSet<String>>().into_iter().collect()
        };
        best.ok_or_else(|| Missing {
            others: others(),
            architecture: need.architecture.as_str(),
            machine: need.machine.to_owned(),
            secure_boot: need.secure_boot,
            package: package(need.architecture),
        })
    }
}

impl Firmware {
    /// Whether it is for a machine type, by its full name.
    pub fn is_for(&self, architecture: Architecture, machine: &str) -> bool {
        let matches = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, machine));
        self.targets.iter().any(|(target, machines)| target == architecture.as_str() && matches(machines))
    }
}

/// The Debian package with the firmware of an architecture; empty where there is none.
pub fn package(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "ovmf",
        Architecture::I386 => "ovmf-ia32",
        Architecture::Aarch64 => "qemu-efi-aarch64",
        Architecture::Arm => "qemu-efi-arm",
        Architecture::Riscv64 => "qemu-efi-riscv64",
        Architecture::Loongarch64 => "qemu-efi-loongarch64",
        _ => "",
    }
}

/// A description as its file writes it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    mode: Option<String>,
    executable: Option<File>,
    nvram_template: Option<File>,
}

#[derive(Deserialize)]
struct File {
    filename: PathBuf,
    format: String,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

impl Description {
    /// As UEFI in flash memory with its variables apart: the only kind that keeps a machine's variables in its bundle.
    fn firmware(self) -> Option<Firmware> {
        let split = self.mapping.mode.as_deref().is_none_or(|mode| mode == "split");
        if self.mapping.device != "flash" || !split || !self.interface_types.iter().any(|kind| kind == "uefi") {
            return None;
        }
        let has = |feature: &str| self.features.iter().any(|name| name == feature);
        let (code, variables) = (self.mapping.executable?, self.mapping.nvram_template?);
        Some(Firmware {
            secure_boot: has("secure-boot"),
            enrolled_keys: has("enrolled-keys"),
            requires_smm: has("requires-smm"),
            code: code.filename,
            code_driver: code.format,
            variables: variables.filename,
            variables_driver: variables.format,
            targets: self.targets.into_iter().map(|target| (target.architecture, target.machines)).collect(),
        })
    }
}

/// Code, variables, target, machine patterns, Secure Boot, SMM.
type KnownPlace = (&'static str, &'static str, &'static str, &'static [&'static str], bool, bool);

/// Files without a description.
const PLACES: &[KnownPlace] = &[
    ("OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd", "x86_64", &["pc-q35-*", "pc-i440fx-*"], false, false),
    ("OVMF/OVMF_CODE_4M.ms.fd", "OVMF/OVMF_VARS_4M.ms.fd", "x86_64", &["pc-q35-*"], true, true),
    ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_VARS.fd", "x86_64", &["pc-q35-*", "pc-i440fx-*"], false, false),
    ("edk2/x64/OVMF_CODE.4m.fd", "edk2/x64/OVMF_VARS.4m.fd", "x86_64", &["pc-q35-*", "pc-i440fx-*"], false, false),
    ("OVMF/OVMF32_CODE_4M.fd", "OVMF/OVMF32_VARS_4M.fd", "i386", &["pc-q35-*", "pc-i440fx-*"], false, false),
    ("OVMF/OVMF32_CODE_4M.secboot.fd", "OVMF/OVMF32_VARS_4M.fd", "i386", &["pc-q35-*"], false, true),
    ("AAVMF/AAVMF_CODE.no-secboot.fd", "AAVMF/AAVMF_VARS.fd", "aarch64", &["virt-*", "virt"], false, false),
    ("AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd", "aarch64", &["virt-*", "virt"], false, false),
    ("AAVMF/AAVMF_CODE.ms.fd", "AAVMF/AAVMF_VARS.ms.fd", "aarch64", &["virt-*", "virt"], true, false),
    ("AAVMF/AAVMF32_CODE.fd", "AAVMF/AAVMF32_VARS.fd", "arm", &["virt-*", "virt"], false, false),
    ("qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "qemu-efi-riscv64/RISCV_VIRT_VARS.fd", "riscv64", &["virt-*", "virt"], false, false),
    ("qemu-efi-loongarch64/QEMU_EFI.fd", "qemu-efi-loongarch64/QEMU_VARS.fd", "loongarch64", &["virt-*", "virt"], false, false),
    // As QEMU's own build installs them.
    ("qemu/edk2-x86_64-code.fd", "qemu/edk2-i386-vars.fd", "x86_64", &["pc-q35-*", "pc-i440fx-*"], false, false),
    ("qemu/edk2-i386-code.fd", "qemu/edk2-i386-vars.fd", "i386", &["pc-q35-*", "pc-i440fx-*"], false, false),
    ("qemu/edk2-aarch64-code.fd", "qemu/edk2-arm-vars.fd", "aarch64", &["virt-*", "virt"], false, false),
    ("qemu/edk2-arm-code.fd", "qemu/edk2-arm-vars.fd", "arm", &["virt-*", "virt"], false, false),
    ("qemu/edk2-riscv-code.fd", "qemu/edk2-riscv-vars.fd", "riscv64", &["virt-*", "virt"], false, false),
    ("qemu/edk2-loongarch64-code.fd", "qemu/edk2-loongarch64-vars.fd", "loongarch64", &["virt-*", "virt"], false, false),
];

/// What is where distributions and QEMU's build put it, below `share`.
fn known_places(share: &Path) -> impl Iterator<Item = Firmware> {
    PLACES.iter().filter_map(move |(code, variables, target, machines, secure_boot, smm)| {
        let (code, variables) = (share.join(code), share.join(variables));
        (code.is_file() && variables.is_file()).then(|| Firmware {
            code,
            variables,
            code_driver: "raw".to_owned(),
            variables_driver: "raw".to_owned(),
            targets: vec![((*target).to_owned(), machines.iter().map(|&machine| machine.to_owned()).collect())],
            secure_boot: *secure_boot,
            enrolled_keys: *secure_boot,
            requires_smm: *smm,
        })
    })
}

/// Whether `text` matches a pattern with `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, matched)) = star else { return false };
                star = Some((at, matched + 1));
                p = at + 1;
                t = matched + 1;
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("pc-q35-*", "pc-q35-10.0", true),
            ("pc-q35-*", "pc-i440fx-10.0", false),
            ("virt-*", "virt", false),
            ("*", "", true),
            ("v?rt-*.0", "virt-10.0", true),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxx", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn describe(directory: &Path, name: &str, code: &Path, features: &[&str]) -> std::io::Result<()> {
        let text = serde_json::json!({
            "description": "test", "interface-types": ["uefi"], "features": features, "tags": [],
            "mapping": {
                "device": "flash",
                "executable": { "filename": code, "format": "raw" },
                "nvram-template": { "filename": code, "format": "raw" },
            },
            "targets": [{ "architecture": "x86_64", "machines": ["pc-q35-*"] }],
        });
        std::fs::write(directory.join(name), text.to_string())
    }

    #[test]
    fn descriptions_are_taken_in_order_and_only_with_their_files() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let (low, high) = (directory.path().join("low"), directory.path().join("high"));
        std::fs::create_dir_all(&low)?;
        std::fs::create_dir_all(&high)?;
        let (plain, secure) = (directory.path().join("plain.fd"), directory.path().join("secure.fd"));
        std::fs::write(&plain, "")?;
        std::fs::write(&secure, "")?;
        describe(&low, "40-secure.json", &secure, &["secure-boot", "enrolled-keys", "requires-smm"])?;
        describe(&low, "50-gone.json", &directory.path().join("gone.fd"), &[])?;
        describe(&low, "60-plain.json", &plain, &[])?;
        describe(&low, "70-hidden.json", &plain, &[])?;
        std::fs::write(high.join("70-hidden.json"), "")?;
        std::fs::write(low.join("10-damaged.json"), "{")?;
        let catalogue = Catalogue::read_from(&[low, high]);
        assert_eq!(catalogue.entries.len(), 2);

        let need = Need { architecture: Architecture::X86_64, machine: "pc-q35-10.0", secure_boot: false, smm: true };
        assert_eq!(catalogue.choose(&need).map(|firmware| &firmware.code), Ok(&plain));
        assert_eq!(catalogue.choose(&Need { secure_boot: true, ..need }).map(|firmware| &firmware.code), Ok(&secure));
        let without_smm = catalogue.choose(&Need { secure_boot: true, smm: false, ..need });
        assert!(without_smm.is_err_and(|missing| missing.hint().contains("ovmf")));
        let elsewhere = catalogue.choose(&Need { machine: "microvm", ..need });
        assert!(elsewhere.is_err_and(|missing| missing.hint().contains("pc-q35-*")));
        assert!(catalogue.choose(&Need { architecture: Architecture::Riscv64, machine: "virt", ..need }).is_err());
        Ok(())
    }
}
