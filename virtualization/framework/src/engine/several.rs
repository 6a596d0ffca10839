//! Several directories in one folder, for one program: a namespace of mounts in which it alone finds them there. No root is needed where the
//! host lets programs have user namespaces.
//!
//! They can be others while the program runs, in whatever namespaces it has gone into from there: what is mounted in the folder later, and
//! what is taken away, reaches those (mount_namespaces(7)).
//!
//! Why unsafe: between a program's fork and its start only what may be done in a signal handler may be done: system calls on what was
//! prepared before, nothing that allocates or takes a lock.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int, c_long, c_ulong};
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::ptr::null;
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage};
use rustix::net::{SendFlags, SocketFlags, SocketType};

use crate::configuration::SharedDirectory;

/// Where the program finds the folder: over something that is everywhere and that it does not need.
pub const FOLDER: &str = "/sys";
const FOLDER_C: &CStr = c"/sys";

/// The directories, by the names that the program finds them under.
pub type Directories = BTreeMap<String, SharedDirectory>;

/// What a program that runs finds in its folder, and the way to change that.
#[derive(Debug)]
pub struct Inside {
    /// A namespace of mounts, and where that took one the namespace of users that it belongs to.
    namespaces: Vec<OwnedFd>,
    shown: Mutex<Directories>,
}

/// What is to be done to a folder, and how is said what does not work.
struct Plan {
    /// Directories that are taken away, and those that come.
    gone: Vec<CString>,
    directories: Vec<Directory>,
    socket: OwnedFd,
}

/// One directory.
struct Directory {
    /// Which of all it is.
    index: u16,
    path: CString,
    /// Where in the folder.
    place: CString,
    read_only: bool,
    /// The directory and what is mounted in it, once that was opened.
    tree: Option<OwnedFd>,
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Namespaces,
    Open,
    Folder,
    Attach,
    Detach,
}

/// What is said instead where all of it worked, with the namespaces' descriptors.
const DONE: u8 = u8::MAX;
/// How many of these there are at most.
const NAMESPACES: usize = 2;

/// What did not work: what was done, with which of the directories, and why.
type Failure = (Step, u16, io::Error);

/// Starts a program that finds these directories under their names in [`FOLDER`], and nothing else in there. Those that are only to be read
/// cannot be written, whatever it does; neither can the folder itself.
///
/// # Errors
/// What the host does not let be done, with the setting that forbids it.
pub fn spawn(mut command: Command, directories: &Directories) -> io::Result<(Child, Inside)> {
    let (mut plan, here) = Plan::new(&Directories::new(), directories)?;
    // SAFETY: it makes system calls and nothing else.
    unsafe { command.pre_exec(move || plan.carry_out(Plan::begin)) };
    let child = command.spawn().map_err(|error| explained(&here, directories, error))?;
    let namespaces = hear(&here).1;
    Ok((child, Inside { namespaces, shown: Mutex::new(directories.clone()) }))
}

impl Inside {
    /// From now on the program finds these. Those that stay as they are, and what it has open, are left alone.
    ///
    /// # Errors
    /// As [`spawn`].
    pub fn change(&self, directories: &Directories) -> io::Result<()> {
        // It goes there and does nothing else: what it is called is never started.
        self.change_by(Command::new("/"), directories)
    }

    fn change_by(&self, mut messenger: Command, directories: &Directories) -> io::Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for directory in directories.iter().filter(|(name, directory)| shown.get(*name) != Some(*directory)).map(|(_, directory)| directory)
        {
            // What the folder hides is not to be found from in there.
            if std::fs::canonicalize(&directory.path)?.starts_with(FOLDER) {
                return Err(io::Error::other(format!("{} can only be shared from the start", directory.path.display())));
            }
        }
        let (mut plan, here) = Plan::new(&shown, directories)?;
        let namespaces: Vec<RawFd> = self.namespaces.iter().map(AsRawFd::as_raw_fd).collect();
        let enter = move || {
            plan.carry_out(|plan| plan.change(&namespaces))?;
            // SAFETY: it ends this process, of which nobody else is a part.
            unsafe { libc::_exit(0) }
        };
        // SAFETY: it makes system calls and nothing else.
        unsafe { messenger.pre_exec(enter) };
        let mut messenger = messenger.spawn().map_err(|error| explained(&here, directories, error))?;
        let ended = messenger.wait()?;
        if !ended.success() {
            return Err(io::Error::other(format!("the process that was to change it failed ({ended})")));
        }
        shown.clone_from(directories);
        Ok(())
    }
}

