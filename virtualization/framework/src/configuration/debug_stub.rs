//! A stub for debuggers.

use std::path::{Path, PathBuf};

use super::Problems;

/// A stub for GDB: what speaks GDB's remote serial protocol can debug the guest, one vCPU being one thread, by guest-virtual addresses. Whoever
/// connects reads and writes all of the guest, so it listens only where this computer's programs reach it. It debugs one guest: a reboot ends
/// the session. Breakpoints are in the guest's memory while it is saved, so leave the debugger before. Apple has one that is private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GdbDebugStub {
    pub(crate) place: DebugStubPlace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DebugStubPlace {
    Unix(PathBuf),
    Tcp(u16),
}

impl GdbDebugStub {
    /// One that listens at a Unix socket (`target remote PATH`), which is made when the machine is and removed with it. Whoever may write the
    /// socket's folder may debug.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self { place: DebugStubPlace::Unix(path.as_ref().to_owned()) }
    }

    /// One that listens at this port of 127.0.0.1 (`target remote :PORT`); every user of this computer may debug.
    pub fn tcp(port: u16) -> Self {
        Self { place: DebugStubPlace::Tcp(port) }
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        match &self.place {
            DebugStubPlace::Unix(path) => {
                // `struct sockaddr_un` of Linux.
                let length = path.as_os_str().len();
                problems.require((1..108).contains(&length), || {
                    format!("A socket's path has 1 to 107 bytes, and this one has {length}: {}", path.display())
                });
            }
            DebugStubPlace::Tcp(port) => problems.require(*port != 0, || "A port is 1 to 65535".to_owned()),
        }
    }
}
