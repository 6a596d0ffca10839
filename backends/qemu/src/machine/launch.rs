//! From a plan to processes: files made, descriptors opened, helpers and QEMU started, each confined.

use super::Plan;
use super::files::Files;
use crate::command_line::{Access, CommandLine, Confinement as HelperNeeds, FileAccess, Helper, HelperKind, Preparation, Source};
use disk_image::{Create, Format, Preallocation, QemuImg};
use machine::{Error, ErrorKind, Result, Sandbox};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use sandbox::{Confinement, Launch, Launcher, Limits, Process, Requirement, Sockets, Tcp};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Where distributions keep what QEMU loads by itself: option ROMs, BIOSes, key maps. The same for everybody.
const DATA_DIRECTORIES: &[&str] = &[
    "/usr/share/qemu",
    "/usr/local/share/qemu",
    "/usr/share/seabios",
    "/usr/share/vgabios",
    "/usr/share/slof",
    "/usr/share/skiboot",
    "/usr/share/openbios",
    "/usr/share/openhackware",
    "/usr/share/ipxe",
    "/usr/share/ipxe.efi",
    "/usr/share/opensbi",
    "/usr/share/qemu-kvm",
    // What PipeWire's and ALSA's libraries read.
    "/usr/share/pipewire",
    "/usr/share/spa-0.2",
    "/usr/share/alsa",
];

/// Descriptors that QEMU may have open: one per image, viewer, vCPU and the like.
const OPEN_FILES: u64 = 4096;

/// How a machine is launched, apart from its plan.
#[derive(Debug)]
pub struct Terms {
    /// What confines itself and becomes QEMU.
    pub launcher: Launcher,
    /// The launcher's program, for the helpers.
    pub program: PathBuf,
    /// What to do where the kernel has no Landlock.
    pub landlock: Requirement,
    /// The log that QEMU writes to. Each helper writes to one beside it, with its own name.
    pub log: PathBuf,
    /// The bundle's lock: QEMU holds it as long as it lives.
    pub lock: OwnedFd,
}

/// A launched machine.
#[derive(Debug)]
pub struct Launched {
    /// QEMU.
    pub process: Process,
    /// How QEMU is confined.
    pub sandbox: Sandbox,
}

/// Launches. What was started before a failure is ended again.
///
/// # Errors
/// Which step failed, and what to do.
pub async fn launch(plan: &mut Plan, terms: Terms) -> Result<Launched> {
    let Plan { command_line: command, files, .. } = plan;
    let command = &*command;
    for preparation in &command.preparations {
        prepare(preparation, files, terms.landlock).await?;
    }
    let mut ends: HashMap<HelperKind, UnixStream> = HashMap::new();
    let mut descriptors = Vec::new();
    let bridges = bridges(command)?;
    for descriptor in &command.descriptors {
        let opened = match &descriptor.source {
            Source::Listen { path } => listen(path)?,
            Source::Link { helper } => {
                let (ours, theirs) = UnixStream::pair().map_err(|error| system("make a pair of sockets", error))?;
                ends.insert(helper.clone(), theirs);
                ours.into()
            }
            Source::File { path, access, .. } => open(path, *access, files)?,
            Source::Tap { network, .. } => bridges
                .get(network)
                .ok_or_else(|| Error::new(ErrorKind::Backend, "A bridged network card has no bridge helper"))?
                .try_clone()
                .map_err(|error| system("hand over a tap", error))?,
        };
        descriptors.push((opened, descriptor.fd));
    }
    let above = descriptors.iter().map(|(_, number)| *number).max().unwrap_or(2);
    descriptors.push((terms.lock, above + 1));

    let mut started = Started(Vec::new());
    for helper in &command.helpers {
        if !matches!(helper.kind, HelperKind::Bridge { .. }) {
            started.0.push(start_helper(helper, ends.remove(&helper.kind), files, &terms.program, terms.landlock, &terms.log)?);
        }
    }
    let confinement = confinement(command, terms.landlock);
    let mut missing = Vec::new();
    if confinement.sockets == Sockets::Any {
        missing.push("QEMU could reach other programs' Unix sockets, because it connects to the sound server by itself".to_owned());
    }
    if command.makes.pseudo_terminals {
        missing.push("QEMU could reach other programs' terminals, because it makes a serial port's by itself".to_owned());
    }
    let launch = Launch {
        arguments: command.argv().into_iter().map(Into::into).collect(),
        descriptors,
        stdout: append(&terms.log)?.into(),
        stderr: append(&terms.log)?.into(),
        working_directory: command.working_directory.clone(),
        ..Launch::new(&command.program, confinement)
    };
    let launched = terms.launcher.launch(launch).map_err(|error| launch_failed("QEMU", &error))?;
    // From here on they end when QEMU does.
    started.0.clear();
    missing.extend(launched.applied.missing);
    let seccomp = command.argv().iter().any(|word| word == "-sandbox");
    if !seccomp {
        missing.push("the installed QEMU cannot filter its own system calls".to_owned());
    }
    Ok(Launched {
        process: launched.process,
        sandbox: Sandbox { complete: missing.is_empty(), landlock_abi: launched.applied.landlock_abi, seccomp, missing },
    })
}

