//! Starts the process, confined.

use machine::exchange::ExchangeFolder;
use machine::{Error, ErrorKind, Result};
use sandbox::{Confinement, Launch, Limits, Requirement, Sockets};
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor_api::helper::PROGRAM;

/// Bytes of memory that it may have: a clipboard's content a few times over, and room for its libraries.
const MEMORY: u64 = 1 << 30;
/// Descriptors that it may have open: one per channel, and files that the guest reads.
const OPEN_FILES: u64 = 1024;

/// What it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The folder that the guest reads.
    pub folder: Option<ExchangeFolder>,
    /// Whether devices may come.
    pub usb: bool,
    /// The folder of files on their way.
    pub spool: PathBuf,
}

/// A process that was started.
pub struct Started {
    /// Where frames go.
    pub control: UnixStream,
    /// Where descriptors go.
    pub connections: UnixStream,
    /// The process, where it is one.
    pub process: Option<Arc<sandbox::Process>>,
}

/// How it is started: a test does it otherwise.
pub trait Start: Send + Sync {
    /// Starts it.
    ///
    /// # Errors
    /// Where it is not installed, or cannot be started.
    fn start(&self, needs: &Needs) -> Result<Started>;
}

/// The program beside this one.
#[derive(Debug)]
pub struct Program {
    /// What confines itself and becomes it.
    pub launcher: PathBuf,
    /// What to do where the kernel has no Landlock.
    pub landlock: Requirement,
    /// Its log.
    pub log: PathBuf,
}

impl Start for Program {
    fn start(&self, needs: &Needs) -> Result<Started> {
        let program = self.launcher.with_file_name(PROGRAM);
        if !program.is_file() {
            let message = format!("{PROGRAM} is missing, so nothing is exchanged with the guest");
            return Err(Error::new(ErrorKind::Missing, message)
                .with_hint(format!("build with the feature `spice`, and keep {PROGRAM} beside {}", self.launcher.display())));
        }
        let failed = |error: std::io::Error| Error::new(ErrorKind::Backend, format!("Cannot start {PROGRAM}")).with_source(error);
        let ((control, theirs), (connections, its)) = (UnixStream::pair().map_err(failed)?, UnixStream::pair().map_err(failed)?);
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log).map_err(failed)?;
        let launch = Launch {
            stdin: OwnedFd::from(theirs).into(),
            stdout: OwnedFd::from(its).into(),
            stderr: log.into(),
            ends_with_starter: true,
            ..Launch::new(&program, confinement(needs, self.landlock))
        };
        let started = sandbox::spawn(&self.launcher, launch)
            .map_err(|error| Error::new(ErrorKind::Backend, format!("Cannot start {PROGRAM} confined")).with_source(error.to_string()))?;
        Ok(Started { control, connections, process: Some(Arc::new(started.process)) })
    }
}

/// Its two sockets, the files on their way, and the folder; no device, no other socket, no other file of a person's.
fn confinement(needs: &Needs, landlock: Requirement) -> Confinement {
    let there = |paths: &[&str]| paths.iter().map(PathBuf::from).filter(|path| path.exists()).collect::<Vec<_>>();
    // What kind a file is, which WebDAV says.
    let mut confinement = Confinement::system_program().with_read(there(&["/usr/share/mime"])).with_read([&needs.spool]);
    if needs.usb {
        // libusb looks around before it takes a descriptor. To read is to see which devices there are; to use one takes writing.
        confinement = confinement.with_read(there(&["/dev/bus/usb", "/sys/bus/usb", "/sys/devices", "/run/udev"]));
    }
    match &needs.folder {
        Some(folder) if folder.read_only => confinement = confinement.with_read([&folder.path]),
        Some(folder) => confinement = confinement.with_write([&folder.path]),
        None => {}
    }
    let variables = [
        ("LC_ALL", "C.UTF-8"),
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/nonexistent"),
        // The libraries would load what they find for desktops: file systems, settings, sound.
        ("GIO_USE_VFS", "local"),
        ("GIO_MODULE_DIR", "/nonexistent"),
        ("GSETTINGS_BACKEND", "memory"),
        ("GST_PLUGIN_SYSTEM_PATH_1_0", "/nonexistent"),
        ("GST_REGISTRY", "/nonexistent"),
        ("GST_REGISTRY_UPDATE", "no"),
    ];
    Confinement {
        sockets: if needs.usb { Sockets::DeviceEvents } else { Sockets::Inherited },
        limits: Limits { open_files: Some(OPEN_FILES), memory: Some(MEMORY), ..Limits::default() },
        environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        landlock,
        ..confinement
    }
}

/// A folder that can be shared, without links in its path.
///
/// # Errors
/// Where it is none.
pub fn shareable(folder: &ExchangeFolder) -> Result<ExchangeFolder> {
    let failed = |path: &Path, error| Error::new(ErrorKind::File, format!("Cannot share {}", path.display())).with_source(error);
    let path = folder.path.canonicalize().map_err(|error| failed(&folder.path, error))?;
    let opened = File::open(&path).and_then(|opened| opened.metadata()).map_err(|error| failed(&path, error))?;
    if opened.is_dir() && path.to_str().is_some() {
        Ok(ExchangeFolder { path, read_only: folder.read_only })
    } else {
        Err(Error::new(ErrorKind::File, format!("Only a folder whose path is UTF-8 can be shared, not {}", path.display())))
    }
}
