//! What building gives: the arguments, and everything that must be there before they work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::Problem;
use serde::Serialize;

/// A machine ready to be launched.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CommandLine {
    /// The emulator.
    pub program: PathBuf,
    /// Its arguments, in groups of one option with its value.
    pub arguments: Vec<Argument>,
    /// Environment variables to set, besides those that it inherits.
    pub environment: Vec<(String, String)>,
    /// Directory to start it in; the relative socket paths in the arguments start here.
    pub working_directory: PathBuf,
    /// Paths that it opens itself.
    pub files: Vec<FileAccess>,
    /// Files that are opened for it.
    pub descriptors: Vec<Descriptor>,
    /// Files that must be made before it starts, in this order.
    pub preparations: Vec<Preparation>,
    /// Programs that must run before it starts, in this order.
    pub helpers: Vec<Helper>,
    /// Sockets that it listens on.
    pub sockets: Sockets,
    /// Serial ports that are pseudo-terminals.
    pub pseudo_terminals: Vec<PortDevice>,
    /// Serial ports that something must have connected to before the guest runs.
    pub awaited: Vec<Awaited>,
    /// Which sockets it makes itself, apart from descriptors.
    pub makes: SocketNeeds,
    /// What each drive is called over QMP, in the order of the configuration.
    pub drives: Vec<DriveNames>,
    /// Whether pixels are offered over D-Bus (`-display dbus,p2p=yes`).
    pub dbus_display: bool,
    /// The vCPUs that the machine has, where the command line says it.
    pub cpus: Option<u64>,
    /// What differs from the configuration, or deserves to be known.
    pub warnings: Vec<Problem>,
}

/// What an argument is about. The order is that of the command line, and with it that of UTM: devices get their PCI addresses in it, and a
/// guest knows its network card by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// How QEMU itself behaves: no defaults, sandbox, monitor.
    Process,
    /// Board, accelerator, processors, memory, firmware.
    Machine,
    /// Network cards.
    Network,
    /// Screens.
    Display,
    /// Serial ports.
    Serial,
    /// Sound.
    Sound,
    /// USB and other input.
    Usb,
    /// Drives and boot files.
    Drive,
    /// Agents and shared folder.
    Sharing,
    /// Name, clock, entropy, balloon, TPM.
    Other,
    /// What the configuration adds (`QEMU.AdditionalArguments`).
    User,
}

/// One option with its value, or one word that a person added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// What it is about.
    pub subject: Subject,
    /// One or two words.
    pub words: Vec<String>,
}

/// A path that a program opens itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileAccess {
    /// Absolute path of a file, a device, a socket or a directory with all that is in it.
    pub path: PathBuf,
    /// What it does with it.
    pub access: Access,
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
    /// Write at the end; the file is made if it is missing.
    Append,
}

/// A descriptor that the program must be started with, under this very number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// Where it comes from.
    pub source: Source,
}

/// What is behind a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A Unix stream socket that is bound to this path and listens. It is made by who starts QEMU, so that QEMU need not make any.
    Listen {
        /// Absolute path; a leftover is replaced.
        path: PathBuf,
    },
    /// One end of a pair of Unix stream sockets; the helper of this kind gets the other ([`Helper::link`]).
    Link {
        /// The helper.
        helper: HelperKind,
    },
    /// A file that the supervisor opens, with exactly this access: QEMU finds a descriptor in a set by its access mode.
    File {
        /// Number of the set: the file is `/dev/fdset/<set>` to QEMU. Where there is none, it is `/proc/self/fd/<fd>`.
        set: Option<u32>,
        /// The file.
        path: PathBuf,
        /// How to open it.
        access: Access,
    },
    /// A tap that the [`HelperKind::Bridge`] of this network card hands over.
    Tap {
        /// Index in `Network`.
        network: usize,
        /// Bridge that it is on.
        bridge: String,
    },
}

