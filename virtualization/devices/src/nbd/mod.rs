//! Disks of network block device servers (the NBD project's doc/proto.md, "newstyle" and simple replies).
//!
//! [`protocol`] is what is said on a connection, [`NbdClient`] keeps one up.

mod client;
pub mod protocol;
mod storage;

pub use client::{NbdAddress, NbdClient, NbdEvent};
pub(crate) use storage::NbdStorage;
