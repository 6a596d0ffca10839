//! What a machine is, whatever runs it.
//!
//! [`VirtualMachine`] is the contract between a supervisor and a backend. A backend implements it; the supervisor serves it. The pieces:
//!
//! - [`State`] and [`lifecycle`]: the states and every allowed transition, as data.
//! - [`Event`]: what happens to a machine, as a stream.
//! - [`Offer`]: what a machine that does not exist yet can be made of.
//! - [`Drive`], [`Console`], [`Display`]: what can be looked at and changed while it runs.
//! - [`display`]: what a viewer has of a machine: pixels, damage, cursor, input.
//! - [`exchange`]: what a frontend has of a machine beside that: clipboard, files, USB devices, a folder.
//! - `fake` and `conformance` (feature `testing`): a machine without a hypervisor, and the suite that every backend passes.
//!
//! No backend, no file format and no wire format is known here.

mod contract;
mod device;
pub mod display;
mod error;
mod event;
pub mod exchange;
pub mod lifecycle;
mod offer;
mod state;
mod warning;

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod fake;

pub use contract::{
    Accelerator, Backend, BackendKind, Capabilities, CommandLine, HandedFile, Identity, Sandbox, StartOptions, StopMethod, VirtualMachine,
};
pub use device::{Console, ConsoleStream, Display, Drive, DriveKind, Medium, PseudoTerminal, Screenshot};
pub use error::{Error, ErrorKind, Result, chain, usual_hint};
pub use event::{EndReason, Ending, Event, EventSender, EventStream, IoDirection};
pub use offer::{BootNeed, Catalog, Named, Offer, UefiOffer};
pub use state::State;
pub use warning::{Warning, WarningKind};
