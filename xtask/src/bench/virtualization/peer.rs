//! The two that are compared, as command lines.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::serial::Serial;

/// MiB of the guest.
pub const MEMORY: u32 = 256;

/// Who runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `vmrun`.
    Ours,
    /// QEMU's microvm.
    Microvm,
}

/// A disk: where it is and its format.
pub type Disk = (PathBuf, &'static str);

impl Peer {
    /// The same with memory that is counted by itself: QEMU's in a memfd, as ours always is, where it is slower.
    pub fn counted_command(self, prepared: &Path, words: &str) -> Command {
        let mut command = self.command(prepared, words, None);
        if self == Self::Microvm {
            let memory = format!("memory-backend-memfd,id=memory,size={MEMORY}M,share=on");
            command.args(["-object", &memory, "-machine", "memory-backend=memory"]);
        }
        command
    }

    /// The command that boots the prepared guest with this command line and perhaps a disk; its serial port is standard output.
    pub fn command(self, prepared: &Path, words: &str, disk: Option<&Disk>) -> Command {
        let (kernel, initrd) = (prepared.join("kernel"), prepared.join("initrd.gz"));
        let mut command;
        match self {
            Self::Ours => {
                command = Command::new(prepared.join("vmrun"));
                command.args(["--memory", &MEMORY.to_string(), "--no-reboot", "--command-line", words]);
                command.arg("--kernel").arg(kernel).arg("--initrd").arg(initrd);
                if let Some((path, _)) = disk {
                    command.arg("--disk").arg(path);
                }
            }
            Self::Microvm => {
                command = Command::new("qemu-system-x86_64");
                let machine = format!("microvm,pit=off,pic=off,rtc=on,pcie={}", if disk.is_some() { "on" } else { "off" });
                command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
                command.args(["-name", "bench,debug-threads=on", "-machine", &machine, "-accel", "kvm", "-cpu", "host"]);
                command.args(["-m", &MEMORY.to_string()]).arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).args(["-append", words]);
                if let Some((path, format)) = disk {
                    let file = format!("driver=file,node-name=file,filename={},aio=io_uring,discard=unmap", path.display());
                    command.args(["-object", "iothread,id=thread", "-blockdev", &file]);
                    command.args(["-blockdev", &format!("driver={format},node-name=disk,file=file,discard=unmap")]);
                    command.args(["-device", "virtio-blk-pci,drive=disk,iothread=thread"]);
                }
            }
        }
        command
    }
}

/// A guest that runs until this goes.
pub struct Guest {
    child: Child,
    serial: Serial,
}

impl Guest {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.with_context(|| format!("Could not start {}", command.get_program().display()))?;
        let output = child.stdout.take().context("It has no output")?;
        let log = File::create("/dev/null").context("Could not open /dev/null")?;
        Ok(Self { child, serial: Serial::listen(vec![Box::new(output)], log) })
    }

    /// Waits until it has said this, and returns what it said before.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        self.serial.wait_for(text)
    }

    /// The process that runs it.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
