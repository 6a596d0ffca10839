//! Networks: what a card is connected to, and how that is replaced.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use confinement::{Confinement, Thread};
use devices::virtio::network::{Backend, FrameStream, Frames, Link, PATIENCE, Tap};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::configuration::{MTU_OF_PASST, NetworkAttachment, TapNetworkAttachment, TapSource, VirtioNetworkDevice};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that a socket to passt holds; the host gives it what it allows.
const SOCKET_BUFFER: usize = 16 << 20;

/// The other end of a wire, where it is a program of ours; it ends with this.
pub struct Passt {
    child: Child,
    /// What it can be killed by, and nothing else.
    handle: OwnedFd,
}

impl Drop for Passt {
    fn drop(&mut self) {
        // It ends by itself when its socket does; this is for one that hangs.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Told when what a card is connected to has gone, and why.
pub type Gone = Arc<dyn Fn(Error) + Send + Sync>;

/// What a card is connected to, from a machine's creation to its end.
pub struct Connection {
    pairs: u16,
    confinement: Confinement,
    state: Mutex<State>,
}

struct State {
    attachment: Option<NetworkAttachment>,
    /// That of the card there is.
    link: Option<Arc<Link>>,
    passt: Option<Passt>,
}

/// The ends of a card's link, and the program at their other end.
type Ends = (Vec<Box<dyn Frames>>, Option<Passt>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// That of a card of the configuration, to which nothing is connected yet.
    pub fn new(card: &VirtioNetworkDevice, confinement: Confinement) -> Self {
        let state = State { attachment: Some(card.attachment.clone()), link: None, passt: None };
        Self { pairs: card.queue_pairs, confinement, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a new card; one whose driver begins anew, or one that goes on with what its driver agreed to with another. The calling
    /// thread must be one that may open files and start programs.
    pub fn connect(&self, is_new: bool, gone: Gone) -> Result<Arc<Link>> {
        let mut state = self.lock();
        (state.link, state.passt) = (None, None);
        let (ends, passt) = self.ends(state.attachment.as_ref(), is_new)?;
        let told = move |error| gone(Error::because(ErrorKind::Network, "A network card's attachment has gone", error));
        let link = Link::new(ends, Box::new(told)).map_err(failed("Could not set up a network card"))?;
        let link = Arc::new(link);
        (state.link, state.passt) = (Some(Arc::clone(&link)), passt);
        Ok(link)
    }

    /// What it was connected to has gone: so has the program there, which may not have noticed.
    pub fn clear(&self) {
        let mut state = self.lock();
        // Meanwhile it may be connected to something else.
        if state.link.as_ref().is_none_or(|link| !link.is_up()) {
            state.passt = None;
        }
    }

    /// The card is gone.
    pub fn disconnect(&self) {
        let mut state = self.lock();
        (state.link, state.passt) = (None, None);
    }

    /// What it is connected to now.
    pub fn attachment(&self) -> Option<NetworkAttachment> {
        let state = self.lock();
        state.attachment.clone().filter(|_| state.link.as_ref().is_none_or(|link| link.is_up()))
    }

    /// Connects it to this instead. The calling thread is one of the program's own.
    pub fn set_attachment(&self, attachment: Option<NetworkAttachment>) -> Result<()> {
        if let Some(attachment) = &attachment {
            attachment.validate()?;
        }
        let mut state = self.lock();
        if let Some(link) = state.link.clone() {
            let (ends, passt) = self.ends(attachment.as_ref(), false)?;
            link.replace(ends).map_err(failed("Could not connect a network card"))?;
            state.passt = passt;
        }
        state.attachment = attachment;
        Ok(())
    }

    fn ends(&self, attachment: Option<&NetworkAttachment>, is_new: bool) -> Result<Ends> {
        Ok(match attachment {
            None => (Vec::new(), None),
            Some(NetworkAttachment::FileHandle(attachment)) => {
                let socket = attachment.socket().try_clone().map_err(failed("Could not duplicate a network card's socket"))?;
                (vec![Box::new(socket)], None)
            }
            Some(NetworkAttachment::Tap(attachment)) => (self.tap(attachment)?, None),
            Some(NetworkAttachment::Nat(_)) => self.nat(is_new)?,
        })
    }

    /// passt serves the queues itself where it can: with one pair of them, and a driver that has not agreed to what passt does not do.
    fn nat(&self, is_new: bool) -> Result<Ends> {
        if is_new && self.pairs == 1 && has_vhost_user() {
            match self.passt(&["--vhost-user"]).and_then(|(here, passt)| {
                let backend = Backend::new(here, PATIENCE).map_err(failed("Could not have passt serve a network card's queues"))?;
                Ok((backend, passt))
            }) {
                Ok((backend, passt)) => return Ok((vec![Box::new(backend)], Some(passt))),
                Err(error) => tracing::warn!(%error, "passt gets every frame by its socket instead"),
            }
        }
        let (here, passt) = self.passt(&[])?;
        Ok((vec![Box::new(FrameStream::new(here))], Some(passt)))
    }

    /// Starts passt with these options; our end of its socket.
    fn passt(&self, options: &[&str]) -> Result<(OwnedFd, Passt)> {
        let (here, there) = UnixStream::pair().map_err(failed("Could not make a socket for a network card"))?;
        // passt loses what the socket does not take at once, and it may send as much at once as the guest has room for.
        for end in [&here, &there] {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, SOCKET_BUFFER);
        }
        let passt = start_passt(there.into(), options, &self.confinement)?;
        Ok((here.into(), passt))
    }

    fn tap(&self, attachment: &TapNetworkAttachment) -> Result<Vec<Box<dyn Frames>>> {
        let taps = match attachment.source() {
            TapSource::Interface(name) => Tap::open(name, self.pairs).map_err(|error| {
                let next = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "; as root: ip tuntap add NAME mode tap user USER, with multi_queue for several pairs of queues"
                    }
                    io::ErrorKind::NotFound => "; this computer has no /dev/net/tun: as root, modprobe tun",
                    io::ErrorKind::ResourceBusy => "; another program uses it",
                    io::ErrorKind::InvalidInput => "; it is no tap, or has several queues where the card has one, or the other way round",
                    _ => "",
                };
                Error::because(ErrorKind::Network, format!("Could not open the tap interface {name}{next}"), error)
            })?,
            TapSource::Descriptors(descriptors) => {
                let open = |descriptor: &Arc<OwnedFd>| Tap::from_descriptor(descriptor.try_clone()?);
                let taps = descriptors.iter().map(open).collect::<io::Result<_>>();
                taps.map_err(failed("Could not use a network card's tap descriptor"))?
            }
        };
        Ok(taps.into_iter().map(|tap| Box::new(tap) as Box<dyn Frames>).collect())
    }
}

fn failed(message: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::because(ErrorKind::Network, message, error)
}

/// Whether the passt there is serves queues over vhost-user, by what it says of itself. One that cannot be asked is not there, which is said
/// when it is started.
fn has_vhost_user() -> bool {
    let said = Command::new("passt").arg("--help").stdin(Stdio::null()).output();
    said.is_ok_and(|output| offers_vhost_user(&output.stdout) || offers_vhost_user(&output.stderr))
}

fn offers_vhost_user(help: &[u8]) -> bool {
    String::from_utf8_lossy(help).lines().any(|line| line.split_whitespace().next() == Some("--vhost-user"))
}

fn start_passt(socket: OwnedFd, options: &[&str], confinement: &Confinement) -> Result<Passt> {
    let mut command = Command::new("passt");
    command.args(options);
    // The socket is its standard input, the one descriptor that a program can be given without more.
    command.args(["--foreground", "--quiet", "--fd", "0", "--mtu", &MTU_OF_PASST.to_string()]);
    // The same network on every host: the guest's address, and that of the host, which is also the way out.
    for pair in [["--address", "10.0.2.15"], ["--netmask", "24"], ["--gateway", "10.0.2.2"], ["--dns-forward", "10.0.2.3"]] {
        command.args(pair);
    }
    // Nothing of the host's is to be reached from outside through the guest, unless somebody asks for it.
    command.args(["--tcp-ports", "none", "--udp-ports", "none"]);
    let started = command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => "NAT needs the program passt, which is not installed: install the package passt",
            _ => "Could not start the program passt, which NAT needs",
        };
        Error::because(ErrorKind::Network, message, error)
    })?;
    if let Some(said) = child.stderr.take() {
        // It ends with the program; what cannot be read is not worth more.
        let relay = move || {
            for line in BufReader::new(said).lines().map_while(io::Result::ok) {
                tracing::warn!("passt: {line}");
            }
        };
        if let Err(error) = confinement.spawn(Thread::Relay, "vm-passt".to_owned(), relay) {
            tracing::warn!(%error, "what passt says is not passed on");
        }
    }
    let handle = handle(&child).map_err(|error| {
        let _ = child.kill().and_then(|()| child.wait());
        Error::because(ErrorKind::Network, "Could not keep hold of the program passt", error)
    })?;
    Ok(Passt { child, handle })
}

fn handle(child: &Child) -> io::Result<OwnedFd> {
    let process = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(process, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passt_is_asked_what_it_can_do() {
        assert!(offers_vhost_user(
            b"Usage: passt [OPTION]...\n  -s, --socket, PATH\tUNIX socket\n  --vhost-user\t\tEnable vhost-user mode\n"
        ));
        assert!(!offers_vhost_user(b"Usage: passt [OPTION]...\n  -s, --socket PATH\tUNIX domain socket path\n  -F, --fd FD\n"));
        assert!(!offers_vhost_user(b"passt: unrecognized option '--vhost-user'\n\xff"));
    }
}
