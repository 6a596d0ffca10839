//! Takes a vCPU out of the guest from another thread.
//!
//! The flag `immediate_exit` in the page that a vCPU shares with the kernel makes its next `KVM_RUN` return at once; a signal makes the
//! present one return. The flag is set first, so no kick is lost, wherever the vCPU is just then.
//!
//! Why unsafe: the flag is written by other threads than the vCPU's, which `kvm-ioctls` has no way to say, and threads are signalled by
//! their number.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal;

use super::refused;
use crate::{Kicker, Result};

extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// The signal that interrupts `KVM_RUN`. Its handler, which the first machine installs for the process, does nothing.
fn number() -> libc::c_int {
    signal::SIGRTMIN()
}

/// Installs the handler, once.
pub fn prepare() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), vmm_sys_util::errno::Error>> = OnceLock::new();
    INSTALLED.get_or_init(|| signal::register_signal_handler(number(), nothing)).map_err(refused("install a signal handler"))
}

/// Lets the calling thread be interrupted: it begins with the signals blocked that its maker had blocked, and programs that wait for signals
/// by a descriptor block all of them.
fn listen() {
    // The number is one of a signal, and nothing else can be wrong.
    let _ = signal::unblock_signal(number());
}

/// The vCPU's side: while it exists the vCPU can be kicked.
#[derive(Debug, Default)]
pub struct Flag {
    place: Arc<Mutex<Option<Place>>>,
}

#[derive(Debug)]
struct Place {
    flag: NonNull<AtomicU8>,
    thread: libc::pthread_t,
}

// SAFETY: `flag` points into a mapping that any thread may access, and `thread` is a number.
unsafe impl Send for Place {}

impl Flag {
    /// A kicker of this vCPU, which the calling thread will run.
    pub fn kicker(&self, vcpu: &mut VcpuFd) -> Kicker {
        listen();
        let flag = NonNull::from(&mut vcpu.get_kvm_run().immediate_exit).cast::<AtomicU8>();
        // SAFETY: it asks for the calling thread's own number.
        let thread = unsafe { libc::pthread_self() };
        *self.lock() = Some(Place { flag, thread });
        let place = Arc::clone(&self.place);
        Kicker::new(move || {
            if let Some(place) = &*place.lock().unwrap_or_else(PoisonError::into_inner) {
                // SAFETY: the place is there, so the vCPU and with it the mapping are; the kernel, too, takes the flag for one byte.
                unsafe { place.flag.as_ref() }.store(1, Ordering::SeqCst);
                // SAFETY: the thread removes the place before it ends, with the lock that is held here.
                unsafe { libc::pthread_kill(place.thread, number()) };
            }
        })
    }

    /// Lowers the flag; true where it was up.
    pub fn take(&self) -> bool {
        // SAFETY: as above.
        self.lock().as_ref().is_some_and(|place| unsafe { place.flag.as_ref() }.swap(0, Ordering::SeqCst) != 0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        *self.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    static ARRIVED: AtomicBool = AtomicBool::new(false);

    extern "C" fn arrived(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
        ARRIVED.store(true, Ordering::SeqCst);
    }

    #[test]
    fn a_thread_of_a_program_that_blocks_every_signal_is_interrupted() {
        signal::register_signal_handler(number(), arrived).unwrap();
        let interrupted = std::thread::spawn(|| {
            signal::block_signal(number()).unwrap();
            let kick = || {
                // SAFETY: it is the calling thread's own number, and the signal has a handler.
                unsafe { libc::pthread_kill(libc::pthread_self(), number()) };
            };
            let inherited = std::thread::spawn(move || {
                kick();
                assert!(!ARRIVED.load(Ordering::SeqCst), "it is blocked");
                listen();
                kick();
                ARRIVED.load(Ordering::SeqCst)
            });
            inherited.join().unwrap()
        });
        assert!(interrupted.join().unwrap());
    }
}