/// Helpers that are ended when the launch fails.
struct Started(Vec<Process>);

impl Drop for Started {
    fn drop(&mut self) {
        for process in &self.0 {
            let _ = process.signal(sandbox::Signal::TERM);
        }
    }
}

async fn prepare(preparation: &Preparation, files: &mut Files, landlock: Requirement) -> Result<()> {
    match preparation {
        Preparation::Overlay { path, backing, virtual_size, .. } => {
            make_parent(path)?;
            let size = match virtual_size {
                Some(size) => *size,
                None => files
                    .get(backing)
                    .map_or_else(|| std::fs::metadata(backing), File::metadata)
                    .map_err(|error| file("find the size of", backing, error))?
                    .len(),
            };
            remove_if_there(path)?;
            let overlay = Create { format: Format::Qcow2, size: Some(size), backing: None, preallocation: Preallocation::Off };
            let tool = QemuImg::find(landlock).map_err(|error| Error::new(ErrorKind::Missing, error.to_string()))?;
            tool.create(path, &overlay)
                .await
                .map_err(|error| Error::new(ErrorKind::File, "Cannot make the layer that a disposable run writes to").with_source(error))
        }
        Preparation::Copy { from, to } => {
            make_parent(to)?;
            remove_if_there(to)?;
            let mut copy = File::create_new(to).map_err(|error| file("make", to, error))?;
            match files.get(from) {
                Some(_) => {
                    let copied = files.hand_over(from, beneath::Access::Read).and_then(|mut from| io::copy(&mut from, &mut copy));
                    copied.map(drop).map_err(|error| file("copy", from, error))
                }
                None => Ok(()),
            }
        }
        Preparation::Empty { path } => files.make(path, |_| Ok(())).map_err(|error| file("make", path, error)),
        // Half of them would be a machine that does not start and cannot tell why.
        Preparation::Variables { template, path } => files
            .make(path, |variables| io::copy(&mut File::open(template)?, variables).map(drop))
            .map_err(|error| file("make the UEFI variables", path, error)),
    }
}

fn make_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|error| file("make the folder", folder, error))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("replace", path, error)),
        _ => Ok(()),
    }
}

fn listen(path: &Path) -> Result<OwnedFd> {
    remove_if_there(path)?;
    UnixListener::bind(path).map(Into::into).map_err(|error| file("listen on", path, error))
}

fn open(path: &Path, access: Access, files: &Files) -> Result<OwnedFd> {
    let opened = match access {
        Access::Read => files.hand_over(path, beneath::Access::Read),
        Access::ReadWrite => files.hand_over(path, beneath::Access::ReadWrite),
        Access::Append => return append(path).map(Into::into),
    };
    opened.map(Into::into).map_err(|error| file("open", path, error))
}

/// QEMU finds a descriptor by its access mode; of a log it wants to write only.
fn append(path: &Path) -> Result<File> {
    make_parent(path)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|error| file("open", path, error))
}

fn existing(paths: &[&str]) -> impl Iterator<Item = PathBuf> {
    paths.iter().map(PathBuf::from).filter(|path| path.exists())
}

fn with_files(mut confinement: Confinement, files: &[FileAccess]) -> Confinement {
    for file in files {
        match file.access {
            Access::Read => confinement.read.push(file.path.clone()),
            Access::ReadWrite if file.path.starts_with("/dev") => confinement.devices.push(file.path.clone()),
            Access::ReadWrite | Access::Append => confinement.write.push(file.path.clone()),
        }
    }
    confinement
}

