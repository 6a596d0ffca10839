//! Shared directories: the program virtiofsd, one for each device.
//!
//! It opens files by one name after the other, without following links, so that nothing outside of the directory is reached; in a sandbox of
//! namespaces there is nothing else that it could reach.
//!
//! A vCPU asks for a new one when its guest's driver starts over, and may start no program itself: that is done outside, and so is killing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
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
use super::several::{self, Inside};
use super::sharing::Sharing;
use super::surroundings::Surroundings;
use crate::configuration::DirectoryShare;
use crate::error::{Error, ErrorKind, Result};

/// Where distributions put virtiofsd, which is not among the programs that people call.
const FOLDERS: [&str; 3] = ["/usr/libexec", "/usr/lib/qemu", "/usr/lib"];
/// How long a program may take to end once it was killed.
const END: Duration = Duration::from_secs(5);

/// How virtiofsd confines itself.
#[derive(Debug, Clone, Copy)]
enum Sandbox {
    /// Namespaces in which there is nothing but the directory. A user who is not root needs user namespaces for that.
    Namespace,
    /// None but its filter of system calls, where the host refuses namespaces.
    None,
}

/// The device that shares directories.
pub fn device(sharing: &Arc<Sharing>, gone: &Gone, events: &Arc<EventLoop>, surroundings: &Surroundings) -> Result<FileSystem> {
    sharing.change_on(&surroundings.outside);
    let program = Arc::new(surroundings.outside.run(program)??);
    let failed = |error: io::Error| {
        let message = format!("Could not share what has the tag {}, by {}", sharing.tag(), program.path.display());
        Error::because(ErrorKind::Host, message, error)
    };
    let attempt = |sandbox| {
        let order = Order { program: Arc::clone(&program), sharing: Arc::clone(sharing), sandbox };
        FileSystem::new(sharing.tag(), start(order, surroundings), PATIENCE, Arc::clone(gone), Arc::clone(events))
    };
    // Whether namespaces are allowed is up to kernel, distribution and container; trying is the only way to know.
    let made = attempt(Sandbox::Namespace).or_else(|error| {
        let Ok(file_system) = attempt(Sandbox::None) else { return Err(error) };
        tracing::warn!(%error, "virtiofsd cannot have namespaces here and shares {} without", sharing.tag());
        Ok(file_system)
    });
    made.map_err(failed)
}

/// What is to be started, each time that a driver wants one: what is shared may be something else by then.
#[derive(Debug, Clone)]
struct Order {
    program: Arc<Program>,
    sharing: Arc<Sharing>,
    sandbox: Sandbox,
}

/// A virtiofsd, and what it can do.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    can_share_read_only: bool,
}

impl Program {
    fn require_read_only(&self) -> io::Result<()> {
        const WHY: &str = "it has no option --readonly; install version 1.13 or newer: cargo install virtiofsd --locked";
        if self.can_share_read_only { Ok(()) } else { Err(io::Error::other(WHY)) }
    }
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
        let mut command = Command::new(&self.program.path);
        // It serves one directory: several, or none, are put into one for it.
        let several = match self.sharing.share() {
            Some(DirectoryShare::Single(directory)) => {
                command.arg("--shared-dir").arg(std::path::absolute(&directory.path)?);
                if directory.read_only {
                    self.program.require_read_only()?;
                    command.arg("--readonly");
                }
                None
            }
            Some(DirectoryShare::Multiple(directories)) => Some(directories),
            None => Some(BTreeMap::new()),
        };
        if several.is_some() {
            command.args(["--shared-dir", several::FOLDER]);
        }
        // The socket is its standard input, the one descriptor that a program can be given without more.
        command.args(["--fd", "0", "--log-level", "warn", "--sandbox"]);
        command.arg(match self.sandbox {
            Sandbox::Namespace => "namespace",
            Sandbox::None => "none",
        });
        command.stdin(listener).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let (child, inside) = match several {
            Some(directories) => several::spawn(command, &directories).map(|(child, inside)| (child, Some(Arc::new(inside))))?,
            None => (command.spawn()?, None),
        };
        self.sharing.served_by(inside.as_ref());
        Ok((here, Virtiofsd::attend(child, inside, confinement, outside)?))
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
    /// Where several directories are mounted for it, for as long as it is there.
    _inside: Option<Arc<Inside>>,
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

