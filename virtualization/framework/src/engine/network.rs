//! Networks: from an attachment to a wire that a card is on.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use devices::virtio::{FrameStream, Frames};

use crate::configuration::{MTU_MINIMUM, NetworkAttachment};
use crate::error::{Error, ErrorKind, Result};

/// The other end of a wire, where it is a program of ours; it ends with this.
pub struct Passt(Child);

impl Drop for Passt {
    fn drop(&mut self) {
        // It ends by itself when its socket does; this is for one that hangs.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A wire, its maximum transmission unit in bytes, and the program at its other end.
pub fn connect(attachment: &NetworkAttachment) -> Result<(Box<dyn Frames>, u16, Option<Passt>)> {
    let failed = |message: &'static str| move |error: std::io::Error| Error::because(ErrorKind::Network, message, error);
    match attachment {
        NetworkAttachment::FileHandle(attachment) => {
            let socket = attachment.socket().try_clone().map_err(failed("Could not duplicate a network card's socket"))?;
            Ok((Box::new(socket), attachment.mtu(), None))
        }
        NetworkAttachment::Nat(_) => {
            let (here, there) = UnixStream::pair().map_err(failed("Could not make a socket for a network card"))?;
            let passt = start_passt(there.into())?;
            Ok((Box::new(FrameStream::new(here.into())), MTU_MINIMUM, Some(passt)))
        }
    }
}

fn start_passt(socket: OwnedFd) -> Result<Passt> {
    let mut command = Command::new("passt");
    // The socket is its standard input, the one descriptor that a program can be given without more.
    command.args(["--foreground", "--quiet", "--fd", "0", "--mtu", &MTU_MINIMUM.to_string()]);
    // The same network on every host: the guest's address, and that of the host, which is also the way out.
    for pair in [["--address", "10.0.2.15"], ["--netmask", "24"], ["--gateway", "10.0.2.2"], ["--dns-forward", "10.0.2.3"]] {
        command.args(pair);
    }
    // Nothing of the host's is to be reached from outside through the guest, unless somebody asks for it.
    command.args(["--tcp-ports", "none", "--udp-ports", "none"]);
    let started = command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "NAT needs the program passt, which is not installed: install the package passt",
            _ => "Could not start the program passt, which NAT needs",
        };
        Error::because(ErrorKind::Network, message, error)
    })?;
    if let Some(said) = child.stderr.take() {
        // It ends with the program; what cannot be read is not worth more.
        let relay = move || {
            for line in BufReader::new(said).lines().map_while(std::io::Result::ok) {
                tracing::warn!("passt: {line}");
            }
        };
        let _ = std::thread::Builder::new().name("vm-passt".to_owned()).spawn(relay);
    }
    Ok(Passt(child))
}
