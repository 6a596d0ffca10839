//! The tables: which calls each kind of thread may make. Everything that is not here ends the process.
//!
//! Arguments are checked where they decide what a call can do, and the kernel passes them by value: a filter does not see what is behind a
//! pointer.

use libc::*;

use crate::Thread;

/// A call that is let through, and when.
pub struct Call {
    pub number: c_long,
    pub when: When,
}

/// What an argument, counted from 0, has to be.
pub enum When {
    Always,
    /// One of these.
    Is(u8, &'static [u32]),
    /// None of these bits is set in it.
    Without(u8, u32),
    /// All of these bits are set in it.
    With(u8, u32),
    /// In the bits of the first number it is one of these.
    Masked(u8, u32, &'static [u32]),
    /// The number of this process.
    OwnProcess(u8),
    /// No pointer.
    Null(u8),
}

const fn call(number: c_long) -> Call {
    Call { number, when: When::Always }
}

const fn when(number: c_long, when: When) -> Call {
    Call { number, when }
}

/// Calls that are refused with an error, in every kind of thread: the C library and others make them in passing and can do without.
/// `clone3` has its flags behind a pointer; without it the C library uses `clone`.
pub const REFUSED: &[(c_int, &[Call])] = &[
    (ENOSYS, &[call(SYS_clone3)]),
    (
        EACCES,
        &[
            call(SYS_open),
            call(SYS_openat),
            call(SYS_access),
            call(SYS_faccessat),
            call(SYS_faccessat2),
            call(SYS_getcwd),
            call(SYS_stat),
            call(SYS_lstat),
            call(SYS_readlink),
            call(SYS_readlinkat),
            // By path; by descriptor is let through.
            when(SYS_newfstatat, When::Without(3, AT_EMPTY_PATH as u32)),
            when(SYS_statx, When::Without(2, AT_EMPTY_PATH as u32)),
        ],
    ),
];

/// Those of them that a kind does not get either, although another does: a disk's queue that is reset by a vCPU may want a further thread.
pub const REFUSED_TO_VCPU: &[(c_int, &[Call])] = &[(EAGAIN, &[call(SYS_clone)])];

/// Memory that is not executed.
const MEMORY: &[Call] = &[
    call(SYS_brk),
    call(SYS_madvise),
    call(SYS_membarrier),
    when(SYS_mmap, When::Without(2, PROT_EXEC as u32)),
    when(SYS_mprotect, When::Without(2, PROT_EXEC as u32)),
    call(SYS_mremap),
    call(SYS_munmap),
];

/// Being a thread, with others of the same process.
const THREAD: &[Call] = &[
    call(SYS_clock_getres),
    call(SYS_clock_gettime),
    call(SYS_clock_nanosleep),
    call(SYS_exit),
    call(SYS_exit_group),
    call(SYS_futex),
    call(SYS_getpid),
    call(SYS_getrandom),
    call(SYS_gettid),
    call(SYS_gettimeofday),
    call(SYS_nanosleep),
    when(SYS_prctl, When::Is(0, &[PR_GET_NAME as u32, PR_SET_NAME as u32])),
    call(SYS_restart_syscall),
    call(SYS_rseq),
    call(SYS_rt_sigaction),
    call(SYS_rt_sigprocmask),
    call(SYS_rt_sigreturn),
    call(SYS_sched_getaffinity),
    call(SYS_sched_yield),
    call(SYS_set_robust_list),
    call(SYS_sigaltstack),
    when(SYS_tgkill, When::OwnProcess(0)),
];

/// Who and where the process is, which libraries ask.
const PROCESS: &[Call] = &[
    call(SYS_getegid),
    call(SYS_geteuid),
    call(SYS_getgid),
    call(SYS_getuid),
    call(SYS_sysinfo),
    call(SYS_uname),
    when(SYS_ioctl, When::Is(1, &[TCGETS as u32, TIOCGWINSZ as u32])),
];

/// What is open: files, pipes, sockets, events.
const DESCRIPTORS: &[Call] = &[
    call(SYS_close),
    call(SYS_dup),
    call(SYS_epoll_ctl),
    call(SYS_epoll_pwait),
    call(SYS_epoll_wait),
    call(SYS_eventfd2),
    call(SYS_fallocate),
    when(SYS_fcntl, When::Is(1, &[F_DUPFD_CLOEXEC as u32, F_GETFD as u32, F_SETFD as u32, F_GETFL as u32, F_SETFL as u32])),
    call(SYS_fdatasync),
    call(SYS_fstat),
    call(SYS_fstatfs),
    call(SYS_fsync),
    call(SYS_ftruncate),
    call(SYS_lseek),
    when(SYS_newfstatat, When::With(3, AT_EMPTY_PATH as u32)),
    call(SYS_poll),
    call(SYS_ppoll),
    call(SYS_pread64),
    call(SYS_preadv),
    call(SYS_preadv2),
    call(SYS_pwrite64),
    call(SYS_pwritev),
    call(SYS_pwritev2),
    call(SYS_read),
    call(SYS_readv),
    // To where the socket is connected: datagrams could have any address.
    when(SYS_sendto, When::Null(4)),
    when(SYS_statx, When::With(2, AT_EMPTY_PATH as u32)),
    call(SYS_write),
    call(SYS_writev),
];

/// Sockets that are there, and pairs of new ones, which lead nowhere else.
const SOCKETS: &[Call] = &[
    call(SYS_getpeername),
    call(SYS_getsockname),
    call(SYS_getsockopt),
    when(SYS_ioctl, When::Is(1, &[FIONBIO as u32, FIONREAD as u32])),
    call(SYS_recvfrom),
    call(SYS_recvmsg),
    call(SYS_sendmsg),
    call(SYS_setsockopt),
    call(SYS_shutdown),
    when(SYS_socketpair, When::Is(0, &[AF_UNIX as u32])),
];

/// A tap interface's offloads and queues (linux/if_tun.h): `TUNSETOFFLOAD`, `TUNSETVNETHDRSZ`, `TUNGETIFF`, `TUNSETQUEUE`.
const TAP: &[Call] = &[when(SYS_ioctl, When::Is(1, &[0x4004_54d0, 0x4004_54d8, 0x8004_54d2, 0x4004_54d9]))];

/// A ring that there is. What can be put into one is restricted when it is made.
const RING: &[Call] = &[call(SYS_io_uring_enter)];

/// Starting a thread, which may give up more than the one that starts it.
const STARTS_THREADS: &[Call] = &[
    when(SYS_clone, When::With(0, CLONE_THREAD as u32)),
    when(SYS_prctl, When::Is(0, &[PR_SET_NO_NEW_PRIVS as u32])),
    when(SYS_seccomp, When::Is(0, &[SECCOMP_SET_MODE_FILTER])),
];

/// Requests of KVM's (linux/kvm.h), where all but the number is the same.
const KVM: u32 = 0xae00;
/// The bits that say whose request it is.
const WHOSE: u32 = 0xff00;
/// The bits that say whose it is, and which.
const WHICH: u32 = 0xffff;

/// A vCPU: `KVM_RUN`, and what is behind registers of devices: `KVM_SET_GSI_ROUTING`, `KVM_IRQFD`, `KVM_IOEVENTFD`.
const VCPU: &[Call] = &[
    when(SYS_ioctl, When::Masked(1, WHICH, &[KVM | 0x80, KVM | 0x6a, KVM | 0x76, KVM | 0x79])),
    // Refused with an error: see REFUSED_TO_VCPU.
    call(SYS_clone),
];

/// Putting a machine together.
const BUILD: &[Call] = &[
    when(SYS_ioctl, When::Masked(1, WHOSE, &[KVM])),
    // Of block devices (linux/fs.h): sizes.
    when(SYS_ioctl, When::Masked(1, WHOSE, &[0x1200])),
    call(SYS_epoll_create1),
    when(SYS_fcntl, When::Is(1, &[F_OFD_GETLK as u32, F_OFD_SETLK as u32, F_GETPIPE_SZ as u32, F_SETPIPE_SZ as u32, F_ADD_SEALS as u32])),
    call(SYS_io_uring_register),
    call(SYS_io_uring_setup),
    call(SYS_memfd_create),
    call(SYS_pipe2),
];

/// Ending a program that was started for the machine: by a descriptor, of which a thread has none but for those.
const KILLS: &[Call] = &[when(SYS_pidfd_send_signal, When::Is(1, &[SIGKILL as u32]))];

/// Waiting for such a program.
const WAITS: &[Call] = &[call(SYS_wait4), call(SYS_waitid)];

/// Looking at a vCPU that stands still: `KVM_GET_REGS`, `KVM_SET_REGS`, `KVM_GET_SREGS`, `KVM_TRANSLATE`, `KVM_GET_FPU`, `KVM_SET_FPU`,
/// `KVM_SET_GUEST_DEBUG`.
const DEBUGS: &[Call] =
    &[when(SYS_ioctl, When::Masked(1, WHICH, &[KVM | 0x81, KVM | 0x82, KVM | 0x83, KVM | 0x85, KVM | 0x8c, KVM | 0x8d, KVM | 0x9b]))];

/// Having a socket that listens.
const ACCEPTS: &[Call] = &[call(SYS_accept4)];

/// What every thread may do.
const EVERY: &[&[Call]] = &[MEMORY, THREAD, PROCESS, DESCRIPTORS];

/// What a thread of this kind may do.
pub fn of(kind: Thread) -> impl Iterator<Item = &'static Call> {
    let more: &[&[Call]] = match kind {
        // Threads keep what they were started with, so it has what all others have.
        Thread::Control => &[BUILD, KILLS, WAITS, STARTS_THREADS, SOCKETS, TAP, RING],
        Thread::Vcpu => &[VCPU, SOCKETS, TAP, RING],
        Thread::Events | Thread::Network => &[SOCKETS, TAP],
        Thread::Disk => &[RING, STARTS_THREADS],
        Thread::Nbd => &[SOCKETS, STARTS_THREADS],
        Thread::Reaper => &[WAITS],
        Thread::Debugger => &[SOCKETS, ACCEPTS, DEBUGS],
        Thread::Loader | Thread::DiskTransfers | Thread::Console | Thread::Relay => &[],
    };
    EVERY.iter().chain(more).copied().flatten()
}

/// What is refused with an error to a thread of this kind.
pub fn refused(kind: Thread) -> impl Iterator<Item = &'static (c_int, &'static [Call])> {
    let more = if kind == Thread::Vcpu { REFUSED_TO_VCPU } else { &[] };
    REFUSED.iter().chain(more)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_thread_that_starts_others_may_do_what_they_may() {
        let numbers = |kind| of(kind).map(|call| call.number).collect::<BTreeSet<_>>();
        // A debugger's thread comes from the program.
        for kind in Thread::ALL.into_iter().filter(|kind| *kind != Thread::Debugger) {
            assert!(numbers(kind).is_subset(&numbers(Thread::Control)), "{kind:?}");
        }
        assert!(numbers(Thread::DiskTransfers).is_subset(&numbers(Thread::Disk)));
    }
}
