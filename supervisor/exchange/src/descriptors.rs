//! The two sockets that the process is started with, and the descriptors that come over one of them.

use anyhow::{Context, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervisor_api::helper::{GRANTED, WANTS_CONNECTION, WANTS_DEVICE};

/// How long the supervisor may take to hand something over.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes standard input and output, which are sockets; what the library below prints goes nowhere.
pub fn take() -> Result<(UnixStream, Descriptors)> {
    let usage = "vivarium-exchange is started by a machine's supervisor, which speaks with it over sockets";
    let own = |descriptor: std::os::fd::BorrowedFd<'_>| -> Result<UnixStream> {
        rustix::net::sockopt::socket_type(descriptor).context(usage)?;
        Ok(UnixStream::from(descriptor.try_clone_to_owned()?))
    };
    let (control, connections) = (own(io::stdin().as_fd())?, own(io::stdout().as_fd())?);
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").context("Cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    connections.set_read_timeout(Some(PATIENCE))?;
    connections.set_write_timeout(Some(PATIENCE))?;
    Ok((control, Descriptors(Arc::new(Mutex::new(connections)))))
}

/// Where descriptors come from.
#[derive(Clone)]
pub struct Descriptors(Arc<Mutex<UnixStream>>);

impl Descriptors {
    /// Another connection to the machine's SPICE server.
    pub fn connection(&self) -> io::Result<OwnedFd> {
        self.ask(WANTS_CONNECTION)
    }

    /// The device that is to be attached.
    pub fn device(&self) -> io::Result<OwnedFd> {
        self.ask(WANTS_DEVICE)
    }

    fn ask(&self, wanted: u8) -> io::Result<OwnedFd> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&[wanted])?;
        let mut answer = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(&*stream, &mut [IoSliceMut::new(&mut answer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let handed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match handed {
            Some(descriptor) if received.bytes == 1 && answer == [GRANTED] => Ok(descriptor),
            _ => Err(io::Error::other("the supervisor hands over nothing")),
        }
    }
}
