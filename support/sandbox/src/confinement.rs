//! What a confined program may use.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::wire;

/// What a program may use. Everything else is refused.
///
/// Paths are opened when the program is started and rules stand for the files found then, through symbolic links: a path that does not
/// exist is an error, and a file put in its place later is not covered (name the directory if files in it come and go).
///
/// What Landlock does not cover: asking whether a file exists and what it is (`stat`), changing the working directory, and everything done
/// with descriptors that were handed over. Connecting to a Unix socket by path is covered by Landlock from Linux 7.1 on only; before that
/// [`Sockets`] closes the hole. A confined program can never trace or read the memory of a process outside, whatever its user.
///
/// A process under Landlock cannot mount or change its root. A program that confines *itself* with namespaces (`passt`) therefore needs
/// [`Requirement::Off`] and [`Sockets::Any`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Files and directories (with all below) that may be read.
    #[serde(with = "wire::paths")]
    pub read: Vec<PathBuf>,
    /// Files and directories (with all below) that may be read, written, truncated; in directories also created (sockets too), renamed
    /// and removed. Device nodes cannot be created.
    #[serde(with = "wire::paths")]
    pub write: Vec<PathBuf>,
    /// Files and directories (with all below) that may be read and executed. The program itself and its ELF interpreter always may.
    #[serde(with = "wire::paths")]
    pub execute: Vec<PathBuf>,
    /// Device nodes that may be read, written and controlled (`ioctl`), like `/dev/kvm`.
    #[serde(with = "wire::paths")]
    pub devices: Vec<PathBuf>,
    /// TCP ports. Landlock, from Linux 6.7 on; UDP is not covered, see [`Sockets`].
    pub tcp: Tcp,
    /// Which sockets may be made. seccomp, on every kernel.
    pub sockets: Sockets,
    /// Whether signals reach only processes started by this one. Landlock, from Linux 6.12 on.
    pub scope_signals: bool,
    /// Resource limits, soft and hard alike.
    pub limits: Limits,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// What to do where the kernel has no Landlock.
    pub landlock: Requirement,
}

impl Default for Confinement {
    /// Nothing is allowed. A dynamically linked program needs [`Confinement::system_program`].
    fn default() -> Self {
        Self {
            read: Vec::new(),
            write: Vec::new(),
            execute: Vec::new(),
            devices: Vec::new(),
            tcp: Tcp::Deny,
            sockets: Sockets::Inherited,
            scope_signals: true,
            limits: Limits::default(),
            environment: Vec::new(),
            landlock: Requirement::Require,
        }
    }
}

/// TCP ports that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tcp {
    /// None.
    Deny,
    /// All.
    AllowAll,
    /// These, and no others.
    Ports {
        /// Local ports that may be bound (0: one that the kernel picks).
        bind: Vec<u16>,
        /// Remote ports that may be connected to.
        connect: Vec<u16>,
    },
}

/// Which sockets a program may make, beside the descriptors that it was given.
///
/// Before Linux 7.1 Landlock does not look at `connect` to a Unix socket's path: file permissions alone decide, so that a program could talk
/// to the sockets of every other machine of the same person, to their session bus or their ssh agent. seccomp cannot see paths, but it can
/// refuse the sockets. Choose the narrowest:
///
/// | | makes Unix sockets | connects | makes IPv4 and IPv6 sockets |
/// |---|---|---|---|
/// | `Inherited` | no | no | no |
/// | `DeviceEvents` | no | no | no; it hears of devices that come and go |
/// | `Internet` | no | yes | yes |
/// | `Any` | yes | yes, *also to foreign Unix sockets* | yes |
///
/// A program that needs the internet and Unix sockets together gets `Internet` and its Unix sockets as descriptors, made, and connected or
/// listening, by who starts it. In all but `Any`, `io_uring` is refused (its operations pass by seccomp), and Unix datagram sockets are
/// refused at `spawn` when handed over, for they could be pointed elsewhere. Connected pairs of stream sockets can always be made.
/// Refused calls fail with `EPERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sockets {
    /// None: only descriptors that were handed over.
    Inherited,
    /// As `Inherited`, and the socket over which the kernel tells of devices that come and go (`NETLINK_KOBJECT_UEVENT`).
    DeviceEvents,
    /// IPv4 and IPv6 sockets, and the routing socket that name resolution asks for addresses.
    Internet,
    /// All. Leaves other programs' Unix sockets reachable before Linux 7.1.
    Any,
}

