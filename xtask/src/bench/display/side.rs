//! Both sides: the app with a machine of ours, and remote-viewer with QEMU over SPICE.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::bare::{Bare, Ended};
use crate::process;
use crate::serial::Serial;
use crate::viv::Viv;
use crate::x_server::XServer;

/// The app's toolbar: what is beside the picture, across and down, in pixels.
const TOOLBAR: (u32, u32) = (0, 46);
/// How large the guest's own console is.
const CONSOLE: (u32, u32) = (1280, 800);
/// The shell's prompt.
const PROMPT: &str = "guest# ";

/// A guest, and what shows it.
pub trait Side {
    /// What it is called in what is printed.
    fn name(&self) -> &'static str;
    /// Opens a window that shows the guest.
    fn view(&self) -> Result<Viewer>;
    /// Runs a command in the guest's shell.
    fn run(&self, command: &str) -> Result<Running<'_>>;
    /// What takes part in showing the guest.
    fn processes(&self, viewer: &Viewer) -> Vec<u32>;
}

/// A viewer with its window. It ends with this.
pub struct Viewer {
    process: Ended,
    /// As X numbers it.
    pub window: u32,
    /// What is beside the picture, across and down, in pixels.
    pub beside: (u32, u32),
}

impl Viewer {
    fn open(mut command: Command, screen: &XServer, title: &str, beside: (u32, u32)) -> Result<Self> {
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("Could not start {}", process::display(&command)))?;
        let process = Ended(process);
        let window = screen.window(title)?.parse().context("xdotool does not number the window")?;
        Ok(Self { process, window, beside })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// What the shell does. Its end is a line with this number.
pub struct Running<'s> {
    number: u32,
    how: How<'s>,
}

enum How<'s> {
    /// `viv console`, and what it is typed.
    Console(Ended, ChildStdin),
    /// The serial port.
    Port(&'s RefCell<(UnixStream, Serial)>),
}

/// Commands and their ends: the shell puts the word together, so that what is typed and echoed is not taken for it.
fn typed(command: &str, number: u32) -> String {
    format!("{command}; echo =E''ND{number}=\n")
}

fn end(number: u32) -> String {
    format!("=END{number}=")
}

impl Running<'_> {
    /// Waits until it has ended; what was said.
    pub fn finish(self) -> Result<String> {
        match self.how {
            How::Console(mut console, stdin) => {
                let mut said = String::new();
                console.0.stdout.take().context("viv console has no output")?.read_to_string(&mut said)?;
                drop(stdin);
                if !console.0.wait()?.success() {
                    bail!("The guest does not answer: {said}");
                }
                Ok(said)
            }
            How::Port(port) => port.borrow_mut().1.wait_for(&end(self.number)),
        }
    }

    /// Types a line, then waits for the end.
    pub fn answer(mut self) -> Result<String> {
        match &mut self.how {
            How::Console(_, stdin) => stdin.write_all(b"\n")?,
            How::Port(port) => port.borrow_mut().0.write_all(b"\n")?,
        }
        self.finish()
    }
}

/// The app, and a machine of ours that runs.
pub struct Ours<'v> {
    viv: &'v Viv,
    screen: &'v XServer,
    name: &'static str,
    /// Supervisor and QEMU.
    processes: [u32; 2],
    asked: Cell<u32>,
}

impl<'v> Ours<'v> {
    /// Starts the machine, and waits for its prompt.
    pub fn start(viv: &'v Viv, screen: &'v XServer, name: &'static str) -> Result<Self> {
        process::quiet(&mut viv.command(["start", name, "--wait"]))?;
        process::quiet(&mut viv.command(["console", name, "--until", PROMPT, "--timeout", "300"]))?;
        let status = viv.json(["status", name])?;
        let pid = |key: &str| {
            status
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|pid| u32::try_from(pid).ok())
                .with_context(|| format!("viv status has no {key}"))
        };
        Ok(Self { viv, screen, name, processes: [pid("supervisor_pid")?, pid("backend_pid")?], asked: Cell::new(0) })
    }
}