/// A file that must be there before the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preparation {
    /// A new qcow2 image that shows `backing` until it is written to. The backing file is not named in it: the command line connects them.
    Overlay {
        /// File to make; a leftover is replaced.
        path: PathBuf,
        /// What is below it; it gives the size where `virtual_size` is unknown.
        backing: PathBuf,
        /// Size in bytes.
        virtual_size: Option<u64>,
    },
    /// A copy of a file; where `from` is missing, an empty file.
    Copy {
        /// Original.
        from: PathBuf,
        /// Copy; a leftover is replaced.
        to: PathBuf,
    },
    /// An empty file, unless there is one.
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// UEFI variables, copied from a template unless the file is there.
    Variables {
        /// Template that came with the firmware.
        template: PathBuf,
        /// File of the machine.
        path: PathBuf,
    },
}

/// A program that runs beside QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Helper {
    /// Which.
    pub kind: HelperKind,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Directory to start it in; relative names in the arguments start here.
    pub working_directory: PathBuf,
    /// Number under which it gets its end of the pair of sockets with QEMU ([`Source::Link`]).
    pub link: Option<i32>,
    /// Files that are opened for it.
    pub descriptors: Vec<Descriptor>,
    /// What it may touch.
    pub confinement: Confinement,
}

/// Which helper.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HelperKind {
    /// TPM 2.0. It ends when QEMU does.
    Swtpm,
    /// User NAT for one network card. It ends when QEMU does.
    Passt {
        /// Index in `Network`.
        network: usize,
    },
    /// Opens a tap and ends. It needs its set-user-ID bit, so it runs without no-new-privileges, outside the sandbox; `--fd=<n>`, for a
    /// connected Unix socket over which it sends the tap, is added by whoever starts it.
    Bridge {
        /// Index in `Network`.
        network: usize,
    },
}

/// What a helper may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confinement {
    /// Files and directories, besides the program and its libraries.
    pub files: Vec<FileAccess>,
    /// Whether it speaks with the network.
    pub network: bool,
    /// Whether it gains privileges by its file's set-user-ID bit or capabilities.
    pub privileged: bool,
    /// Whether it makes namespaces of its own for its confinement.
    pub namespaces: bool,
}

/// Sockets and the like that QEMU makes by itself; each kind is a hole in its confinement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketNeeds {
    /// Internet sockets: QEMU's own user network, serial ports over TCP.
    pub internet: bool,
    /// Unix sockets that connect: sound servers.
    pub unix_connecting: bool,
    /// Pseudo-terminals, which are beside those of the person's own programs.
    pub pseudo_terminals: bool,
}

/// Sockets that QEMU listens on, absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sockets {
    /// QMP.
    pub qmp: PathBuf,
    /// Guest agent.
    pub agent: Option<PathBuf>,
    /// Serial ports of mode `Terminal`.
    pub serials: Vec<SerialSocket>,
}

/// A serial port that is a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SerialSocket {
    /// Index in `Serial`.
    pub serial: usize,
    /// Socket.
    pub path: PathBuf,
    /// File to which QEMU also writes what the guest says.
    pub log: PathBuf,
}

/// A serial port by the name that QMP has for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortDevice {
    /// Index in `Serial`.
    pub serial: usize,
    /// The character device.
    pub chardev: String,
}

/// A serial port that listens on TCP, and holds the guest back until something has connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Awaited {
    /// The character device.
    pub chardev: String,
    /// The port.
    pub port: u16,
}

/// What a drive is called over QMP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DriveNames {
    /// `Drive[].Identifier`.
    pub identifier: String,
    /// Device, for `eject`, `blockdev-open-tray`, ...; `None` where the board itself has the device.
    pub device: Option<String>,
    /// Its block nodes, each before those that it refers to.
    pub nodes: Vec<String>,
    /// The descriptor sets of its files.
    pub sets: Vec<u32>,
    /// Whether there is nothing in it. It may have a node all the same.
    pub empty: bool,
    /// Whether the medium can be changed while the machine runs.
    pub removable: bool,
}

impl Descriptor {
    /// Of a file: what the arguments call it, and where it is.
    pub fn file(&self) -> Option<(String, &Path)> {
        match &self.source {
            Source::File { set: Some(set), path, .. } => Some((descriptor_set(*set), path)),
            Source::File { set: None, path, .. } => Some((own_descriptor(self.fd), path)),
            _ => None,
        }
    }

