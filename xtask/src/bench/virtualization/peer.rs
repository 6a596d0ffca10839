//! Those that are compared: the command line of each, and a guest that runs.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use serde_json::json;

use super::network::MTU_OF_PASST;
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

impl Peer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ours, Self::Microvm];
}

/// What a guest is and has: one vCPU, a serial port on standard input and output, and this.
#[derive(Debug, Default)]
pub struct Machine<'a> {
    /// The kernel's command line.
    pub words: &'a str,
    /// A disk: where it is and its format.
    pub disk: Option<(PathBuf, &'static str)>,
    /// Two network cards: at the host's network by passt, and at a tap interface, if there is one.
    pub network: Option<Network>,
    /// QEMU has its memory in a memfd, as ours always is, where it is slower.
    pub in_memfd: bool,
}

/// What the network cards are at.
#[derive(Debug)]
pub struct Network {
    /// The socket of the passt that QEMU uses.
    pub passt: PathBuf,
    /// passt serves the queues, ours and QEMU's, over vhost-user.
    pub is_vhost_user: bool,
    /// A tap interface.
    pub tap: Option<String>,
}

impl Machine<'_> {
    /// The command that boots what was prepared.
    pub fn command(&self, peer: Peer, prepared: &Path) -> Command {
        match peer {
            Peer::Ours => self.ours(prepared),
            Peer::Microvm => self.microvm(prepared),
        }
    }

    fn ours(&self, prepared: &Path) -> Command {
        let mut command = Command::new(prepared.join("vmrun"));
        command.args(["--memory", &MEMORY.to_string(), "--no-reboot", "--command-line", self.words]);
        command.arg("--kernel").arg(kernel(prepared)).arg("--initrd").arg(initrd(prepared));
        if let Some((path, _)) = &self.disk {
            command.arg("--disk").arg(path);
        }
        if let Some(Network { tap, .. }) = &self.network {
            command.arg("--net");
            command.args(tap.iter().flat_map(|name| ["--tap", name]));
        }
        command
    }

    fn microvm(&self, prepared: &Path) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        let pcie = if self.disk.is_some() || self.network.is_some() { "on" } else { "off" };
        let machine = format!("microvm,pit=off,pic=off,rtc=on,pcie={pcie}");
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        command.args(["-name", "bench,debug-threads=on", "-machine", &machine, "-accel", "kvm", "-cpu", "host"]);
        command.args(["-m", &MEMORY.to_string()]).arg("-kernel").arg(kernel(prepared)).arg("-initrd").arg(initrd(prepared));
        command.args(["-append", self.words]);
        if let Some((path, format)) = &self.disk {
            let file = format!("driver=file,node-name=file,filename={},aio=io_uring,discard=unmap", path.display());
            command.args(["-object", "iothread,id=thread", "-blockdev", &file]);
            command.args(["-blockdev", &format!("driver={format},node-name=disk,file=file,discard=unmap")]);
            command.args(["-device", "virtio-blk-pci,drive=disk,iothread=thread"]);
        }
        if let Some(Network { passt, is_vhost_user, tap }) = &self.network {
            let passt = passt.display();
            if *is_vhost_user {
                command.args(["-chardev", &format!("socket,id=passt,path={passt}"), "-netdev", "vhost-user,id=passt,chardev=passt"]);
            } else {
                command.args(["-netdev", &format!("stream,id=passt,server=off,addr.type=unix,addr.path={passt}")]);
            }
            command.args(["-device", &format!("virtio-net-pci,netdev=passt,host_mtu={MTU_OF_PASST}")]);
            if let Some(name) = tap {
                let tap = format!("tap,id=tap,ifname={name},script=no,downscript=no");
                command.args(["-netdev", &tap, "-device", "virtio-net-pci,netdev=tap"]);
            }
        }
        // Another process can only reach what is in one.
        if self.in_memfd || self.network.as_ref().is_some_and(|network| network.is_vhost_user) {
            let memory = format!("memory-backend-memfd,id=memory,size={MEMORY}M,share=on");
            command.args(["-object", &memory, "-machine", "memory-backend=memory"]);
        }
        command
    }

    /// The command by which Firecracker boots it, from a file of its own that goes into this folder; it has no devices.
    pub fn firecracker(&self, program: &Path, prepared: &Path, folder: &Path) -> Result<Command> {
        let configuration = json!({
            "boot-source": { "kernel_image_path": kernel(prepared), "initrd_path": initrd(prepared), "boot_args": self.words },
            "drives": [],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY },
        });
        let file = folder.join("vivarium-bench-firecracker.json");
        fs::write(&file, configuration.to_string()).context("Could not write Firecracker's configuration")?;
        let mut command = Command::new(program);
        command.args(["--no-api", "--config-file"]).arg(file);
        Ok(command)
    }
}

fn kernel(prepared: &Path) -> PathBuf {
    prepared.join("kernel")
}

fn initrd(prepared: &Path) -> PathBuf {
    prepared.join("initrd.gz")
}

/// A guest that runs until this goes.
pub struct Guest {
    child: Child,
    keyboard: ChildStdin,
    serial: Serial,
}

impl Guest {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.with_context(|| format!("Could not start {}", command.get_program().display()))?;
        let keyboard = child.stdin.take().context("It has no input")?;
        let output = child.stdout.take().context("It has no output")?;
        let log = File::create("/dev/null").context("Could not open /dev/null")?;
        Ok(Self { child, keyboard, serial: Serial::listen(vec![Box::new(output)], log) })
    }

    /// Waits until it has said this, and returns what it said before.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        self.serial.wait_for(text)
    }

    /// Waits until it says anything.
    pub fn wait_for_any(&mut self) -> Result<()> {
        self.serial.wait_for_any()
    }

    /// Types a line, and returns the number that is the answer: `KIND WORD is NUMBER`, where the line begins with the word.
    pub fn ask(&mut self, kind: &str, line: &str) -> Result<f64> {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).context("Could not type")?;
        let word = line.split(' ').next().unwrap_or_default();
        self.wait_for(&format!("{kind} {word} is "))?;
        let number = self.wait_for("\n")?;
        number.trim().parse().with_context(|| format!("{number:?} is no measurement of {line}"))
    }

    /// The process that runs it.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end, and waits until it has.
    pub fn end(mut self) -> Result<ExitStatus> {
        crate::process::quiet(Command::new("kill").arg(self.process().to_string()))?;
        self.child.wait().context("Could not wait for its end")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
