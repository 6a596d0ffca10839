//! Shared directories: the program virtiofsd, one for each.
//!
//! It opens files by one name after the other, without following links, so that nothing outside of the directory is reached; in a sandbox of
//! namespaces there is nothing else that it could reach.
//!
//! A vCPU asks for a new one when its guest's driver starts over, and may start no program itself: that is done outside, and so is killing.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use confinement::{Confinement, Thread};
use devices::EventLoop;
use devices::virtio::FileSystem;
use devices::virtio::file_system::{Gone, PATIENCE, Server, Start};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::outside::Outside;
use super::sharing::Sharing;
use super::surroundings::Surroundings;
use crate::configuration::{DirectoryShare, DirectorySharingDevice, VirtualMachineConfiguration};
use crate::error::{Error, ErrorKind, Result};

/// Where distributions put virtiofsd, which is not among the programs that people call.
const FOLDERS: [&str; 3] = ["/usr/libexec", "/usr/lib/qemu", "/usr/lib"];
/// How long a program may take to end once it was killed.
const END: Duration = Duration::from_secs(5);

/// Refuses what no virtiofsd can share, by its place in the configuration.
pub fn require_supported(configuration: &VirtualMachineConfiguration) -> Result<()> {
    for (index, DirectorySharingDevice::VirtioFileSystem(device)) in configuration.directory_sharing_devices.iter().enumerate() {
        if let Some(why) = unsupported(device.share.as_ref()) {
            return Err(Error::new(ErrorKind::NotSupported, format!("directory_sharing_devices[{index}] {why}")));
        }
    }
    Ok(())
}

fn unsupported(share: Option<&DirectoryShare>) -> Option<&'static str> {
    match share {
        Some(DirectoryShare::Single(_)) => None,
        Some(DirectoryShare::Multiple(_)) => {
            Some("has several directories, and virtiofsd shares one: give each a device with a tag of its own")
        }
        None => Some("shares nothing, and the KVM engine has no device for that: leave the device out"),
    }
}

/// How virtiofsd confines itself.
#[derive(Debug, Clone, Copy)]
enum Sandbox {
    /// Namespaces in which there is nothing but the directory. A user who is not root needs user namespaces for that.
    Namespace,
    /// None but its filter of system calls, where the host refuses namespaces.
    None,
}

/// The device that shares a directory.
pub fn device(sharing: &Sharing, gone: &Gone, events: &Arc<EventLoop>, surroundings: &Surroundings) -> Result<FileSystem> {
    let directory = match sharing.share() {
        Some(DirectoryShare::Single(directory)) => directory,
        other => {
            let why = unsupported(other.as_ref()).unwrap_or_default();
            return Err(Error::new(ErrorKind::NotSupported, format!("The directory sharing device {} {why}", sharing.tag())));
        }
    };
    let program = surroundings.outside.run(program)??;
    let failed = |error: io::Error| {
        let message = format!("Could not share the directory {} by {}", directory.path.display(), program.path.display());
        Error::because(ErrorKind::Host, message, error)
    };
    if directory.read_only && !program.can_share_read_only {
        let why = "it has no option --readonly; install version 1.13 or newer: cargo install virtiofsd --locked";
        return Err(failed(io::Error::other(why)));
    }
    let path = directory.path.clone();
    let path = surroundings.outside.run(move || std::path::absolute(path))?.map_err(failed)?;
    let attempt = |sandbox| {
        let order = Order { program: program.path.clone(), path: path.clone(), read_only: directory.read_only, sandbox };
        FileSystem::new(sharing.tag(), start(order, surroundings), PATIENCE, Arc::clone(gone), Arc::clone(events))
    };
    // Whether namespaces are allowed is up to kernel, distribution and container; trying is the only way to know.
    let made = attempt(Sandbox::Namespace).or_else(|error| {
        let file_system = attempt(Sandbox::None)?;
        tracing::warn!(%error, "virtiofsd cannot have namespaces here and shares {} without", directory.path.display());
        Ok(file_system)
    });
    made.map_err(failed)
}