    /// What is behind it, as a comment.
    fn described(&self) -> String {
        let what = match &self.source {
            Source::Listen { path } => format!("socket, listens on {}", path.display()),
            Source::Link { helper: HelperKind::Swtpm } => "socket, connected with the TPM".to_owned(),
            Source::Link { helper: HelperKind::Passt { network } | HelperKind::Bridge { network } } => {
                format!("socket, connected with the network of card {network}")
            }
            Source::File { path, access: Access::Read, .. } => format!("read {}", path.display()),
            Source::File { path, access: Access::ReadWrite, .. } => format!("read and write {}", path.display()),
            Source::File { path, access: Access::Append, .. } => format!("append to {}", path.display()),
            Source::Tap { network, bridge } => format!("tap of network card {network} on the bridge {bridge}"),
        };
        comment(&format!("  descriptor {}: {what}", self.fd))
    }
}

/// The name by which a process opens the file behind a descriptor of its own.
pub(super) fn own_descriptor(fd: i32) -> String {
    format!("/proc/self/fd/{fd}")
}

/// The name by which QEMU's block layer opens a file of a descriptor set.
pub(crate) fn descriptor_set(set: impl std::fmt::Display) -> String {
    format!("/dev/fdset/{set}")
}

impl CommandLine {
    /// The arguments as they are passed.
    pub fn argv(&self) -> Vec<String> {
        self.arguments.iter().flat_map(|argument| argument.words.iter().cloned()).collect()
    }

    /// The files behind the descriptor sets.
    pub fn set_files(&self) -> BTreeMap<u32, PathBuf> {
        let of = |descriptor: &Descriptor| match &descriptor.source {
            Source::File { set: Some(set), path, .. } => Some((*set, path.clone())),
            _ => None,
        };
        self.descriptors.iter().filter_map(of).collect()
    }

    /// Everything for a person to read: the helpers and the command, and before each, as comments, what it finds open when it starts.
    pub fn shell(&self) -> String {
        let mut text = "# What is called a descriptor is opened before by whoever starts the program.\n".to_owned();
        for helper in &self.helpers {
            text.push_str(&helper.described());
            text.push_str(&helper.shell_quoted());
            text.push_str(" &\n");
        }
        text.push_str(&comment(&format!("QEMU, in {}", self.working_directory.display())));
        text.extend(self.environment.iter().map(|(name, value)| comment(&format!("  environment: {name}={value}"))));
        text.extend(self.descriptors.iter().map(Descriptor::described));
        text + &self.shell_quoted()
    }

    /// The command as it could be typed, one option a line.
    pub fn shell_quoted(&self) -> String {
        let mut text = quoted(&self.program.to_string_lossy());
        for argument in &self.arguments {
            text.push_str(" \\\n ");
            for word in &argument.words {
                text.push(' ');
                text.push_str(&quoted(word));
            }
        }
        text.push('\n');
        text
    }
}

impl Helper {
    /// What it is, and what it finds open, as comments.
    fn described(&self) -> String {
        let mut text = comment(&match &self.kind {
            HelperKind::Swtpm => "The TPM".to_owned(),
            HelperKind::Passt { network } => format!("The network of card {network}"),
            HelperKind::Bridge { network } => format!("The bridge of network card {network}, outside the sandbox; ends before QEMU starts"),
        });
        if let Some(link) = self.link {
            text.push_str(&comment(&format!("  descriptor {link}: socket, connected with QEMU's for it")));
        }
        if matches!(self.kind, HelperKind::Bridge { .. }) {
            text.push_str(&comment("  and --fd=N: descriptor of a socket over which it sends the tap"));
        }
        text.extend(self.descriptors.iter().map(Descriptor::described));
        text
    }

    /// The command as it could be typed.
    pub fn shell_quoted(&self) -> String {
        let mut text = quoted(&self.program.to_string_lossy());
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(&quoted(argument));
        }
        text
    }
}

/// A line that a shell ignores, whatever is in it.
fn comment(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("# {text}\n")
}

fn quoted(word: &str) -> String {
    shell_words::quote(word).into_owned()
}

impl FileAccess {
    /// Reading of `path`.
    pub fn read(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), access: Access::Read }
    }

    /// Reading and writing of `path`.
    pub fn read_write(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), access: Access::ReadWrite }
    }
}
