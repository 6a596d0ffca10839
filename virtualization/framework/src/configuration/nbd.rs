//! Disks of network block device servers.

use std::path::PathBuf;
use std::time::Duration;

use super::{Access, ConfigurationError, Problems, SynchronizationMode};

/// The longest name of an export, in bytes (`doc/proto.md`, "Strings").
const NAME_MAXIMUM: usize = 4096;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NbdServer {
    /// A host's name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The port of NBD servers, where an address has none (IANA).
const PORT: u16 = 10809;

/// An export of a network block device server, as the NBD project's `doc/uri.md` names it: `nbd://HOST[:PORT]/EXPORT` or
/// `nbd+unix:///EXPORT?socket=PATH`. Apple: `VZNetworkBlockDeviceStorageDeviceAttachment`.
///
/// It is connected to when the machine starts, and again when the connection breaks: what the guest asks for meanwhile waits. A server that
/// forgets what it said it had written, when it ends, is a disk that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NbdAttachment {
    url: String,
    timeout: Duration,
    access: Access,
    synchronization_mode: SynchronizationMode,
}

impl NbdAttachment {
    /// The export with this address, to be read and written where the server allows that, with a timeout of 15 seconds.
    pub fn new(url: impl Into<String>) -> Self {
        let synchronization_mode = SynchronizationMode::default();
        Self { url: url.into(), timeout: Duration::from_secs(15), access: Access::ReadWrite, synchronization_mode }
    }

    /// With this timeout: a server that answers nothing for so long is connected to again, and one that has not done what it is asked for after
    /// as long again is given up ([`crate::Event::StorageDisconnected`]); what the guest asks for fails from then on.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With this access; what the server only lets be read stays so. Apple: `isForcedReadOnly`.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// With this meaning of a flush.
    #[must_use]
    pub fn synchronization_mode(mut self, mode: SynchronizationMode) -> Self {
        self.synchronization_mode = mode;
        self
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long a server may say nothing.
    pub fn timeout_duration(&self) -> Duration {
        self.timeout
    }

    /// Whether the guest may write.
    pub fn allowed_access(&self) -> Access {
        self.access
    }

    /// What a flush means.
    pub fn synchronization(&self) -> SynchronizationMode {
        self.synchronization_mode
    }

    /// Whether this is an address of an export. Nothing is connected to. Apple: `validateURL`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate_url(url: &str) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| {
            if let Err(wrong) = parse(url) {
                problems.field("url").add(wrong);
            }
        })
    }

    /// Where the server is, and the export's name.
    #[cfg(target_os = "linux")]
    pub(crate) fn place(&self) -> Option<(NbdServer, String)> {
        parse(&self.url).ok()
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        if let Err(wrong) = parse(&self.url) {
            problems.field("url").add(wrong);
        }
        problems.field("timeout").require(!self.timeout.is_zero(), || "It is zero".to_owned());
        problems
            .field("synchronization_mode")
            .require(self.synchronization_mode != SynchronizationMode::Fsync, || "A server has no Fsync; use Full or None".to_owned());
    }
}

fn parse(url: &str) -> Result<(NbdServer, String), String> {
    let wrong = |what: &str| format!("{what}; an address is nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH, not {url}");
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("It has no scheme"))?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
    let name = decoded(name).ok_or_else(|| wrong("Its export's name makes no sense"))?;
    if name.len() > NAME_MAXIMUM || name.contains('\0') {
        return Err(wrong("Its export's name is too long or has a zero byte"));
    }
    let address = match scheme {
        "nbd" | "nbd+tcp" => {
            if query.is_some() {
                return Err(wrong("It has a query"));
            }
            let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
                Some((host, port)) => (host, port.strip_prefix(':')),
                None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
            };
            let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong("Its port is none"))?;
            if host.is_empty() || host.contains('@') || port == 0 {
                return Err(wrong("It has no host, a user, or no port"));
            }
            NbdServer::Tcp(host.to_owned(), port)
        }
        "nbd+unix" => {
            let socket = query.and_then(|query| query.split('&').find_map(|part| part.strip_prefix("socket=")));
            let socket = socket.and_then(decoded).filter(|path| !path.is_empty() && !path.contains('\0'));
            if !host.is_empty() {
                return Err(wrong("It has a host"));
            }
            NbdServer::Unix(PathBuf::from(socket.ok_or_else(|| wrong("It has no socket"))?))
        }
        "nbds" | "nbds+tcp" | "nbds+unix" => return Err(wrong("TLS is not supported")),
        _ => return Err(wrong("Its scheme is another one")),
    };
    Ok((address, name))
}

/// With what `%XX` stands for.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                // Two digits are less than 256.
                (digit(left.next()?)? << 4 | digit(left.next()?)?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let tcp = |host: &str, port| NbdServer::Tcp(host.to_owned(), port);
        for (url, address, name) in [
            ("nbd://example.org/disk", tcp("example.org", PORT), "disk"),
            ("nbd://example.org", tcp("example.org", PORT), ""),
            ("nbd+tcp://[::1]:10810/a%20b/c", tcp("::1", 10810), "a b/c"),
            ("nbd+unix:///x?socket=/run/my%2Dnbd", NbdServer::Unix("/run/my-nbd".into()), "x"),
            ("nbd+unix://?socket=s", NbdServer::Unix("s".into()), ""),
        ] {
            assert_eq!(parse(url), Ok((address, name.to_owned())), "{url}");
        }
        let wrong = ["", "disk", "nbd://", "nbd:///x", "nbd://h:0/", "nbd://h:x/", "nbd://u@h/", "nbd://h/%4", "nbd://h/%ff", "nbds://h/x"];
        for url in wrong.into_iter().chain(["http://h/", "nbd+unix:///x", "nbd+unix://h/x?socket=s", "nbd://h/x?socket=s", "nbd://h/%00"]) {
            assert!(NbdAttachment::validate_url(url).is_err(), "{url}");
        }
    }
}