/// What is to be started.
#[derive(Debug, Clone)]
struct Order {
    program: PathBuf,
    /// The directory, from the root on.
    path: PathBuf,
    read_only: bool,
    sandbox: Sandbox,
}

/// A virtiofsd, and what it can do.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    can_share_read_only: bool,
}

/// The virtiofsd that there is.
pub fn program() -> Result<Program> {
    const NEXT: &str = "install the package virtiofsd or, where the distribution has none, run: cargo install virtiofsd --locked \
                        (it needs the packages libcap-ng-dev and libseccomp-dev)";
    let searched = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let cargo = std::env::home_dir().map(|home| home.join(".cargo/bin"));
    let folders = searched.into_iter().chain(FOLDERS.map(PathBuf::from)).chain(cargo);
    let mut unfit = None;
    for path in folders.map(|folder| folder.join("virtiofsd")).filter(|path| path.is_absolute() && path.is_file()) {
        // That of old releases of QEMU has the name and other options.
        let said = Command::new(&path).arg("--help").stdin(Stdio::null()).output();
        let help = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        if help.contains("--shared-dir") {
            return Ok(Program { path, can_share_read_only: help.contains("--readonly") });
        }
        unfit.get_or_insert(path);
    }
    let message = match unfit {
        Some(path) => {
            format!("Shared directories need the program virtiofsd, and {} is an old one or does not run: {NEXT}", path.display())
        }
        None => format!("Shared directories need the program virtiofsd, which is not installed: {NEXT}"),
    };
    Err(Error::new(ErrorKind::Host, message))
}

fn start(order: Order, surroundings: &Surroundings) -> Start {
    let (outside, confinement) = (surroundings.outside.clone(), surroundings.confinement.clone());
    Box::new(move || {
        let (order, confinement, killer) = (order.clone(), confinement.clone(), outside.clone());
        let started = outside.run(move || order.carry_out(&confinement, killer));
        let (here, server) = started.map_err(io::Error::other)??;
        Ok((here, Box::new(server)))
    })
}

impl Order {
    /// Starts it; the other end of its connection is returned with it. The calling thread is the one outside.
    fn carry_out(&self, confinement: &Confinement, outside: Outside) -> io::Result<(OwnedFd, Virtiofsd)> {
        let (here, listener) = sockets()?;
        let mut command = Command::new(&self.program);
        command.arg("--shared-dir").arg(&self.path);
        // The socket is its standard input, the one descriptor that a program can be given without more.
        command.args(["--fd", "0", "--log-level", "warn", "--sandbox"]);
        command.arg(match self.sandbox {
            Sandbox::Namespace => "namespace",
            Sandbox::None => "none",
        });
        if self.read_only {
            command.arg("--readonly");
        }
        Ok((here, Virtiofsd::start(command.stdin(listener), confinement, outside)?))
    }
}

/// Two ends of a connection: ours, and the socket that listens, by which virtiofsd takes the other. The name that this needs is gone again,
/// and was in a folder that only we may enter, so that nobody else can be there first.
fn sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    let folder = std::env::temp_dir().join(format!("virtualization-{random:016x}"));
    rustix::fs::mkdir(&folder, Mode::RWXU)?;
    let made = sockets_in(&folder);
    // What was not made is not there to be removed.
    let _ = std::fs::remove_file(folder.join("socket"));
    std::fs::remove_dir(&folder)?;
    made
}

fn sockets_in(folder: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let socket = || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let address = SocketAddrUnix::new(folder.join("socket"))?;
    let (listener, here) = (socket()?, socket()?);
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, 1)?;
    rustix::net::connect(&here, &address)?;
    Ok((here, listener))
}

/// A virtiofsd; its sandbox makes it several processes, which are a group of their own.
struct Virtiofsd {
    group: Arc<Group>,
    outside: Outside,
    /// Its last words, when all of it has ended.
    ended: Receiver<Option<String>>,
}

