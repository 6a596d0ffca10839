//! Descriptors on their way into the launched program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::{Sockets, sys};

/// Gives every descriptor its number and closes all others at `exec`. Moves `control` out of the way.
pub fn arrange(received: Vec<OwnedFd>, numbers: &[i32], control: &mut UnixStream) -> io::Result<()> {
    let first_free = numbers.iter().copied().max().unwrap_or(0).max(2).checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
    // Everything that this process owns has to be above the numbers, and the old copies closed, before a number is taken.
    *control = fcntl_dupfd_cloexec(&*control, first_free)?.into();
    let mut moved = Vec::with_capacity(received.len());
    for descriptor in received {
        moved.push(fcntl_dupfd_cloexec(&descriptor, first_free)?);
    }
    sys::close_on_exec_from(3)?;
    for (descriptor, number) in moved.iter().zip(numbers) {
        sys::place(descriptor.as_fd(), *number)?;
    }
    Ok(())
}

/// Why `descriptor` would undo what `sockets` promises, if it would.
///
/// A Unix datagram socket can be pointed at another path with every message, which seccomp cannot see.
pub fn objection(descriptor: BorrowedFd<'_>, sockets: Sockets) -> Option<&'static str> {
    if sockets == Sockets::Any || sockopt::socket_domain(descriptor) != Ok(AddressFamily::UNIX) {
        return None;
    }
    if !matches!(sockopt::socket_type(descriptor), Ok(SocketType::STREAM | SocketType::SEQPACKET)) {
        return Some("it is a Unix datagram socket, which could be pointed at another program; use a stream socket");
    }
    let listens = sockopt::socket_acceptconn(descriptor).unwrap_or(false);
    if !listens && rustix::net::getpeername(descriptor).is_err() && sockets == Sockets::Internet {
        return Some("it is a Unix socket that neither listens nor is connected, and could be connected anywhere; connect it first");
    }
    None
}

/// Checks the numbers that descriptors shall have.
pub fn check_numbers(descriptors: &[(OwnedFd, i32)]) -> Result<(), (i32, &'static str)> {
    let mut seen = std::collections::HashSet::new();
    for (_, number) in descriptors {
        if *number < 3 {
            return Err((*number, "numbers below 3 are standard input, output and error; use the fields for them"));
        }
        if !seen.insert(*number) {
            return Err((*number, "the number is given twice; give every descriptor its own"));
        }
    }
    Ok(())
}
