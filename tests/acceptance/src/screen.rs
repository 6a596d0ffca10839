//! An X server of a test's own, and the desktop app on it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::drag::drop_file;
use crate::{Home, Picture, Speakers, Tree, eventually, program, programs, skip};

/// How long the app may take for anything, beside others on a slow computer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An X server without a screen, on which only this test draws, types and points.
pub struct Screen {
    server: Child,
    name: String,
    folder: TempDir,
}

impl Screen {
    /// One of its own, or a reason to skip.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn new() -> Option<Self> {
        for name in ["Xvfb", "xdotool", "import", "xclip"] {
            if program(name).is_none() {
                skip(&format!("{name} is not installed"));
                return None;
            }
        }
        let mut server = Command::new("Xvfb")
            // Otherwise it begins anew, and hears nobody meanwhile, when its last client goes.
            .args(["-displayfd", "1", "-noreset", "-screen", "0", "1280x900x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        // It says which display it is when it can be used.
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb does not start");
        let folder = tempfile::tempdir().unwrap();
        Some(Self { server, name: format!(":{}", number.trim()), folder })
    }

    /// What it shows.
    ///
    /// # Panics
    /// Where it cannot be photographed.
    pub fn picture(&self) -> Picture {
        let file: PathBuf = self.folder.path().join("screen.png");
        let done =
            Command::new("import").args(["-window", "root"]).arg(format!("PNG24:{}", file.display())).env("DISPLAY", &self.name).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{done:?}");
        Picture::read(&file)
    }

    /// Types, points, or asks about windows; what was printed. Empty where it fails, as a search that finds nothing does.
    ///
    /// # Panics
    /// Where it cannot be run.
    pub fn xdotool(&self, arguments: &[&str]) -> String {
        let done = Command::new("xdotool").args(arguments).env("DISPLAY", &self.name).output().unwrap();
        if done.status.success() { String::from_utf8_lossy(&done.stdout).trim().to_owned() } else { String::new() }
    }

    /// The window that is behind all others.
    fn root(&self) -> String {
        self.xdotool(&["search", "--maxdepth", "0", "--name", ".*"]).lines().next().unwrap_or_default().to_owned()
    }

    /// A program on this screen.
    pub fn dress(&self, mut command: Command) -> Command {
        command.env("DISPLAY", &self.name).env("SLINT_BACKEND", "winit-software");
        command
    }

    /// Starts the app with the window of a machine, and gives that window the keyboard.
    ///
    /// # Panics
    /// Where it is not built, or has no window.
    pub fn open(&self, home: &Home, machine: &str) -> App<'_> {
        self.run(home.program("vivarium", [home.bundle(machine)]), machine)
    }

    /// The same on a desktop with loudspeakers.
    ///
    /// # Panics
    /// As [`Self::open`].
    pub fn open_with_sound(&self, home: &Home, machine: &str, speakers: &Speakers) -> App<'_> {
        let mut command = home.program("vivarium", [home.bundle(machine)]);
        let (name, value) = speakers.variable();
        command.env(name, value);
        self.run(command, machine)
    }

    /// Copies text on this screen.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub fn copy(&self, text: &str) {
        let mut command = self.xclip("-i");
        // It stays, for whoever pastes, with what it has inherited.
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(process.wait().unwrap().success());
    }

    /// What can be pasted on this screen.
    ///
    /// # Panics
    /// Where that cannot be found out.
    pub fn pasted(&self) -> String {
        String::from_utf8_lossy(&self.xclip("-o").stdin(Stdio::null()).output().unwrap().stdout).into_owned()
    }

    fn xclip(&self, way: &str) -> Command {
        let mut command = Command::new("xclip");
        command.args([way, "-selection", "clipboard"]).env("DISPLAY", &self.name).stderr(Stdio::null());
        command
    }

    /// Starts the app with the list of machines, where a screen reader can reach it, and gives its window the keyboard.
    ///
    /// # Panics
    /// Where it is not built, or has no window.
    pub fn open_home(&self, home: &Home, tree: &Tree) -> App<'_> {
        let mut command = home.program("vivarium", [""; 0]);
        command.env("DBUS_SESSION_BUS_ADDRESS", &tree.address);
        self.run(command, "Vivarium")
    }

    fn run(&self, command: Command, title: &str) -> App<'_> {
        assert!(programs().join("vivarium").is_file(), "vivarium is not built: run `cargo build --workspace --bins`");
        let process = self.dress(command).env("VIVARIUM_LOG", "desktop=debug").spawn().unwrap();
        let mut app = App { screen: self, process, window: String::new() };
        app.window = app.window(title);
        app.focus();
        app
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The app with one window. It is killed with this.
pub struct App<'s> {
    screen: &'s Screen,
    process: Child,
    /// Its window, as X numbers it.
    pub window: String,
}

impl App<'_> {
    /// Waits until it has a window with this title; as X numbers it.
    ///
    /// # Panics
    /// Where it has none, or ends.
    pub fn window(&mut self, title: &str) -> String {
        let title = format!("^{title}$");
        eventually(&format!("the app has a window {title}"), PATIENCE, || {
            assert!(self.process.try_wait().unwrap().is_none(), "the app has ended");
            let found = self.screen.xdotool(&["search", "--onlyvisible", "--name", &title]);
            found.lines().next().map(str::to_owned)
        })
    }

    /// Brings another of its windows to the front, and gives it the keyboard.
    pub fn turn_to(&mut self, title: &str) {
        self.window = self.window(title);
        self.focus();
    }

    /// Gives its window the keyboard. There is no window manager that would, and a window that is not shown yet cannot have it.
    ///
    /// # Panics
    /// Where it does not get it.
    pub fn focus(&self) {
        eventually("the window has the keyboard", PATIENCE, || {
            self.screen.xdotool(&["windowraise", &self.window, "windowfocus", &self.window]);
            (self.screen.xdotool(&["getwindowfocus"]) == self.window).then_some(())
        });
    }

    /// Writes into the field that has the keyboard, instead of what is there.
    pub fn write(&self, text: &str) {
        self.screen.xdotool(&["key", "ctrl+a", "type", "--delay", "5", text]);
    }

    /// Presses a key.
    pub fn key(&self, key: &str) {
        self.screen.xdotool(&["key", key]);
    }

    /// Takes the keyboard away from its window, as another window would that a person turns to.
    pub fn unfocus(&self) {
        eventually("the window has the keyboard no longer", PATIENCE, || {
            self.screen.xdotool(&["windowfocus", &self.screen.root()]);
            (self.screen.xdotool(&["getwindowfocus"]) != self.window).then_some(())
        });
    }

    /// Drops a file on its window.
    ///
    /// # Panics
    /// Where that takes none.
    pub fn drop_file(&self, file: &Path) {
        drop_file(&self.screen.name, self.window.parse().unwrap(), file).unwrap();
    }

    /// Makes its window another size.
    pub fn resize(&self, width: u32, height: u32) {
        self.screen.xdotool(&["windowsize", &self.window, &width.to_string(), &height.to_string()]);
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for App<'_> {
    fn drop(&mut self) {
        if let (true, Ok(Some(status))) = (std::thread::panicking(), self.process.try_wait()) {
            eprintln!("the app has ended: {status}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
