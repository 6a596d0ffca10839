//! A client of `org.qemu.Display1`, QEMU's D-Bus display, over a peer-to-peer connection.
//!
//! [`Display::connect`] takes a connected socket whose other end QEMU has (`getfd`, then `add_client` with `@dbus-display`). A display has
//! consoles, each with pixels and input ([`machine::display`], which [`Display`] implements: nothing is translated on the way of a frame),
//! and may have sound ([`Display::play`], [`Display::record`]), the guest's clipboard ([`Clipboard`]) and character devices ([`Chardev`]).
//!
//! QEMU has one client at a time; a [`Relay`] lets several viewers share it.
//!
//! The interface is described in QEMU's manual, "D-Bus display". Nothing that comes over it is trusted: sizes, strides and offsets are
//! checked ([`painter`]), a flood of updates becomes one region, the queues of a connection are short, and whoever sends faster than is read
//! waits. A single message is at most 128 MiB, the limit of D-Bus.

mod audio;
mod chardev;
mod clipboard;
mod connection;
mod console;
mod error;
pub mod painter;
mod relay;
mod service;

pub use chardev::Chardev;
pub use clipboard::{Clipboard, ClipboardEvent, Selection};
pub use connection::Display;
pub use console::{Console, ConsoleKind};
pub use error::{Error, Result};
pub use relay::Relay;