/// The processes, for as long as the first one's number is theirs.
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn kill(&self) {
        if let Some(group) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended, which is as well.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits until the first process has ended.
    fn reap(&self, mut child: Child) {
        if let Some(first) = Pid::from_raw(child.id().cast_signed()) {
            // Its number stays taken until it is waited for in earnest, below.
            while rustix::process::waitid(WaitId::Pid(first), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                .is_err_and(|error| error == rustix::io::Errno::INTR)
            {}
        }
        let mut group = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = group.take() {
            // The first may have gone without the others.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }
}

impl Virtiofsd {
    fn start(command: &mut Command, confinement: &Confinement, outside: Outside) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;

        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn()?;
        let group = Arc::new(Group(Mutex::new(Pid::from_raw(child.id().cast_signed()))));
        let (sender, ended) = channel();
        let (processes, said) = (Arc::clone(&group), child.stderr.take());
        confinement.spawn(Thread::Reaper, "vm-virtiofsd".to_owned(), move || {
            let last = said.and_then(relay);
            processes.reap(child);
            // Nobody may want to know.
            let _ = sender.send(last);
        })?;
        Ok(Self { group, outside, ended })
    }

    /// Ends it and returns its last words; once.
    fn finish(&self) -> Option<String> {
        let group = Arc::clone(&self.group);
        if let Err(error) = self.outside.post(move || group.kill()) {
            // It ends by itself when its connection does, unless it hangs.
            tracing::error!(%error, "virtiofsd cannot be killed");
        }
        match self.ended.recv_timeout(END) {
            Ok(last) => last,
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!("virtiofsd was killed and has not ended: what it waits for does not answer");
                None
            }
        }
    }
}

/// Passes on what it says until it ends; returns the last line.
fn relay(said: ChildStderr) -> Option<String> {
    let mut last = None;
    for line in BufReader::new(said).lines().map_while(io::Result::ok) {
        tracing::warn!("virtiofsd: {line}");
        last = Some(line);
    }
    last
}

impl Server for Virtiofsd {
    fn end(self: Box<Self>) -> Option<String> {
        self.finish()
    }
}

impl Drop for Virtiofsd {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Virtiofsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Virtiofsd")
    }
}

#[cfg(test)]
mod tests {
    use hv::fake::FakeHypervisor;

    use super::*;
    use crate::configuration::{SharedDirectory, VirtioFileSystemDevice};

    /// Does something on a thread that is confined as one of a machine's.
    fn on<T: Send + 'static>(kind: Thread, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        let confinement = Confinement::new().unwrap();
        let thread = confinement.spawn_without_files(kind, "confined".to_owned(), Vec::new(), move || sender.send(what()).unwrap());
        thread.unwrap().join().unwrap();
        result.recv().unwrap()
    }

    fn surroundings() -> Surroundings {
        let hypervisor = Arc::new(FakeHypervisor::new());
        Surroundings { hypervisor, outside: Outside::new().unwrap(), confinement: Confinement::new().unwrap() }
    }

    #[test]
    fn control_makes_devices_without_opening_anything() {
        if let Err(error) = program() {
            eprintln!("skipped: {error}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (surroundings, sharing) =
            (surroundings(), Sharing::new(&VirtioFileSystemDevice::new("home", SharedDirectory::new(folder.path()))));
        let events = Arc::new(EventLoop::new("test", Thread::Events, &surroundings.confinement).unwrap());
        let gone: Gone = Arc::new(|error| panic!("{error}"));
        on(Thread::Control, move || device(&sharing, &gone, &events, &surroundings).map(drop)).unwrap();
    }

    #[test]
    fn vcpus_have_servers_started_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let order = |program: PathBuf| Order { program, path: folder.path().to_owned(), read_only: false, sandbox: Sandbox::None };
        // It knows nothing of all this, says so and ends.
        let surroundings = surroundings();
        let mut start_other = start(order("/bin/cat".into()), &surroundings);
        let mut start_nothing = start(order("/nowhere".into()), &surroundings);
        on(Thread::Vcpu, move || {
            for _ in 0..3 {
                drop(start_other().unwrap());
            }
            assert_eq!(start_nothing().err().unwrap().kind(), io::ErrorKind::NotFound);
        });
    }
}
