//! Boot loaders: what the guest's first instruction is.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Problems;

/// What starts the guest. Apple: `VZBootLoader`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootLoader {
    /// A Linux kernel, without firmware.
    Linux(LinuxBootLoader),
    /// macOS, from the machine's disk. On a Mac with Apple silicon only. Apple: `VZMacOSBootLoader`.
    #[cfg(target_os = "macos")]
    MacOs,
}

impl From<LinuxBootLoader> for BootLoader {
    fn from(loader: LinuxBootLoader) -> Self {
        Self::Linux(loader)
    }
}

/// The longest command line, in bytes, without the zero at its end (`COMMAND_LINE_SIZE` of Linux for x86 is 2048 with it).
pub const COMMAND_LINE_MAXIMUM: usize = 2047;

/// Loads a Linux kernel into memory and enters it. Apple: `VZLinuxBootLoader`.
///
/// Kernels for x86-64 are bzImages (what distributions install as `vmlinuz`) or, on KVM, ELF files (`vmlinux`); those for Macs with Apple
/// silicon are files called `Image`, which are not packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxBootLoader {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk, if the kernel is to have one.
    pub initial_ramdisk: Option<PathBuf>,
    /// The kernel's command line: at most [`COMMAND_LINE_MAXIMUM`] bytes, no zero byte.
    pub command_line: String,
    /// Whether the host unpacks a bzImage, once, which saves the guest half of its boot; by default it does. The kernel is then where it was
    /// linked to be: an unpacked kernel does not choose a random place for itself. Not in Apple's model, whose kernels are never packed.
    pub unpacked_by_host: bool,
}

impl LinuxBootLoader {
    /// A loader of this kernel, without initial RAM disk and with an empty command line.
    pub fn new(kernel: impl AsRef<Path>) -> Self {
        Self { kernel: kernel.as_ref().to_owned(), initial_ramdisk: None, command_line: String::new(), unpacked_by_host: true }
    }

    /// With this initial RAM disk.
    #[must_use]
    pub fn initial_ramdisk(mut self, path: impl AsRef<Path>) -> Self {
        self.initial_ramdisk = Some(path.as_ref().to_owned());
        self
    }

    /// With this command line.
    #[must_use]
    pub fn command_line(mut self, words: impl Into<String>) -> Self {
        self.command_line = words.into();
        self
    }

    /// Whether the host unpacks it.
    #[must_use]
    pub fn unpacked_by_host(mut self, unpacked: bool) -> Self {
        self.unpacked_by_host = unpacked;
        self
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        readable(&self.kernel, &mut problems.field("kernel"));
        if let Some(path) = &self.initial_ramdisk {
            readable(path, &mut problems.field("initial_ramdisk"));
        }
        let mut line = problems.field("command_line");
        line.require(self.command_line.len() <= COMMAND_LINE_MAXIMUM, || {
            format!("It has {} bytes; a kernel takes at most {COMMAND_LINE_MAXIMUM}", self.command_line.len())
        });
        line.require(!self.command_line.contains('\0'), || "A zero byte would end it".to_owned());
    }
}

fn readable(path: &Path, problems: &mut Problems<'_>) {
    match File::open(path).and_then(|file| file.metadata()) {
        Err(error) => problems.add(format!("Could not open it ({error}): {}", path.display())),
        Ok(metadata) if !metadata.is_file() => problems.add(format!("It is not a file: {}", path.display())),
        Ok(metadata) if metadata.len() == 0 => problems.add(format!("It is empty: {}", path.display())),
        Ok(_) => {}
    }
}
