//! Locks on images, the same as QEMU's, so that neither opens what the other writes.
//!
//! QEMU puts a shared lock on one byte of the file for each thing that it does with an image, and on another one for each thing that nobody
//! else may do meanwhile; then it looks whether anybody has a lock against that. The locks belong to the open file, so the kernel drops
//! them when the last descriptor of it is closed, whatever ends the process.
//!
//! Why unsafe: `fcntl(2)` for locks of open files, which no library here has.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The bytes of a file that stand for what is done with it, and for what others may not do (QEMU's block/file-posix.c).
const DOES: i64 = 100;
const FORBIDS: i64 = 200;

/// What can be done with an image: the number of its bit.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Locks an image that is read, or written too, until the file is closed.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] where somebody else has it open in a way that does not go with this.
pub fn lock(file: &File, writes: bool) -> io::Result<()> {
    let does: &[i64] = if writes { &[READ, WRITE, RESIZE] } else { &[READ] };
    let forbids = [WRITE, RESIZE];
    for byte in does.iter().map(|what| DOES + what).chain(forbids.map(|what| FORBIDS + what)) {
        // Shared locks never wait for each other, so this fails only where there are no locks at all.
        control(file, libc::F_OFD_SETLK, libc::F_RDLCK, byte)?;
    }
    for byte in does.iter().map(|what| FORBIDS + what).chain(forbids.map(|what| DOES + what)) {
        if control(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)? != libc::F_UNLCK {
            return Err(io::ErrorKind::WouldBlock.into());
        }
    }
    Ok(())
}

/// Sets a lock on a byte, or asks what would be in its way; returns the kind of lock that the kernel answers with.
fn control(file: &File, command: i32, kind: i32, byte: i64) -> io::Result<i32> {
    // The constants fit, as they are those of this structure; and the process must be 0.
    let mut lock =
        libc::flock { l_type: kind as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: byte, l_len: 1, l_pid: 0 };
    // SAFETY: the kernel reads and writes one such structure, which is ours.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        0 => Ok(i32::from(lock.l_type)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_or_several_read() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(image.path()).unwrap();
        let (first, second, third) = (open(), open(), open());
        lock(&first, false).unwrap();
        lock(&second, false).unwrap();
        assert_eq!(lock(&third, true).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((first, second, third));

        let (first, second) = (open(), open());
        lock(&first, true).unwrap();
        assert_eq!(lock(&second, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(lock(&second, true).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // What was not got leaves nothing behind once it is closed.
        drop((first, second));
        lock(&open(), true).unwrap();
    }

    #[test]
    fn qemu_stays_out_and_keeps_others_out() {
        let image = tempfile::Builder::new().suffix(".qcow2").tempfile().unwrap();
        let qemu = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            command.args(arguments).arg(image.path());
            command
        };
        let Ok(made) = qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "size=1M"]).output() else {
            eprintln!("skipped: there is no qemu-img; cargo xtask setup installs it");
            return;
        };
        assert!(made.status.success(), "{made:?}");
        let open = || File::options().read(true).write(true).open(image.path()).unwrap();
        let ours = open();
        lock(&ours, true).unwrap();
        let refused = qemu("qemu-img", &["info"]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("lock"), "{said}");
        drop(ours);
        // Who only reads lets others read.
        let ours = open();
        lock(&ours, false).unwrap();
        assert!(qemu("qemu-img", &["info"]).output().unwrap().status.success());
        assert!(!qemu("qemu-img", &["resize", "-q", "--shrink"]).arg("512K").output().unwrap().status.success());
        drop(ours);

        let mut theirs = std::process::Command::new("qemu-io");
        theirs.arg(image.path()).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut theirs = theirs.spawn().unwrap();
        // Its prompt comes when it has the image open.
        io::Read::read_exact(theirs.stdout.as_mut().unwrap(), &mut [0; 8]).unwrap();
        assert_eq!(lock(&open(), false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(theirs.stdin.take());
        assert!(theirs.wait().unwrap().success());
        lock(&open(), true).unwrap();
    }
}