impl Side for Ours<'_> {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn view(&self) -> Result<Viewer> {
        let mut command = self.screen.program(self.viv.program.with_file_name("vivarium"));
        command.arg(self.viv.home.join(format!("{}.utm", self.name))).env("VIVARIUM_HOME", &self.viv.home);
        Viewer::open(command, self.screen, self.name, TOOLBAR)
    }

    fn run(&self, command: &str) -> Result<Running<'_>> {
        let number = self.asked.replace(self.asked.get() + 1);
        let mut console = self.viv.command(["console", self.name, "--until", &end(number), "--timeout", "300"]);
        let mut console = Ended(console.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("Could not start viv console")?);
        let mut stdin = console.0.stdin.take().context("viv console takes no input")?;
        stdin.write_all(typed(command, number).as_bytes())?;
        stdin.flush()?;
        Ok(Running { number, how: How::Console(console, stdin) })
    }

    fn processes(&self, viewer: &Viewer) -> Vec<u32> {
        [self.processes.as_slice(), &[viewer.pid()]].concat()
    }
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        if let Err(error) = process::quiet(&mut self.viv.command(["stop", self.name, "--kill"])) {
            eprintln!("{error:#}");
        }
    }
}

/// remote-viewer, and QEMU with the machine's command line.
pub struct Theirs<'v> {
    screen: &'v XServer,
    qemu: Ended,
    socket: PathBuf,
    port: RefCell<(UnixStream, Serial)>,
    asked: Cell<u32>,
}

impl<'v> Theirs<'v> {
    /// Starts QEMU, and waits for the guest's prompt.
    pub fn start(bare: &Bare, screen: &'v XServer, work: &Path) -> Result<Self> {
        which::which("remote-viewer").context("There is no remote-viewer; cargo xtask setup --bench installs it")?;
        // As UTM has it for viewers on the same computer.
        let spice = "unix=on,addr=spice.sock,disable-ticketing=on,image-compression=off,streaming-video=off,playback-compression=off";
        let ready = bare.with("-spice", spice).start(work)?;
        let stream = ready.serial()?;
        let log = File::create(work.join("serial.log"))?;
        let mut serial = Serial::listen(vec![Box::new(stream.try_clone()?)], log);
        let qemu = ready.run()?;
        serial.wait_for(PROMPT)?;
        Ok(Self { screen, qemu, socket: work.join("spice.sock"), port: RefCell::new((stream, serial)), asked: Cell::new(0) })
    }
}

impl Side for Theirs<'_> {
    fn name(&self) -> &'static str {
        "remote-viewer"
    }

    fn view(&self) -> Result<Viewer> {
        let mut command = self.screen.program("remote-viewer");
        command.arg(format!("spice+unix://{}", self.socket.display()));
        let mut viewer = Viewer::open(command, self.screen, ".* \\(1\\)", (0, 0))?;
        // It makes its window as large as what it shows as soon as it knows that; what is left is its frame.
        std::thread::sleep(Duration::from_secs(3));
        let (width, height) = self.screen.size(viewer.window)?;
        let frame = width.checked_sub(CONSOLE.0).zip(height.checked_sub(CONSOLE.1));
        viewer.beside = frame.with_context(|| format!("remote-viewer shows the guest at {width}×{height}"))?;
        Ok(viewer)
    }

    fn run(&self, command: &str) -> Result<Running<'_>> {
        let number = self.asked.replace(self.asked.get() + 1);
        self.port.borrow_mut().0.write_all(typed(command, number).as_bytes()).context("Could not type on the serial console")?;
        Ok(Running { number, how: How::Port(&self.port) })
    }

    fn processes(&self, viewer: &Viewer) -> Vec<u32> {
        vec![self.qemu.0.id(), viewer.pid()]
    }
}
