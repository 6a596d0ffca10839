//! Disks of network block device servers (the NBD project's doc/proto.md, "newstyle" and simple replies).
//!
//! [`protocol`] is what is said on a connection, which has several requests under way at once; [`NbdClient`] keeps one up.

mod client;
mod link;
pub mod protocol;
mod storage;
mod stream;

pub use client::{NbdAddress, NbdClient, NbdEvent};
pub(crate) use storage::NbdStorage;
pub use stream::Elsewhere;
