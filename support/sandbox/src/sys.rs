//! System calls that neither the standard library nor rustix offers in a safe way.
//!
//! Why unsafe: descriptors are named by number here (what the launched program will see), which has no owner in this process; and the
//! Landlock crate keeps the version of the kernel's interface to itself.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// `LANDLOCK_CREATE_RULESET_VERSION`, linux/landlock.h.
const CREATE_RULESET_VERSION: libc::c_uint = 1;
/// `CLOSE_RANGE_CLOEXEC`, linux/close_range.h.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// The version of Landlock's interface, where there is one.
pub fn landlock_abi() -> Option<u32> {
    // SAFETY: with a null pointer, size 0 and the version flag the call reads and writes no memory; it returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, CREATE_RULESET_VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Whether the kernel can filter system calls.
pub fn has_seccomp() -> bool {
    // SAFETY: a null filter is never read: the kernel answers EFAULT where it knows the operation and EINVAL where it does not.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::null::<libc::c_void>()) };
    answer != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Makes `number` a copy of `from` that survives `exec`. What `number` was before is closed; the caller must not own it.
pub fn place(from: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: only numbers are passed. The launcher calls this after every descriptor that it owns was moved above all target numbers,
    // so that no owner in this process loses its descriptor.
    let answer = unsafe { libc::dup3(from.as_raw_fd(), number, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks every descriptor from `first` up to be closed by `exec`.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: only numbers are passed, and marking a descriptor takes it from nobody.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if answer == 0 {
        return Ok(());
    }
    // Before Linux 5.11.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if libc::c_uint::try_from(number).is_ok_and(|number| number >= first) {
            // SAFETY: only numbers are passed; a number that is no longer open fails with EBADF and nothing happens.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}
