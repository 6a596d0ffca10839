//! What a guest sees, and the host's resources behind it.
//!
//! - [`EventLoop`]: the thread on which devices wait for descriptors.
//! - [`serial`]: the 16550.
//!
//! Devices know `hv`'s interrupts, doorbells and memory; no configuration object and no machine is known here.

mod event_loop;
pub mod serial;

pub use event_loop::{EventLoop, Handler, Interest, Registration, Watches};