    /// Waits until the first process has ended, and ends the others. Killing is left to the thread outside.
    fn reap(self: &Arc<Self>, mut child: Child, outside: &Outside) {
        if let Some(first) = Pid::from_raw(child.id().cast_signed()) {
            // Its number stays taken until it is waited for in earnest, below.
            while rustix::process::waitid(WaitId::Pid(first), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                .is_err_and(|error| error == rustix::io::Errno::INTR)
            {}
        }
        // The first may have gone without the others.
        let group = Arc::clone(self);
        if let Err(error) = outside.run(move || group.kill()) {
            tracing::error!(%error, "what virtiofsd has started cannot be killed");
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = child.wait();
    }
}

impl Virtiofsd {
    /// One that runs, as a group of its own.
    fn attend(mut child: Child, inside: Option<Arc<Inside>>, confinement: &Confinement, outside: Outside) -> io::Result<Self> {
        let group = Arc::new(Group(Mutex::new(Pid::from_raw(child.id().cast_signed()))));
        let (sender, ended) = channel();
        let (processes, said, killer) = (Arc::clone(&group), child.stderr.take(), outside.clone());
        confinement.spawn(Thread::Reaper, "vm-virtiofsd".to_owned(), move || {
            let last = said.and_then(relay);
            processes.reap(child, &killer);
            // Nobody may want to know.
            let _ = sender.send(last);
        })?;
        Ok(Self { group, outside, ended, _inside: inside })
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
        let thread = confinement.spawn_without_files(kind, "confined".to_owned(), move || sender.send(what()).unwrap());
        thread.unwrap().join().unwrap();
        result.recv().unwrap()
    }

    fn surroundings() -> Surroundings {
        let hypervisor = Arc::new(FakeHypervisor::new());
        Surroundings { hypervisor, outside: Outside::new().unwrap(), confinement: Confinement::new().unwrap() }
    }

    fn sharing(share: impl Into<DirectoryShare>) -> Arc<Sharing> {
        Arc::new(Sharing::new(&VirtioFileSystemDevice::new("home", share)))
    }

    #[test]
    fn control_makes_devices_without_opening_anything() {
        if let Err(error) = program() {
            eprintln!("skipped: {error}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let both = [("one", SharedDirectory::new(folder.path())), ("other", SharedDirectory::read_only("/"))];
        let several = DirectoryShare::Multiple(both.map(|(name, directory)| (name.to_owned(), directory)).into());
        let nothing = sharing(SharedDirectory::new("/"));
        nothing.set_share(None).unwrap();
        for sharing in [sharing(SharedDirectory::new(folder.path())), sharing(several), nothing] {
            let surroundings = surroundings();
            let events = Arc::new(EventLoop::new("test", Thread::Events, &surroundings.confinement).unwrap());
            let gone: Gone = Arc::new(|error| panic!("{error}"));
            let made = on(Thread::Control, move || device(&sharing, &gone, &events, &surroundings).map(drop));
            let why = |error: &Error| std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            match made {
                Err(error) if why(&error).contains("not allowed here") => eprintln!("not possible here: {}", why(&error)),
                made => made.unwrap(),
            }
        }
    }

    #[test]
    fn vcpus_have_servers_started_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let sharing = sharing(SharedDirectory::new(folder.path()));
        let order = |path: PathBuf| {
            let program = Arc::new(Program { path, can_share_read_only: false });
            Order { program, sharing: Arc::clone(&sharing), sandbox: Sandbox::None }
        };
        // It knows nothing of all this, says so and ends.
        let surroundings = surroundings();
        let mut start_other = start(order("/bin/cat".into()), &surroundings);
        let mut start_nothing = start(order("/nowhere".into()), &surroundings);
        let starts = on(Thread::Vcpu, move || {
            for _ in 0..3 {
                drop(start_other().unwrap());
            }
            assert_eq!(start_nothing().err().unwrap().kind(), io::ErrorKind::NotFound);
            start_other
        });
        // What is shared by then is what the next one has.
        sharing.set_share(Some(SharedDirectory::read_only(folder.path()).into())).unwrap();
        let error = on(Thread::Vcpu, {
            let mut start = starts;
            move || start().err()
        })
        .unwrap();
        assert!(error.to_string().contains("--readonly"), "{error}");
    }
}
