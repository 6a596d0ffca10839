//! Serial ports and consoles, and where their characters go.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;

use super::Problems;
use crate::error::{Error, ErrorKind, Result};

/// The most ports that a virtio console has.
pub const CONSOLE_PORTS_MAXIMUM: u32 = 64;

/// A serial port. Apple: `VZSerialPortConfiguration`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SerialPort {
    /// A 16550 at the address of a PC's first serial port (`ttyS0` in Linux): there from the kernel's first message on. Not in Apple's
    /// public model.
    Uart16550(Uart16550),
    /// A virtio console with one port (`hvc0` in Linux).
    VirtioConsole(VirtioConsoleSerialPort),
}

impl From<Uart16550> for SerialPort {
    fn from(port: Uart16550) -> Self {
        Self::Uart16550(port)
    }
}

impl From<VirtioConsoleSerialPort> for SerialPort {
    fn from(port: VirtioConsoleSerialPort) -> Self {
        Self::VirtioConsole(port)
    }
}

/// A 16550 UART at the address of a PC's first serial port. A machine has at most one.
#[derive(Debug, Clone)]
pub struct Uart16550 {
    /// Where its characters go.
    pub attachment: SerialAttachment,
}

impl Uart16550 {
    /// A port with this attachment.
    pub fn new(attachment: SerialAttachment) -> Self {
        Self { attachment }
    }
}

/// A virtio console with one port. Apple: `VZVirtioConsoleDeviceSerialPortConfiguration`.
#[derive(Debug, Clone)]
pub struct VirtioConsoleSerialPort {
    /// Where its characters go.
    pub attachment: SerialAttachment,
}

impl VirtioConsoleSerialPort {
    /// A port with this attachment.
    pub fn new(attachment: SerialAttachment) -> Self {
        Self { attachment }
    }
}

/// A console device. Apple: `VZConsoleDeviceConfiguration`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConsoleDevice {
    /// A virtio console with several ports.
    Virtio(VirtioConsoleDevice),
}

impl From<VirtioConsoleDevice> for ConsoleDevice {
    fn from(device: VirtioConsoleDevice) -> Self {
        Self::Virtio(device)
    }
}

impl ConsoleDevice {
    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        match self {
            Self::Virtio(device) => device.validate(problems),
        }
    }
}

/// A virtio console with several ports (Virtio 1.2, 5.3, `VIRTIO_CONSOLE_F_MULTIPORT`). Apple: `VZVirtioConsoleDeviceConfiguration`.
#[derive(Debug, Clone, Default)]
pub struct VirtioConsoleDevice {
    /// The ports by number; numbers may be left out.
    pub ports: BTreeMap<u32, VirtioConsolePort>,
    /// How many ports there can be, more than the highest number; by default just enough.
    pub maximum_port_count: Option<u32>,
}

impl VirtioConsoleDevice {
    /// How many ports there can be.
    pub fn port_count(&self) -> u32 {
        let needed = self.ports.keys().next_back().map_or(0, |highest| highest.saturating_add(1));
        self.maximum_port_count.unwrap_or(needed)
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        let count = self.port_count();
        problems.field("maximum_port_count").require((1..=CONSOLE_PORTS_MAXIMUM).contains(&count), || {
            format!("It is {count}; a console has 1 to {CONSOLE_PORTS_MAXIMUM} ports")
        });
        for (number, port) in &self.ports {
            let mut ports = problems.field("ports");
            let mut place = ports.element(number);
            place.require(*number < count, || format!("Its number is not below maximum_port_count, {count}"));
            let named = port.name.as_deref().unwrap_or("x");
            place.field("name").require(!named.is_empty() && !named.contains('\0') && named.len() <= 255, || {
                "A name has 1 to 255 bytes, none of them zero".to_owned()
            });
        }
    }
}

/// One port of a virtio console. Apple: `VZVirtioConsolePortConfiguration`.
#[derive(Debug, Clone, Default)]
pub struct VirtioConsolePort {
    /// The name by which the guest finds it (`/dev/virtio-ports/NAME` in Linux).
    pub name: Option<String>,
    /// Whether it is a console (`hvcN` in Linux) rather than a channel for programs.
    pub is_console: bool,
    /// Where its characters go.
    pub attachment: Option<SerialAttachment>,
}

/// Where the characters of a port go, and where they come from. Apple: `VZSerialPortAttachment`.
///
/// Output never waits for whoever reads it for long, and a guest that is not read loses output rather than standing still.
#[derive(Debug, Clone, Default)]
pub struct SerialAttachment {
    pub(crate) input: Option<Arc<File>>,
    pub(crate) output: Option<Arc<File>>,
    terminal: Option<Arc<Terminal>>,
}

