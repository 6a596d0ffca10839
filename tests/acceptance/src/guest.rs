//! A machine, up to what its guest says and is told.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::{Home, Picture, Ran, eventually};

/// How long an emulated guest may take for anything, beside others on a slow computer.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A machine of a [`Home`].
pub struct Guest<'h> {
    /// Where it lives.
    pub home: &'h Home,
    /// Its name.
    pub name: String,
    prompt: String,
    asked: AtomicU32,
}

impl<'h> Guest<'h> {
    pub(crate) fn new(home: &'h Home, name: &str) -> Self {
        Self { home, name: name.to_owned(), prompt: "guest# ".to_owned(), asked: AtomicU32::new(0) }
    }

    /// A machine that was not made by [`Home::create`].
    pub fn existing(home: &'h Home, name: &str) -> Self {
        Self::new(home, name)
    }

    /// Runs `viv VERB NAME ARGUMENTS`, which must succeed; what it printed.
    pub fn viv(&self, verb: &str, arguments: &[&str]) -> String {
        self.home.ok(&[&[verb, &self.name], arguments].concat())
    }

    /// What `viv status` says.
    pub fn status(&self) -> Value {
        self.home.json(&["status", &self.name])
    }

    /// The state, as a word.
    pub fn state(&self) -> String {
        self.status()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// A process number out of the status.
    ///
    /// # Panics
    /// Where the status has none.
    pub fn pid(&self, of: &str) -> u32 {
        let status = self.status();
        status[of].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_else(|| panic!("no {of} in {status:#}"))
    }

    /// Starts it and waits until it runs.
    ///
    /// # Panics
    /// Where it does not run then.
    pub fn start(&self) {
        self.viv("start", &["--wait"]);
        assert_eq!(self.state(), "running");
    }

    /// Waits until the guest has said something on its console since it was started.
    pub fn hears(&self, text: &str) -> String {
        self.viv("console", &["--until", text, "--timeout", &PATIENCE.as_secs().to_string()])
    }

    /// Whether the guest says something on its console within a few seconds.
    pub fn try_hears(&self, text: &str) -> bool {
        self.home.viv(&["console", &self.name, "--until", text, "--timeout", "5"]).code == 0
    }

    /// Waits for the shell on the console.
    pub fn up(&self) {
        self.hears(&self.prompt);
        // Long commands must not be wrapped: what they print is found by what was typed.
        self.run("stty cols 1000");
    }

    /// Starts it, and the desktop in it.
    ///
    /// # Panics
    /// Where that does not start.
    pub fn up_with_desktop(&self) {
        self.start();
        self.up();
        self.types("/etc/vivarium/desktop", "desktop ready");
        self.run("export DISPLAY=:0");
    }

    /// Types on the first console, and waits for what the guest must then say; all that was seen, the recent output included.
    ///
    /// # Panics
    /// Where the guest does not say it.
    pub fn types(&self, line: &str, until: &str) -> String {
        let patience = PATIENCE.as_secs().to_string();
        let mut command = self.home.command(["console", &self.name, "--until", until, "--timeout", &patience]);
        let mut console = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        console.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        let ran: Ran = console.wait_with_output().unwrap().into();
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.stdout
    }

    /// Types something after which the machine ends, and waits for that.
    ///
    /// # Panics
    /// Where the console is not closed.
    pub fn types_last(&self, line: &str) {
        let mut command = self.home.command(["console", &self.name, "--timeout", &PATIENCE.as_secs().to_string()]);
        let mut console = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        console.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        let ran: Ran = console.wait_with_output().unwrap().into();
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
    }

    /// Runs a command in the guest's shell; its exit code and what it printed.
    ///
    /// # Panics
    /// Where there is no answer.
    pub fn try_run(&self, command: &str) -> (i32, String) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        // What is typed is echoed; only what the shell makes of it ends the wait.
        let typed = format!("{command}; echo \"=$?\"=E''ND{number}=");
        let end = format!("=END{number}=");
        let seen = self.types(&typed, &end);
        let answer = seen.rsplit_once(&end).map_or("", |(before, _)| before);
        let echo = format!("E''ND{number}=");
        let answer = answer.rsplit_once(&echo).map_or(answer, |(_, after)| after);
        let (text, code) = answer.rsplit_once('=').unwrap_or((answer, ""));
        let code = code.trim().parse().unwrap_or_else(|_| panic!("no answer to {command:?} in {seen:?}"));
        (code, text.replace('\r', "").trim().to_owned())
    }

    /// Runs a command in the guest's shell, which must succeed; what it printed.
    ///
    /// # Panics
    /// Where it fails.
    pub fn run(&self, command: &str) -> String {
        let (code, said) = self.try_run(command);
        assert_eq!(code, 0, "in the guest: {command}: {said}");
        said
    }

    /// Waits until the machine is in a state.
    pub fn becomes(&self, state: &str) {
        let what = format!("{} is {state}", self.name);
        eventually(&what, PATIENCE, || (self.state() == state).then_some(()));
    }

    /// How it ended, once it has.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn ending(&self) -> Value {
        // Its supervisor tells of the end before it goes.
        let gone = |status: &Value| status["supervisor_pid"].is_null() && status["backend_pid"].is_null();
        let ended = |status: &Value| (status["state"] == "stopped" || status["state"] == "error") && gone(status);
        let status = eventually("the machine ends", PATIENCE, || Some(self.status()).filter(ended));
        status["last_run"]["ending"].clone()
    }

    /// A picture of its first display.
    ///
    /// # Panics
    /// Where there is none.
    pub fn picture(&self) -> Picture {
        let file = self.picture_file();
        self.viv("screenshot", &[&file.display().to_string()]);
        Picture::read(&file)
    }

    fn picture_file(&self) -> PathBuf {
        self.home.path().join(format!("{}.png", self.name))
    }
}
