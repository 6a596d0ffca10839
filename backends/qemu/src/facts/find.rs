//! Where an emulator is, and which package would bring it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bundle::Architecture;

use super::Error;

/// The emulator of an architecture: first in `directories`, then on the PATH.
pub fn find(architecture: Architecture, directories: &[PathBuf]) -> Result<PathBuf, Error> {
    let program = format!("qemu-system-{}", architecture.as_str());
    find_program(&program, directories).ok_or_else(|| Error::NotInstalled {
        architecture: architecture.as_str(),
        program,
        package: package(architecture),
    })
}

/// A program by name: first in `directories`, then on the PATH.
pub(crate) fn find_program(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
    directories.iter().cloned().chain(on_path).map(|directory| directory.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The Debian package with the emulator of an architecture.
pub fn package(architecture: Architecture) -> &'static str {
    use Architecture as A;
    match architecture {
        A::X86_64 | A::I386 => "qemu-system-x86",
        A::Arm | A::Aarch64 => "qemu-system-arm",
        A::Mips | A::Mipsel | A::Mips64 | A::Mips64el => "qemu-system-mips",
        A::Ppc | A::Ppc64 => "qemu-system-ppc",
        A::Sparc | A::Sparc64 => "qemu-system-sparc",
        A::S390x => "qemu-system-s390x",
        A::Riscv32 | A::Riscv64 => "qemu-system-riscv (qemu-system-misc in older releases)",
        _ => "qemu-system-misc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_emulator_names_its_package() {
        let error =
            Error::NotInstalled { architecture: "s390x", program: "qemu-system-s390x".into(), package: package(Architecture::S390x) };
        let text = error.to_string();
        assert!(text.contains("qemu-system-s390x") && text.contains("install the package"), "{text}");
    }

    #[test]
    fn given_directories_come_before_the_path() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("qemu-system-avr");
        std::fs::write(&program, "")?;
        assert!(!is_executable(&program));
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        assert_eq!(find(Architecture::Avr, &[directory.path().to_owned()]).ok(), Some(program));
        Ok(())
    }
}