/// The end of a pseudo-terminal that programs open. It is held open, or the port would end with the first program that closes it.
#[derive(Debug)]
struct Terminal {
    path: PathBuf,
    _program_end: OwnedFd,
}

impl SerialAttachment {
    /// Open descriptors: what is read from the first goes to the guest, what the guest writes goes to the second. Apple:
    /// `VZFileHandleSerialPortAttachment`.
    pub fn file_handles(input: Option<OwnedFd>, output: Option<OwnedFd>) -> Self {
        Self { input: input.map(|end| Arc::new(end.into())), output: output.map(|end| Arc::new(end.into())), terminal: None }
    }

    /// A file that gets what the guest writes, after what it has (`append`) or instead of it. Apple: `VZFileSerialPortAttachment`.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] where the file cannot be opened for writing.
    pub fn file(path: impl AsRef<Path>, append: bool) -> Result<Self> {
        let path = path.as_ref();
        let opened = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path);
        let file = opened
            .map_err(|error| Error::because(ErrorKind::Host, format!("Could not open the serial port's file {}", path.display()), error))?;
        Ok(Self { input: None, output: Some(Arc::new(file)), terminal: None })
    }

    /// One end of a connected socket, for both directions. Not in Apple's public model.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] where the descriptor cannot be duplicated.
    pub fn socket(socket: impl Into<OwnedFd>) -> Result<Self> {
        let socket = socket.into();
        let other =
            socket.try_clone().map_err(|error| Error::because(ErrorKind::Host, "Could not duplicate the serial port's socket", error))?;
        Ok(Self::file_handles(Some(socket), Some(other)))
    }

    /// A new pseudo-terminal, which programs such as `screen` open by its [`Self::terminal_path`]. It passes every byte on as it is. Not in
    /// Apple's public model.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] where the host has none left.
    pub fn pseudo_terminal() -> Result<Self> {
        let failed =
            |error: rustix::io::Errno| Error::because(ErrorKind::Host, "Could not make a pseudo-terminal for a serial port", error);
        let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).map_err(failed)?;
        // Not every system takes this when it is opened.
        rustix::io::fcntl_setfd(&ours, FdFlags::CLOEXEC).map_err(failed)?;
        // One that has little room would keep who writes more waiting.
        rustix::io::ioctl_fionbio(&ours, true).map_err(failed)?;
        rustix::pty::grantpt(&ours).map_err(failed)?;
        rustix::pty::unlockpt(&ours).map_err(failed)?;
        let name = rustix::pty::ptsname(&ours, Vec::new()).map_err(failed)?;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program_end = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
        let mut mode = rustix::termios::tcgetattr(&program_end).map_err(failed)?;
        mode.make_raw();
        rustix::termios::tcsetattr(&program_end, OptionalActions::Now, &mode).map_err(failed)?;
        let ours = Arc::new(File::from(ours));
        let terminal = Some(Arc::new(Terminal { path, _program_end: program_end }));
        Ok(Self { input: Some(Arc::clone(&ours)), output: Some(ours), terminal })
    }

    /// Where programs find the pseudo-terminal, if it is one.
    pub fn terminal_path(&self) -> Option<&Path> {
        self.terminal.as_ref().map(|terminal| terminal.path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustix::event::{PollFd, PollFlags};

    use super::*;

    #[test]
    fn a_pseudo_terminal_passes_bytes_on_and_outlives_programs() {
        let attachment = SerialAttachment::pseudo_terminal().unwrap();
        let (mut input, mut output) = (attachment.input.as_deref().unwrap(), attachment.output.as_deref().unwrap());
        for _ in 0..2 {
            let path = attachment.terminal_path().unwrap();
            let mut program = OpenOptions::new().read(true).write(true).open(path).unwrap();
            program.write_all(b"a\x03\r").unwrap();
            let mut bytes = Vec::new();
            while bytes.len() < 3 {
                let mut more = [0; 3];
                rustix::event::poll(&mut [PollFd::new(input, PollFlags::IN)], None).unwrap();
                let count = input.read(&mut more).unwrap();
                bytes.extend(&more[..count]);
            }
            assert_eq!(&bytes, b"a\x03\r");
            output.write_all(b"b\n").unwrap();
            program.read_exact(&mut bytes[..2]).unwrap();
            assert_eq!(&bytes[..2], b"b\n");
        }
    }

    #[test]
    fn a_pseudo_terminal_that_nobody_reads_keeps_nobody_waiting() {
        let attachment = SerialAttachment::pseudo_terminal().unwrap();
        let mut output = attachment.output.as_deref().unwrap();
        let written: usize = std::iter::from_fn(|| output.write(&[b'x'; 4096]).ok()).sum();
        assert!(written > 0);
    }
}