impl Plan {
    /// What makes one of these the other, and where is to be heard what came of it.
    fn new(from: &Directories, to: &Directories) -> io::Result<(Self, OwnedFd)> {
        let place = |name: &String| CString::new([FOLDER.as_bytes(), b"/", name.as_bytes()].concat());
        let gone = from.iter().filter(|(name, directory)| to.get(*name) != Some(*directory)).map(|(name, _)| place(name));
        let gone = gone.collect::<Result<_, _>>()?;
        let new = to.iter().zip(0..).filter(|((name, directory), _)| from.get(*name) != Some(*directory));
        let directories = new.map(|((name, directory), index)| {
            let path = CString::new(std::path::absolute(&directory.path)?.as_os_str().as_bytes())?;
            Ok(Directory { index, path, place: place(name)?, read_only: directory.read_only, tree: None })
        });
        let directories = directories.collect::<io::Result<_>>()?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, socket) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { gone, directories, socket }, here))
    }

    /// Does all of it, between fork and exec.
    fn carry_out(&mut self, what: impl FnOnce(&mut Self) -> Result<(), Failure>) -> io::Result<()> {
        what(self).map_err(|(step, index, error)| {
            let [low, high] = index.to_ne_bytes();
            // The one who hears it waits for this process, and there is room.
            let _ = rustix::net::send(&self.socket, &[step as u8, low, high], SendFlags::NOSIGNAL);
            error
        })
    }

    /// Makes a folder.
    fn begin(&mut self) -> Result<(), Failure> {
        let at = |step| move |error| (step, 0, error);
        let has_users = enter_namespaces().map_err(at(Step::Namespaces))?;
        // What is mounted outside later is found in here, to be shared later, and nothing that is done in here is seen outside.
        mount(None, c"/", libc::MS_REC | libc::MS_SLAVE, None).map_err(at(Step::Namespaces))?;
        // Before the folder hides what it is over.
        self.open()?;
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount(Some(c"tmpfs"), FOLDER_C, flags, Some(c"mode=0755")).map_err(at(Step::Folder))?;
        mount(None, FOLDER_C, libc::MS_SHARED, None).map_err(at(Step::Folder))?;
        self.attach()?;
        self.tell(has_users).map_err(at(Step::Namespaces))
    }

    /// Changes one.
    fn change(&mut self, namespaces: &[RawFd]) -> Result<(), Failure> {
        for namespace in namespaces {
            // SAFETY: it takes numbers.
            done(unsafe { libc::setns(*namespace, 0) }.into()).map_err(|error| (Step::Namespaces, 0, error))?;
        }
        self.open()?;
        restrict(libc::AT_FDCWD, FOLDER_C, 0, Some(false)).map_err(|error| (Step::Folder, 0, error))?;
        for place in &self.gone {
            // SAFETY: the strings outlive the calls.
            let (unmounted, removed) = unsafe {
                let unmounted = done(libc::umount2(place.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW).into());
                (unmounted, done(libc::rmdir(place.as_ptr()).into()))
            };
            // It may have gone already, when something else did not work then.
            let is_there = |error: &io::Error| !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL));
            if let Some(error) = unmounted.err().or(removed.err()).filter(is_there) {
                return Err((Step::Detach, 0, error));
            }
        }
        self.attach()
    }

    fn open(&mut self) -> Result<(), Failure> {
        for directory in &mut self.directories {
            directory.tree = Some(open_tree(&directory.path).map_err(|error| (Step::Open, directory.index, error))?);
        }
        Ok(())
    }

    /// Puts the directories into the folder, in which nobody makes anything else.
    fn attach(&self) -> Result<(), Failure> {
        for directory in &self.directories {
            directory.attach().map_err(|error| (Step::Attach, directory.index, error))?;
        }
        restrict(libc::AT_FDCWD, FOLDER_C, 0, Some(true)).map_err(|error| (Step::Folder, 0, error))
    }

    /// Hands the namespaces over.
    fn tell(&self, has_users: bool) -> io::Result<()> {
        let open =
            |path: &CStr| rustix::fs::open(path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
        let (users, mounts) = (open(c"/proc/self/ns/user")?, open(c"/proc/self/ns/mnt")?);
        // They are entered in this order.
        let both: [BorrowedFd<'_>; NAMESPACES] = [users.as_fd(), mounts.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(NAMESPACES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(if has_users { &both } else { &both[1..] }));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&[DONE, 0, 0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// What was said, if anything, and descriptors that came with it.
fn hear(socket: &OwnedFd) -> (Option<[u8; 3]>, Vec<OwnedFd>) {
    let (mut said, mut descriptors) = ([0; 3], Vec::new());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(NAMESPACES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut said)], &mut control, RecvFlags::CMSG_CLOEXEC);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    (received.is_ok_and(|received| received.bytes == 3).then_some(said), descriptors)
}

impl Directory {
    /// Puts it into the folder.
    fn attach(&self) -> io::Result<()> {
        let tree = self.tree.as_ref().ok_or(io::ErrorKind::NotFound)?.as_raw_fd();
        restrict(tree, c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, self.read_only.then_some(true))?;
        // SAFETY: the strings outlive the calls.
        unsafe {
            match done(libc::mkdir(self.place.as_ptr(), 0o755).into()) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
                _ => {}
            }
            let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
            done(libc::syscall(libc::SYS_move_mount, tree, c"".as_ptr(), libc::AT_FDCWD, self.place.as_ptr(), flags)).map(drop)
        }
    }
}

