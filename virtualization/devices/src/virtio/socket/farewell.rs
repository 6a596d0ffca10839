//! What a guest that is gone has sent, and the host's programs have not read yet.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::Connection;

/// Waits until programs have room for what these connections owe them, no longer than this, and ends them. Each owes no more than a
/// connection's room, and there are no more than a device has connections.
pub fn drain(mut owing: Vec<Connection>, patience: Duration) {
    let until = Instant::now() + patience;
    loop {
        // One whose program is gone owes nothing.
        owing.retain_mut(|connection| connection.flush().is_ok() && connection.owes_host());
        let left = until.saturating_duration_since(Instant::now());
        if owing.is_empty() || left.is_zero() {
            break;
        }
        let mut descriptors: Vec<PollFd<'_>> =
            owing.iter().map(|connection| PollFd::from_borrowed_fd(connection.descriptor(), PollFlags::OUT)).collect();
        let Ok(left) = Timespec::try_from(left) else { break };
        // A signal is as good as time that has passed; nothing else can be wrong.
        let _ = poll(&mut descriptors, Some(&left));
    }
    if !owing.is_empty() {
        tracing::warn!(connections = owing.len(), "programs on the host did not read in time all that the guest has sent before its end");
    }
}
