//! Filters that bite. A test starts this program once more, where one thread of a kind makes one call; what becomes of it is looked at.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// Calls are made by number, as one who has taken over a thread makes them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use confinement::{Confinement, Thread};
use libc::*;

/// Says what the program that is started once more is to do: the number of a kind and a call.
const ORDER: &str = "CONFINEMENT_TEST_ORDER";

/// Or that a thread of every kind is to panic.
const PANIC: &str = "panic";

/// A call: its name, its number and arguments.
type Call = (&'static str, c_long, [c_long; 6]);

const KVM_RUN: c_long = 0xae80;
const KVM_CREATE_VM: c_long = 0xae01;
const KVM_SET_USER_MEMORY_REGION: c_long = 0x4020_ae46;
const ANONYMOUS: c_long = (MAP_PRIVATE | MAP_ANONYMOUS) as c_long;
const EXECUTABLE: c_long = (PROT_READ | PROT_EXEC) as c_long;

/// What no thread has a use for.
const NEVER: &[Call] = &[
    ("execve", SYS_execve, [0; 6]),
    ("execveat", SYS_execveat, [-1, 0, 0, 0, 0, 0]),
    ("fork", SYS_fork, [0; 6]),
    ("ptrace", SYS_ptrace, [0; 6]),
    ("process_vm_writev", SYS_process_vm_writev, [0; 6]),
    ("mmap", SYS_mmap, [0, 4096, EXECUTABLE, ANONYMOUS, -1, 0]),
    ("mprotect", SYS_mprotect, [0, 0, EXECUTABLE, 0, 0, 0]),
    ("unlink", SYS_unlink, [0; 6]),
    ("openat2", SYS_openat2, [0; 6]),
    ("bind", SYS_bind, [-1, 0, 0, 0, 0, 0]),
    ("socket", SYS_socket, [AF_NETLINK as c_long, SOCK_RAW as c_long, 0, 0, 0, 0]),
    ("tgkill", SYS_tgkill, [1, 1, 0, 0, 0, 0]),
    ("kill", SYS_kill, [c_int::MAX as c_long, SIGKILL as c_long, 0, 0, 0, 0]),
    ("pidfd_open", SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
    ("socket", SYS_socket, [AF_INET as c_long, (SOCK_DGRAM | SOCK_CLOEXEC) as c_long, 0, 0, 0, 0]),
    ("socket", SYS_socket, [AF_INET as c_long, SOCK_STREAM as c_long, 0, 0, 0, 0]),
    ("socket", SYS_socket, [AF_UNIX as c_long, SOCK_STREAM as c_long, 0, 0, 0, 0]),
    ("connect", SYS_connect, [-1, 0, 0, 0, 0, 0]),
    ("sendto", SYS_sendto, [-1, 0, 0, 0, 1, 16]),
    ("setuid", SYS_setuid, [0; 6]),
    ("mount", SYS_mount, [0; 6]),
    ("bpf", SYS_bpf, [0; 6]),
    ("ioctl", SYS_ioctl, [0, TIOCSTI as c_long, 0, 0, 0, 0]),
    ("fcntl", SYS_fcntl, [0, F_SETOWN as c_long, 0, 0, 0, 0]),
    ("prctl", SYS_prctl, [PR_SET_DUMPABLE as c_long, 0, 0, 0, 0, 0]),
];

/// What those have no use for that do not put the machine together.
const NOT_WITHOUT_CONTROL: &[Call] = &[
    ("io_uring_setup", SYS_io_uring_setup, [0; 6]),
    ("io_uring_register", SYS_io_uring_register, [-1, 0, 0, 0, 0, 0]),
    ("memfd_create", SYS_memfd_create, [0; 6]),
    ("ioctl", SYS_ioctl, [-1, KVM_CREATE_VM, 0, 0, 0, 0]),
    ("ioctl", SYS_ioctl, [-1, KVM_SET_USER_MEMORY_REGION, 0, 0, 0, 0]),
];

const RUN: Call = ("ioctl", SYS_ioctl, [-1, KVM_RUN, 0, 0, 0, 0]);
const CLONE: Call = ("clone", SYS_clone, [(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD) as c_long, 0, 0, 0, 0, 0]);
const PROCESS: Call = ("clone", SYS_clone, [SIGCHLD as c_long, 0, 0, 0, 0, 0]);
const RECEIVE: Call = ("recvmsg", SYS_recvmsg, [-1, 0, 0, 0, 0, 0]);
const KILL: Call = ("pidfd_send_signal", SYS_pidfd_send_signal, [-1, SIGKILL as c_long, 0, 0, 0, 0]);
const ACCEPT: Call = ("accept4", SYS_accept4, [-1, 0, 0, 0, 0, 0]);
const ENTER: Call = ("io_uring_enter", SYS_io_uring_enter, [-1, 0, 0, 0, 0, 0]);

/// What this kind of thread in particular has no use for.
fn forbidden(kind: Thread) -> Vec<Call> {
    let own: &[Call] = match kind {
        Thread::Control => &[PROCESS],
        Thread::Vcpu => &[],
        Thread::Events | Thread::Network => &[RUN, CLONE, ENTER],
        Thread::Disk => &[RUN, PROCESS, RECEIVE],
        Thread::Nbd => &[RUN, PROCESS, ENTER],
        Thread::Debugger => &[RUN, CLONE, ENTER],
        Thread::Loader | Thread::DiskTransfers | Thread::Console | Thread::Relay | Thread::Reaper => &[RUN, CLONE, RECEIVE, ENTER],
    };
    let more = if kind == Thread::Control { &[][..] } else { NOT_WITHOUT_CONTROL };
    let kill = if kind == Thread::Control { &[][..] } else { &[KILL] };
    let accept = if kind == Thread::Debugger { &[][..] } else { &[ACCEPT] };
    NEVER.iter().chain(more).chain(kill).chain(accept).chain(own).copied().collect()
}

fn confinement() -> Confinement {
    let confinement = Confinement::new().unwrap();
    assert!(confinement.status().system_calls, "the tests need a kernel with seccomp");
    confinement
}

/// Runs something on a thread of a kind.
fn on<T: Send + 'static>(kind: Thread, what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = confinement().spawn(kind, "suspect".to_owned(), move || sender.send(what()).unwrap()).unwrap();
    let result = receiver.recv().unwrap();
    thread.join().unwrap();
    result
}

fn make((_, number, [a, b, c, d, e, f]): Call) -> io::Result<c_long> {
    // SAFETY: the calls of this program are to be refused, or are given nothing that there is.
    match unsafe { syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Not a test of its own: does what the program was started once more for.
#[test]
fn once_more() {
    let Ok(order) = std::env::var(ORDER) else { return };
    if order == PANIC {
        for kind in Thread::ALL {
            confinement().spawn(kind, "suspect".to_owned(), || panic!("a mistake")).unwrap().join().unwrap_err();
        }
        return;
    }
    let (kind, call) = order.split_once(' ').unwrap();
    let kind = Thread::ALL[kind.parse::<usize>().unwrap()];
    let call = forbidden(kind)[call.parse::<usize>().unwrap()];
    let result = on(kind, move || make(call));
    panic!("it was carried out: {result:?}");
}

fn start(order: &str) -> Output {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "once_more", "--nocapture"]).env(ORDER, order).env("RUST_BACKTRACE", "full").output().unwrap()
}

#[test]
fn a_panic_is_no_more_than_that() {
    let ended = start(PANIC);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert_eq!(said.matches("a mistake").count(), Thread::ALL.len(), "{said}");
}

#[test]
fn a_forbidden_call_ends_the_process_and_is_named() {
    for (index, kind) in Thread::ALL.into_iter().enumerate() {
        for (number, (name, ..)) in forbidden(kind).into_iter().enumerate() {
            let ended = start(&format!("{index} {number}"));
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.signal(), Some(SIGSYS), "{kind:?} {name}: {said}");
            assert!(said.contains("the thread suspect made the system call") && said.contains(&format!("({name}; ")), "{kind:?}: {said}");
        }
    }
}