/// A namespace of mounts, and where that takes one (which is returned) a namespace of users in which this one is who they are.
fn enter_namespaces() -> io::Result<bool> {
    // SAFETY: these calls take numbers.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: so does this one.
    let unshare = |flags| done(unsafe { libc::unshare(flags) }.into());
    match unshare(libc::CLONE_NEWNS) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        result => return result.map(|_| false),
    }
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    set(c"/proc/self/setgroups", format_args!("deny"))?;
    set(c"/proc/self/uid_map", format_args!("{user} {user} 1"))?;
    set(c"/proc/self/gid_map", format_args!("{group} {group} 1"))?;
    Ok(true)
}

/// Writes something short into a file of the kernel's.
fn set(path: &CStr, value: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut room = [0; 40];
    let mut left = &mut room[..];
    left.write_fmt(value)?;
    let unused = left.len();
    let value = &room[..room.len() - unused];
    let file = rustix::fs::open(path, rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    // What it takes, it takes at once.
    rustix::io::write(&file, value)?;
    Ok(())
}

/// Mounts something, or changes what is mounted.
fn mount(kind: Option<&CStr>, place: &CStr, flags: c_ulong, options: Option<&CStr>) -> io::Result<()> {
    let text = |text: Option<&CStr>| text.map_or(null(), CStr::as_ptr);
    // SAFETY: the strings outlive the call, or are not there.
    done(unsafe { libc::mount(text(kind), place.as_ptr(), text(kind), flags, text(options).cast()) }.into()).map(drop)
}

/// A copy of what is mounted there and below, which is not mounted anywhere yet.
fn open_tree(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    // SAFETY: the string outlives the call.
    let tree = done(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: it is new, and nobody else's. A descriptor is an int.
    Ok(unsafe { OwnedFd::from_raw_fd(tree as RawFd) })
}

/// Lets nobody gain rights by what is mounted there, or open devices, and nobody write where it is only to be read; where it was and is to be
/// so no longer, that is undone. What is mounted elsewhere later does not get into a tree that is to be shared, where nobody would see to
/// that.
fn restrict(place: RawFd, path: &CStr, flags: c_int, read_only: Option<bool>) -> io::Result<()> {
    let is_tree = flags & libc::AT_RECURSIVE != 0;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | if read_only == Some(true) { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: if read_only == Some(false) { libc::MOUNT_ATTR_RDONLY } else { 0 },
        propagation: if is_tree { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    let (attributes, size) = (&raw const attributes, size_of::<libc::mount_attr>());
    // SAFETY: the string and what it is to be outlive the call, which only reads them.
    done(unsafe { libc::syscall(libc::SYS_mount_setattr, place, path.as_ptr(), flags, attributes, size) }).map(drop)
}

fn done(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What did not work, and what to do.
fn explained(socket: &OwnedFd, directories: &Directories, error: io::Error) -> io::Error {
    // Without a word it is the program that could not be started.
    let Some([step, index @ ..]) = hear(socket).0.filter(|[step, ..]| *step != DONE) else { return error };
    let directory = directories.values().nth(usize::from(u16::from_ne_bytes(index))).map(|directory| directory.path.display());
    let is_refused = !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::ENOENT | libc::ENOMEM));
    let what = match directory {
        _ if is_refused && (step == Step::Namespaces as u8 || step == Step::Folder as u8) => {
            let setting = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
            format!("several directories are put together in a user namespace, which is not allowed here: {}", forbidden_by(setting))
        }
        _ if error.raw_os_error() == Some(libc::ENOSYS) => "several directories need Linux 5.12 or newer".to_owned(),
        Some(directory) if step == Step::Open as u8 => format!("the directory {directory} cannot be shared"),
        Some(directory) if step == Step::Attach as u8 => format!("the directory {directory} cannot be put beside others"),
        _ => "the directories cannot be put together".to_owned(),
    };
    io::Error::new(error.kind(), format!("{what} ({error})"))
}

/// Which of the kernel's settings forbids user namespaces.
fn forbidden_by(setting: impl Fn(&str) -> Option<String>) -> &'static str {
    let is = |name: &str, value: &str| setting(name).is_some_and(|found| found.trim() == value);
    if is("kernel/unprivileged_userns_clone", "0") {
        "sysctl kernel.unprivileged_userns_clone=1 allows it"
    } else if is("user/max_user_namespaces", "0") {
        "sysctl user.max_user_namespaces=10000 allows it"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor forbids it; an AppArmor profile for this program with the rule \"userns,\" allows it to this program, and \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0 to all"
    } else {
        "a container, or the security module of this computer, forbids it"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).env("LC_ALL", "C");
        command
    }

    fn directories(folder: &Path) -> Directories {
        for name in ["both", "only"] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("file"), name).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let name = |name: &str| name.to_owned();
        [
            (name("with spaces"), SharedDirectory::new(folder.join("both"))),
            (name("only"), SharedDirectory::read_only(folder.join("only"))),
            // What the folder is over is still there.
            (name("system"), SharedDirectory::read_only(FOLDER)),
        ]
        .into()
    }

    const SCRIPT: &str = "cd /sys; ls; cat 'with spaces/file' only/file; echo
        for place in . only system 'with spaces'; do if 2>/dev/null echo new >\"$place/new\"; then echo \"wrote $place\"; fi; done
        ls -d system/kernel; id -u";

    /// Somebody who has no rights, with the namespaces that they may have.
    fn as_nobody(mut command: Command) -> Command {
        command.uid(65534).gid(65534);
        // SAFETY: it is one system call. A process that has become somebody else may not see to itself, unlike one that was started by them.
        unsafe { command.pre_exec(|| done(libc::prctl(libc::PR_SET_DUMPABLE, 1).into()).map(drop)) };
        command
    }

    #[test]
    fn a_program_finds_all_of_them_and_writes_only_where_it_may() {
        let is_root = rustix::process::geteuid().is_root();
        for gives_up in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (directories, command) = (directories(folder.path()), shell(SCRIPT));
            let command = if gives_up && is_root { as_nobody(command) } else { command };
            let started = match spawn(command, &directories) {
                Err(error) if error.to_string().contains("not allowed here") => {
                    eprintln!("not possible here: {error}");
                    continue;
                }
                started => started.unwrap().0,
            };
            let said = String::from_utf8(started.wait_with_output().unwrap().stdout).unwrap();
            let who = if gives_up && is_root { 65534 } else { rustix::process::geteuid().as_raw() };
            assert_eq!(said, format!("only\nsystem\nwith spaces\nbothonly\nwrote with spaces\nsystem/kernel\n{who}\n"));
            assert_eq!(fs::read_to_string(folder.path().join("both/new")).unwrap(), "new\n");
            assert!(!folder.path().join("only/new").exists());
        }
    }

    #[test]
    fn a_program_that_runs_finds_others_where_it_has_gone() {
        let is_root = rustix::process::geteuid().is_root();
        for gives_up in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut directories = directories(folder.path());
            let (mut asking, asked) = std::os::unix::net::UnixStream::pair().unwrap();
            // It goes into a namespace of its own, as virtiofsd does, and keeps a file open.
            let script = "cd /sys; exec 3<only/file; echo ready; while read line; do ls; cat */file; 2>/dev/null echo new >other/new || echo denied; done; cat <&3";
            let mut command = shell("[ $(id -u) = 0 ] || users=-U; exec unshare $users -m --propagation slave sh -c \"$SCRIPT\"");
            command.env("SCRIPT", script).stdin(OwnedFd::from(asked));
            let command = if gives_up && is_root { as_nobody(command) } else { command };
            let (mut started, inside) = match spawn(command, &directories) {
                Err(error) if error.to_string().contains("not allowed here") => {
                    eprintln!("not possible here: {error}");
                    continue;
                }
                started => started.unwrap(),
            };
            let mut says = BufReader::new(started.stdout.take().unwrap());
            assert_eq!(says.by_ref().lines().next().unwrap().unwrap(), "ready");
            directories.retain(|name, _| name == "with spaces");
            directories.insert("other".to_owned(), SharedDirectory::read_only(folder.path().join("only")));
            let messenger = || if gives_up && is_root { as_nobody(Command::new("/")) } else { Command::new("/") };
            inside.change_by(messenger(), &directories).unwrap();
            let gone = SharedDirectory::new(folder.path().join("gone"));
            let error = inside.change_by(messenger(), &[("gone".to_owned(), gone)].into()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            asking.write_all(b"\n").unwrap();
            drop(asking);
            let mut said = String::new();
            says.read_to_string(&mut said).unwrap();
            assert!(started.wait().unwrap().success());
            assert_eq!(said, "other\nwith spaces\nonlybothdenied\nonly");
        }
    }

    #[test]
    fn what_does_not_work_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let gone = [("gone".to_owned(), SharedDirectory::new(folder.path().join("gone")))].into();
        match spawn(shell("echo"), &gone).unwrap_err().to_string() {
            said if said.contains("not allowed here") => eprintln!("not possible here: {said}"),
            said => assert!(said.contains("gone cannot be shared (No such file"), "{said}"),
        }
        match spawn(Command::new("/nowhere"), &BTreeMap::new()) {
            Err(error) => assert!(error.kind() == io::ErrorKind::NotFound || error.to_string().contains("not allowed here"), "{error}"),
            Ok(_) => panic!("it started nothing"),
        }
    }

    #[test]
    fn the_setting_that_forbids_it_is_named() {
        let named = |name: &'static str, value: &'static str| forbidden_by(move |asked| (asked == name).then(|| value.to_owned()));
        assert!(named("kernel/unprivileged_userns_clone", "0\n").contains("kernel.unprivileged_userns_clone=1"));
        assert!(named("user/max_user_namespaces", "0\n").contains("user.max_user_namespaces"));
        assert!(named("kernel/apparmor_restrict_unprivileged_userns", "1\n").contains("kernel.apparmor_restrict_unprivileged_userns=0"));
        assert!(named("kernel/unprivileged_userns_clone", "1\n").contains("container"));
        let (mut plan, here) = Plan::new(&BTreeMap::new(), &BTreeMap::new()).unwrap();
        let error = plan.carry_out(|_| Err((Step::Namespaces, 0, io::Error::from_raw_os_error(libc::EPERM)))).unwrap_err();
        let error = explained(&here, &BTreeMap::new(), error).to_string();
        assert!(error.contains("not allowed here") && error.contains("not permitted"), "{error}");
    }
}
