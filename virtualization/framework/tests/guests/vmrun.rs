//! The example program `vmrun`: a machine in a process of its own, described by flags.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::guest::{Guest, skip};
use crate::page;

/// How long a guest may say nothing.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A process of it.
pub struct Vmrun {
    child: Child,
    keyboard: ChildStdin,
    bytes: Receiver<Vec<u8>>,
    /// When it was started.
    pub started: Instant,
    /// When it said something first.
    answered: Option<Instant>,
}

impl Vmrun {
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, bytes, started, answered: None }
    }

    /// Types what the guest is to do.
    pub fn enter(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// What is said next; `None` where that was all.
    pub fn read(&mut self) -> Option<Vec<u8>> {
        match self.bytes.recv_timeout(PATIENCE) {
            Ok(bytes) => {
                self.answered.get_or_insert_with(Instant::now);
                Some(bytes)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the guest said nothing for a long time"),
        }
    }

    /// Tells it to save the guest; it ends when that is done.
    pub fn save(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, and returns how long after its start it said something first.
    pub fn end(mut self) -> Duration {
        assert!(self.child.wait().unwrap().success());
        self.answered.unwrap() - self.started
    }

    /// Waits until a line has been said.
    fn wait_for(&mut self, wanted: &str) {
        let mut said = Vec::new();
        loop {
            let Some(bytes) = self.read() else { panic!("it ended, and had not said {wanted:?}") };
            print!("{}", String::from_utf8_lossy(&bytes));
            said.extend(bytes);
            // Not what is typed, which is echoed: a line of its own.
            if String::from_utf8_lossy(&said).lines().any(|line| line.trim_end() == wanted) {
                return;
            }
        }
    }
}

impl Drop for Vmrun {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the program is.
pub fn program() -> Option<PathBuf> {
    built("VIVARIUM_VMRUN")
}

/// Where a program is that `cargo xtask test` builds for these tests.
fn built(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        skip("skipped", &format!("cargo xtask test builds a program for this and says in {variable} where it is"));
    }
    program
}

#[test]
fn vmrun_gives_a_guest_a_disk_a_network_a_share_and_sockets() {
    let (Some(guest), Some(program), Some(probe)) = (Guest::prepare(), program(), built("VIVARIUM_GUEST_PROBE")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [kernel, initrd] = ["kernel", "initrd.gz"].map(|name| guest.folder().join(name).display().to_string());
    let (disk, shared, service) = (path("disk.raw"), path("shared"), path("service"));
    std::fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    std::fs::create_dir(&shared).unwrap();
    std::fs::copy(probe, folder.path().join("shared/probe")).unwrap();
    let listener = UnixListener::bind(&service).unwrap();
    let port = page::serve();

    let (share, socket) = (format!("work={shared}"), format!("5000:{service}"));
    let flags = ["--kernel", &kernel, "--initrd", &initrd, "--command-line", "console=ttyS0 quiet vivarium.net", "--cpus", "2"];
    let devices = ["--disk", &disk, "--net", "--rng", "--share", &share, "--vsock", &socket];
    let mut running = Vmrun::start(&program, &[&flags[..], &devices].concat());
    running.wait_for("vivarium guest ready x86_64");
    running.enter("mkdir /m; mount -t virtiofs work /m; echo written >/m/by-guest; echo mounted $?\n");
    running.wait_for("mounted 0");
    running.enter("yes disk | dd of=/dev/vda bs=64k count=16 conv=fsync iflag=fullblock 2>/dev/null; echo disk $?\n");
    running.wait_for("disk 0");
    running.enter(&format!("wget -q -O - http://10.0.2.2:{port}/; echo ''\n"));
    running.wait_for(page::SAYS);
    running.enter("/m/probe connect 5000\n");
    let (mut connection, _) = listener.accept().unwrap();
    let mut greeting = [0; 20];
    connection.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello from the guest");
    connection.write_all(&[b'x'; 4096]).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    running.wait_for("received 4096");
    running.enter("poweroff -f\n");
    while running.read().is_some() {}
    running.end();
    assert_eq!(std::fs::read_to_string(folder.path().join("shared/by-guest")).unwrap(), "written\n");
    assert!(std::fs::read(&disk).unwrap().starts_with(&b"disk\n".repeat(1 << 16)));
}
