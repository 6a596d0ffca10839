//! Several directories in one folder, for one program: a namespace of mounts in which it alone finds them there. No root is needed where the
//! host lets programs have user namespaces.
//!
//! Why unsafe: between a program's fork and its start only what may be done in a signal handler may be done: system calls on what was
//! prepared before, nothing that allocates or takes a lock.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int, c_long, c_ulong};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::ptr::null;

use rustix::pipe::PipeFlags;

use crate::configuration::SharedDirectory;

/// Where the program finds the folder: over something that is everywhere and that it does not need.
pub const FOLDER: &str = "/sys";
const FOLDER_C: &CStr = c"/sys";

/// What a program is to see, and how is said what does not work.
struct Plan {
    directories: Vec<Directory>,
    trouble: OwnedFd,
}

/// One directory.
struct Directory {
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
}

/// What did not work: what was done, with which of the directories, and why.
type Failure = (Step, u16, io::Error);

/// Starts a program that finds these directories under their names in [`FOLDER`], and nothing else in there. Those that are only to be read
/// cannot be written, whatever it does; neither can the folder itself.
///
/// # Errors
/// What the host does not let be done, with the setting that forbids it.
pub fn spawn(mut command: Command, directories: &BTreeMap<String, SharedDirectory>) -> io::Result<Child> {
    let prepared = directories.iter().map(|(name, directory)| {
        let path = std::path::absolute(&directory.path)?;
        let place = [FOLDER.as_bytes(), b"/", name.as_bytes()].concat();
        let (path, place) = (CString::new(path.as_os_str().as_bytes())?, CString::new(place)?);
        Ok(Directory { path, place, read_only: directory.read_only, tree: None })
    });
    let prepared = prepared.collect::<io::Result<_>>()?;
    let (said, trouble) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut plan = Plan { directories: prepared, trouble };
    // SAFETY: it makes system calls and nothing else.
    unsafe { command.pre_exec(move || plan.carry_out()) };
    command.spawn().map_err(|error| {
        let mut what = [0; 3];
        match rustix::io::read(&said, &mut what) {
            Ok(3) => {
                let [step, index @ ..] = what;
                let directory = directories.values().nth(usize::from(u16::from_ne_bytes(index)));
                explained(step, directory.map(|directory| directory.path.as_path()), &error)
            }
            // Without a word it is the program that could not be started.
            _ => error,
        }
    })
}

impl Plan {
    /// Does all of it, between fork and exec.
    fn carry_out(&mut self) -> io::Result<()> {
        self.attempt().map_err(|(step, index, error)| {
            let [low, high] = index.to_ne_bytes();
            // The one who reads it waits for this process, and the pipe has room.
            let _ = rustix::io::write(&self.trouble, &[step as u8, low, high]);
            error
        })
    }

    fn attempt(&mut self) -> Result<(), Failure> {
        let at = |step| move |error| (step, 0, error);
        enter_namespaces().map_err(at(Step::Namespaces))?;
        // What is mounted outside later does not get here, where nobody would see to it that it is only read.
        mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE, None).map_err(at(Step::Namespaces))?;
        // All before the folder hides what it is over.
        for (directory, index) in self.directories.iter_mut().zip(0..) {
            directory.tree = Some(open_tree(&directory.path).map_err(|error| (Step::Open, index, error))?);
        }
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount(Some(c"tmpfs"), FOLDER_C, flags, Some(c"mode=0755")).map_err(at(Step::Folder))?;
        for (directory, index) in self.directories.iter().zip(0..) {
            directory.attach().map_err(|error| (Step::Attach, index, error))?;
        }
        restrict(libc::AT_FDCWD, FOLDER_C, 0, true).map_err(at(Step::Folder))
    }
}

impl Directory {
    /// Puts it into the folder.
    fn attach(&self) -> io::Result<()> {
        let tree = self.tree.as_ref().ok_or(io::ErrorKind::NotFound)?.as_raw_fd();
        restrict(tree, c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, self.read_only)?;
        // SAFETY: the strings outlive the calls.
        unsafe {
            done(libc::mkdir(self.place.as_ptr(), 0o755).into())?;
            let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
            done(libc::syscall(libc::SYS_move_mount, tree, c"".as_ptr(), libc::AT_FDCWD, self.place.as_ptr(), flags)).map(drop)
        }
    }
}

/// A namespace of mounts, and where that takes one a namespace of users in which this one is who they are.
fn enter_namespaces() -> io::Result<()> {
    // SAFETY: these calls take numbers.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: so does this one.
    let unshare = |flags| done(unsafe { libc::unshare(flags) }.into());
    match unshare(libc::CLONE_NEWNS) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        result => return result.map(drop),
    }
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    set(c"/proc/self/setgroups", format_args!("deny"))?;
    set(c"/proc/self/uid_map", format_args!("{user} {user} 1"))?;
    set(c"/proc/self/gid_map", format_args!("{group} {group} 1"))
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

/// Lets nobody gain rights by what is mounted there, or open devices, and nobody write where it is only to be read.
fn restrict(place: RawFd, path: &CStr, flags: c_int, read_only: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: 0,
        propagation: 0,
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
fn explained(step: u8, directory: Option<&Path>, error: &io::Error) -> io::Error {
    let is_refused = !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::ENOENT | libc::ENOMEM));
    let what = match directory {
        _ if is_refused && (step == Step::Namespaces as u8 || step == Step::Folder as u8) => {
            let setting = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
            format!("several directories are put together in a user namespace, which is not allowed here: {}", forbidden_by(setting))
        }
        _ if error.raw_os_error() == Some(libc::ENOSYS) => "several directories need Linux 5.12 or newer".to_owned(),
        Some(directory) if step == Step::Open as u8 => format!("the directory {} cannot be shared", directory.display()),
        Some(directory) if step == Step::Attach as u8 => format!("the directory {} cannot be put beside others", directory.display()),
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
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).env("LC_ALL", "C");
        command
    }

    fn directories(folder: &Path) -> BTreeMap<String, SharedDirectory> {
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
                started => started.unwrap(),
            };
            let said = String::from_utf8(started.wait_with_output().unwrap().stdout).unwrap();
            let who = if gives_up && is_root { 65534 } else { rustix::process::geteuid().as_raw() };
            assert_eq!(said, format!("only\nsystem\nwith spaces\nbothonly\nwrote with spaces\nsystem/kernel\n{who}\n"));
            assert_eq!(fs::read_to_string(folder.path().join("both/new")).unwrap(), "new\n");
            assert!(!folder.path().join("only/new").exists());
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
        let error = explained(Step::Namespaces as u8, None, &io::Error::from_raw_os_error(libc::EPERM)).to_string();
        assert!(error.contains("not allowed here") && error.contains("not permitted"), "{error}");
    }
}
