//! Files and ports given up (landlock(7)).
//!
//! Why unsafe: the version of the kernel's interface is asked for by a call that the Landlock crate keeps to itself.
#![allow(unsafe_code)]

use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};

/// `LANDLOCK_CREATE_RULESET_VERSION` (linux/landlock.h).
const CREATE_RULESET_VERSION: libc::c_uint = 1;

/// The version of Landlock's interface, where there is one.
pub fn version() -> Option<u32> {
    // SAFETY: with a null pointer, size 0 and this flag the call touches no memory and returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, CREATE_RULESET_VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// From now on the calling thread and all that come from it open no files, make none, and have no use for TCP ports.
pub fn give_up(version: u32) -> io::Result<()> {
    let abi = ABI::from(i32::try_from(version).unwrap_or(i32::MAX));
    restrict(abi).map_err(|error| io::Error::other(format!("Landlock: {error}")))
}

fn restrict(abi: ABI) -> Result<(), landlock::RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?.handle_access(AccessNet::ConnectTcp)?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    ruleset.create()?.restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_thread_without_files_opens_none_and_connects_to_no_port() {
        let Some(version) = version() else {
            eprintln!("not possible here: this kernel has no Landlock");
            return;
        };
        let folder = std::env::temp_dir();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let confined = std::thread::spawn(move || {
            give_up(version).unwrap();
            let inherits = std::thread::spawn(|| File::open("/etc/passwd").map(drop)).join().unwrap();
            for refused in [inherits, File::open("/etc/passwd").map(drop), File::create(folder.join("confinement.test")).map(drop)] {
                assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EACCES));
            }
            if version >= 4 {
                assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            }
        });
        confined.join().unwrap();
        // Others are as they were.
        File::open("/etc/passwd").unwrap();
    }
}