/// What QEMU may use: its own data files, what its command line names, and no more.
fn confinement(command: &CommandLine, landlock: Requirement) -> Confinement {
    let makes = command.makes;
    // No filter can tell one Unix socket from another where it is connected to.
    let sockets = match (makes.internet, makes.unix_connecting) {
        (_, true) => Sockets::Any,
        (true, false) => Sockets::Internet,
        (false, false) => Sockets::Inherited,
    };
    let mut confinement = with_files(Confinement::system_program(), &command.files);
    confinement.read.extend(existing(DATA_DIRECTORIES));
    if makes.internet {
        confinement = confinement.with_name_resolution();
    }
    Confinement {
        tcp: if makes.internet { Tcp::AllowAll } else { Tcp::Deny },
        sockets,
        limits: Limits { open_files: Some(OPEN_FILES), ..Limits::default() },
        environment: environment(&command.environment),
        landlock,
        ..confinement
    }
}

/// A clean environment: what the command line asks for, and a language that messages can be understood in.
fn environment(wanted: &[(String, String)]) -> Vec<(String, String)> {
    let mut environment = vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    environment.extend(wanted.iter().cloned());
    environment
}

fn start_helper(
    helper: &Helper,
    end: Option<UnixStream>,
    files: &Files,
    launcher: &Path,
    landlock: Requirement,
    log: &Path,
) -> Result<Process> {
    let HelperNeeds { files: needed, network, namespaces, .. } = &helper.confinement;
    let mut confinement = with_files(Confinement::system_program(), needed);
    confinement.landlock = landlock;
    confinement.environment = environment(&[]);
    if *network {
        confinement.sockets = Sockets::Internet;
        confinement.tcp = Tcp::AllowAll;
    }
    if *namespaces {
        // It confines itself with namespaces, an empty root and its own system call filter, which Landlock would forbid.
        confinement.landlock = Requirement::Off;
        confinement.sockets = Sockets::Any;
    }
    let mut descriptors: Vec<(OwnedFd, i32)> = helper.link.zip(end).map(|(number, end)| (end.into(), number)).into_iter().collect();
    for descriptor in &helper.descriptors {
        if let Source::File { path, access, .. } = &descriptor.source {
            descriptors.push((open(path, *access, files)?, descriptor.fd));
        }
    }
    let name = helper.program.file_name().unwrap_or_default().to_string_lossy();
    let log = log.with_file_name(format!("{name}.log"));
    let launch = Launch {
        arguments: helper.arguments.iter().map(Into::into).collect(),
        descriptors,
        stdout: append(&log)?.into(),
        stderr: append(&log)?.into(),
        working_directory: helper.working_directory.clone(),
        ..Launch::new(&helper.program, confinement)
    };
    sandbox::spawn(launcher, launch).map(|started| started.process).map_err(|error| launch_failed(&name, &error))
}

/// Runs the bridge helpers. They need their set-user-ID bit, so they run outside the sandbox, for a moment, with fixed arguments.
fn bridges(command: &CommandLine) -> Result<HashMap<usize, OwnedFd>> {
    let mut taps = HashMap::new();
    for helper in &command.helpers {
        if let HelperKind::Bridge { network } = helper.kind {
            taps.insert(network, tap(helper)?);
        }
    }
    Ok(taps)
}

fn tap(helper: &Helper) -> Result<OwnedFd> {
    let failed = |what: &str| {
        let hint = "allow the bridge in /etc/qemu/bridge.conf (\"allow br0\"), and see that the helper has its set-user-ID bit";
        Error::new(ErrorKind::Backend, format!("Cannot connect the machine to its bridge: {what}")).with_hint(hint)
    };
    let (ours, theirs) = UnixStream::pair().map_err(|error| system("make a pair of sockets", error))?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).map_err(|error| system("hand over a socket", error.into()))?;
    let output = std::process::Command::new(&helper.program)
        .args(&helper.arguments)
        .arg(format!("--fd={}", theirs.as_raw_fd()))
        .env_clear()
        .current_dir("/")
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    drop(theirs);
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim()));
    }
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(&ours, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|error| failed(&error.to_string()))?;
    let handed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    handed.ok_or_else(|| failed("the helper handed over no tap"))
}

pub fn launch_failed(what: &str, error: &sandbox::LaunchError) -> Error {
    Error::new(ErrorKind::Backend, format!("Cannot start {what} confined")).with_source(error.to_string())
}

fn system(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Backend, format!("Cannot {what}")).with_source(error)
}

fn file(what: &str, path: &Path, error: io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let failed = Error::new(ErrorKind::File, format!("Cannot {what} {}", path.display())).with_source(error);
    if full { failed.with_hint("free some space on that disk, and start again") } else { failed }
}
