//! What the running kernel offers.

use serde::{Deserialize, Serialize};

use crate::socket_filter;
use crate::sys;

/// What the running kernel offers to confine programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// The version of Landlock's interface; `None` where the kernel has none or it is turned off.
    pub landlock_abi: Option<u32>,
    /// Whether sockets can be restricted with seccomp.
    pub socket_filter: bool,
    /// What Landlock lacks here, in words for a person; empty when all is there.
    pub missing: Vec<String>,
}

/// Asks the kernel what it offers.
#[must_use]
pub fn support() -> Support {
    let landlock_abi = sys::landlock_abi();
    let socket_filter = socket_filter::supported();
    let mut missing = missing(landlock_abi);
    if !socket_filter {
        missing.push("sockets are not restricted: no seccomp on this kernel or processor".to_owned());
    }
    Support { landlock_abi, socket_filter, missing }
}

/// What interface version brings what, and what a program can do where it is missing.
const SINCE: &[(u32, &str)] = &[
    (3, "files can be truncated without permission to write them: needs Linux 6.2"),
    (4, "TCP ports are not restricted: needs Linux 6.7"),
    (5, "devices that may be read can also be controlled (ioctl): needs Linux 6.10"),
    (6, "signals and abstract Unix sockets reach other programs: needs Linux 6.12"),
];

pub(crate) fn missing(landlock_abi: Option<u32>) -> Vec<String> {
    match landlock_abi {
        None => vec!["files, ports and signals are not restricted: needs Linux 5.13 with Landlock enabled".to_owned()],
        Some(abi) => SINCE.iter().filter(|(since, _)| abi < *since).map(|(_, what)| (*what).to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_miss_more() {
        assert_eq!(missing(None).len(), 1);
        assert_eq!(missing(Some(1)).len(), 4);
        assert_eq!(missing(Some(4)).len(), 2);
        assert!(missing(Some(6)).is_empty());
        assert!(missing(Some(99)).is_empty());
    }
}