#[test]
fn what_libraries_do_in_passing_is_refused() {
    for kind in Thread::ALL {
        let error = on(kind, || File::open("/etc/hostname").map(drop)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EACCES), "{kind:?}");
        let error = on(kind, || std::fs::metadata("/etc").map(drop)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EACCES), "{kind:?}");
        let (file, length) = (tempfile(), 3);
        file.set_len(length).unwrap();
        assert_eq!(on(kind, move || file.metadata().unwrap().len()), length, "{kind:?}");
    }
}

fn tempfile() -> File {
    // SAFETY: the name is a string, and the descriptor is a new one.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(memfd_create(c"test".as_ptr(), MFD_CLOEXEC)) }
}

#[test]
fn only_some_start_threads() {
    for kind in [Thread::Control, Thread::Disk] {
        // What a thread starts is confined too, and what it starts in turn.
        let outer = confinement();
        let (begun, inner) = (outer.clone(), outer);
        let (sender, receiver) = std::sync::mpsc::channel();
        let started = begun.spawn(kind, "outer".to_owned(), move || {
            let read = move || sender.send(File::open("/etc/hostname").map(drop)).unwrap();
            inner.spawn(Thread::DiskTransfers, "inner".to_owned(), read).unwrap().join().unwrap();
        });
        started.unwrap().join().unwrap();
        assert_eq!(receiver.recv().unwrap().unwrap_err().raw_os_error(), Some(EACCES));
    }
    // A vCPU that asks is told that there are none left.
    let error = on(Thread::Vcpu, || std::thread::Builder::new().spawn(|| ()).map(drop)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn what_is_off_is_off() {
    assert_eq!(Confinement::off().status(), confinement::Status::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    let read = move || sender.send(std::fs::metadata("/etc").map(drop)).unwrap();
    Confinement::off().spawn_without_files(Thread::Vcpu, "free".to_owned(), read).unwrap().join().unwrap();
    receiver.recv().unwrap().unwrap();
}