/// Resource limits, soft and hard alike; `None` leaves what the starting process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a core dump. `Some(0)`, the default, means none at all; it is set as 1 byte, which unlike 0 also keeps the kernel from
    /// piping a dump, with all the guest's memory, to a crash handler.
    pub core: Option<u64>,
    /// One more than the highest descriptor number.
    pub open_files: Option<u64>,
    /// Processes and threads of this user, counted over the whole computer; not enforced for root.
    pub processes: Option<u64>,
    /// Bytes of a file that is written; more fails with `EFBIG` and a `SIGXFSZ`.
    pub file_size: Option<u64>,
    /// Bytes of memory of its own that it may have mapped for writing (`RLIMIT_DATA`); more fails with `ENOMEM`. Not the size of its address
    /// space, of which allocators reserve much more than they use.
    pub memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { core: Some(0), open_files: None, processes: None, file_size: None, memory: None }
    }
}

/// What to do where the kernel has no Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requirement {
    /// Refuse to start the program.
    Require,
    /// Start it, and say what is missing in [`crate::Applied::missing`].
    BestEffort,
    /// Do not use Landlock at all: files, TCP ports and signals are not confined. The rest (sockets, limits, descriptors, environment,
    /// no new privileges) is.
    Off,
}

/// Where shared libraries and their data are. What does not exist here is left out.
const LIBRARIES: &[&str] = &[
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    // musl keeps its search path here.
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    // Local time, and what gettext and iconv read at start.
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/usr/share/locale",
    "/etc/locale.alias",
    // How many processors, memory nodes and huge pages there are; the same for everybody.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/crypto/fips_enabled",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
    "/dev/random",
    "/dev/urandom",
];

/// Devices without content.
const PLAIN_DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];

/// What the C library reads to turn names into addresses.
const NAME_RESOLUTION: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    // Where `/etc/resolv.conf` points to; the file is replaced when the network changes, so that the directory is what counts.
    "/run/systemd/resolve",
    "/run/NetworkManager/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/resolvconf",
];

impl Confinement {
    /// What a dynamically linked program needs to start and run, and no more: shared libraries, their configuration, time zones,
    /// the plain devices and the size of the computer. Not the home folder, not the rest of `/etc`, nothing about processes.
    ///
    /// Add to it with [`Confinement::with_read`] and its like; setting `read` or `write` anew takes the libraries or `/dev/null` away.
    #[must_use]
    pub fn system_program() -> Self {
        Self { read: existing(LIBRARIES), write: existing(PLAIN_DEVICES), ..Self::default() }
    }

    /// Adds to [`Confinement::read`].
    #[must_use]
    pub fn with_read(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.read.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds to [`Confinement::write`].
    #[must_use]
    pub fn with_write(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.write.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds to [`Confinement::execute`].
    #[must_use]
    pub fn with_execute(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.execute.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds to [`Confinement::devices`].
    #[must_use]
    pub fn with_devices(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.devices.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds what the C library reads to turn names into addresses.
    #[must_use]
    pub fn with_name_resolution(mut self) -> Self {
        self.read.extend(existing(NAME_RESOLUTION));
        self
    }
}

fn existing(paths: &[&str]) -> Vec<PathBuf> {
    paths.iter().map(Path::new).filter(|path| path.exists()).map(Path::to_path_buf).collect()
}
