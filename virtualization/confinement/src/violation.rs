//! What becomes of a thread that makes a call that its filter does not allow.
//!
//! Why unsafe: a signal handler.
#![allow(unsafe_code)]

use std::fmt::{self, Write};
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use crate::names;

/// Makes the process say what was called before the signal ends it; one that has a handler of its own keeps it.
pub fn prepare() -> io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = DONE.get_or_init(|| install().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)));
    done.map_err(io::Error::from_raw_os_error)
}

fn install() -> io::Result<()> {
    let mut known = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes the structure, for which all zeros are a value.
    let known = unsafe {
        if libc::sigaction(libc::SIGSYS, std::ptr::null(), known.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        known.assume_init()
    };
    if known.sa_sigaction != libc::SIG_DFL {
        return Ok(());
    }
    let mut action = known;
    action.sa_sigaction = handle as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as libc::sighandler_t;
    // With the second the signal that the handler sends is one that ends the process.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER;
    // SAFETY: the handler calls only what may be called in one.
    if unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The part of `siginfo_t` that `SIGSYS` has (sigaction(2)).
#[repr(C)]
struct Information {
    signal: [libc::c_int; 4],
    address: *const libc::c_void,
    call: libc::c_int,
    architecture: libc::c_uint,
}

extern "C" fn handle(_signal: libc::c_int, information: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let mut name = [0_u8; 16];
    // SAFETY: the kernel hands over structures of this signal's; it writes a name of at most 16 bytes.
    let (call, registers) = unsafe {
        libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr());
        ((*information.cast::<Information>()).call, (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)
    };
    // A call's first two arguments, which most tables go by.
    let [first, second] = [libc::REG_RDI, libc::REG_RSI].map(|register| registers[register as usize]);
    let thread = name.split(|byte| *byte == 0).next().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("?");
    let mut line = Line { bytes: [0; 256], length: 0 };
    // What does not fit is left out.
    let _ = writeln!(
        line,
        "virtualization: the thread {thread} made the system call {call} ({}; {first:#x}, {second:#x}), which it has no use for; the process ends, as somebody else may be in control of it",
        names::of(call.into()).unwrap_or("unknown")
    );
    // SAFETY: the bytes are there. The process ends by the signal, or else at once.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.length);
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), libc::SIGSYS);
        libc::_exit(128 + libc::SIGSYS);
    }
}

/// Text without the allocator, which may be in use.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}
