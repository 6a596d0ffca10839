//! `viv console`, in a terminal and in a pipe, on a serial port that answers lines.

use crate::fake_supervisor::FakeSupervisor;
use crate::home::Home;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

fn home() -> Home {
    let home = Home::new();
    home.ok(&["create", "Debian", "--arch", "x86_64", "--disk", "16MiB"]);
    home
}

/// `viv` in a terminal.
struct Terminal {
    child: Child,
    /// The terminal emulator's side.
    screen: File,
    /// The program's side, held open so that its mode can be looked at afterwards.
    tty: File,
    before: Termios,
    seen: String,
}

impl Terminal {
    fn open(home: &Home, arguments: &[&str]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let path = ptsname(&screen, Vec::new()).unwrap();
        let tty = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let before = tcgetattr(&tty).unwrap();
        let end = || Stdio::from(tty.try_clone().unwrap());
        let child = home.command().args(arguments).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { child, screen: screen.into(), tty, before, seen: String::new() }
    }

    /// Reads until a text has appeared.
    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            let count = self.screen.read(&mut buffer).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.screen.write_all(bytes).unwrap();
    }

    /// The exit code, or the signal as a negative number; the terminal must be as it was.
    fn end(mut self) -> i32 {
        // What is still to come must be read, or the terminal would never be drained.
        let mut screen = self.screen.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while screen.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let status = self.child.wait().unwrap();
        let after = tcgetattr(&self.tty).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!((after.input_modes, after.output_modes), (self.before.input_modes, self.before.output_modes));
        status.code().unwrap_or(-1)
    }
}

fn is_raw(tty: &File) -> bool {
    !tcgetattr(tty).unwrap().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

#[test]
fn keys_reach_the_guest_until_the_escape_key_and_the_machine_runs_on() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    let mut terminal = Terminal::open(&home, &["console", "Debian"]);
    terminal.wait_for("Ctrl-] leaves it");
    terminal.wait_for("Debian GNU/Linux\r\n# ");
    assert!(is_raw(&terminal.tty));
    // Ctrl-C is the guest's.
    terminal.write(b"\x03uname\r");
    terminal.wait_for("answer to \x03uname\r\n");
    terminal.write(b"\x1d");
    terminal.wait_for("runs on");
    assert_eq!(terminal.end(), 0);
    // And again: the port replays.
    let mut terminal = Terminal::open(&home, &["console", "Debian", "--escape", "ctrl-a"]);
    terminal.wait_for("Debian GNU/Linux");
    terminal.write(b"last words\r\x01");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut terminal = Terminal::open(&home, &["console", "Debian"]);
        terminal.wait_for("# ");
        assert!(is_raw(&terminal.tty));
        kill_process(Pid::from_child(&terminal.child), signal).unwrap();
        assert_eq!(terminal.end(), code);
    }
}

#[test]
fn a_machine_that_ends_leaves_the_terminal_as_it_was() {
    let home = home();
    let running = FakeSupervisor::start(&home, "Debian", true);
    let mut terminal = Terminal::open(&home, &["console", "Debian"]);
    terminal.wait_for("# ");
    running.end();
    terminal.wait_for("has ended");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_supervisor_that_dies_is_followed_to_the_next() {
    let home = home();
    let running = FakeSupervisor::start(&home, "Debian", true);
    let mut terminal = Terminal::open(&home, &["console", "Debian"]);
    terminal.wait_for("# ");
    terminal.seen.clear();
    running.succeed();
    terminal.wait_for("GNU/Linux\r\n# ");
    terminal.write(b"still there?\r");
    terminal.wait_for("answer to still there?");
    terminal.write(b"\x1d");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_script_sends_a_line_and_waits_for_its_answer() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    // The prompt is in the replay, too; that one does not count.
    let mut child = home
        .command()
        .args(["console", "Debian", "--until", "# ", "--timeout", "20"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"uname -r\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("answer to uname -r"), "{output:?}");
}

#[test]
fn without_input_the_recent_output_counts() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    assert!(home.ok(&["console", "Debian", "--until", "GNU/Linux"]).contains("Debian"));
}

#[test]
fn a_text_that_does_not_come_is_a_timeout() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    let ran = home.viv(&["console", "Debian", "--until", "login:", "--timeout", "1"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("\"login:\" was not seen"), "{ran:?}");
    // Without a text to wait for, the time being up is how it ends.
    assert!(home.ok(&["console", "Debian", "--timeout", "1"]).contains("GNU/Linux"));
}

#[test]
fn a_port_that_is_not_there_is_not_found() {
    let home = home();
    let _running = FakeSupervisor::start(&home, "Debian", true);
    let ran = home.viv(&["console", "Debian", "--port", "3"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("0 (serial 0)"), "{ran:?}");
}
