//! A person's folders, `viv` in them, and an end for everything that was started there.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guest::Guest;
use crate::guests::{self, Firmware, Guests};

/// A person's folders. With it goes every process that knows of them.
pub struct Home {
    folder: TempDir,
    /// Programs of its own and whose it is, where it is not the tester's.
    other: Option<(PathBuf, u32)>,
    variables: Vec<(String, String)>,
    removed: Vec<String>,
}

/// What a run of `viv` left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The failure as `--json` prints it on standard error.
    ///
    /// # Panics
    /// Where there is none.
    pub fn failure(&self) -> Value {
        let last = self.stderr.find('{').map_or("", |at| &self.stderr[at..]);
        let all: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("no failure in JSON ({error}): {self:?}"));
        all["error"].clone()
    }
}

/// What is installed together.
const PROGRAMS: [&str; 4] = ["viv", "vivarium-supervisor", "vivarium-launch", "vivarium-exchange"];

/// The user and the group that own nothing.
const NOBODY: u32 = 65534;

/// The folder of the built programs: `VIVARIUM_BIN`, or where this test was built.
///
/// # Panics
/// Where they are not built.
pub fn programs() -> PathBuf {
    let folder = match std::env::var_os("VIVARIUM_BIN").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::env::current_exe().expect("the test's own path");
            own.parent().and_then(Path::parent).expect("target/PROFILE/deps").to_path_buf()
        }
    };
    for name in PROGRAMS {
        assert!(folder.join(name).is_file(), "{name} is not built: run `cargo build --workspace --bins`; looked in {}", folder.display());
    }
    folder
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// Folders of a person who has no machine yet.
    ///
    /// # Panics
    /// Where they cannot be made.
    pub fn new() -> Self {
        // Short, because the paths of sockets must be.
        let folder = tempfile::Builder::new().prefix("viv-acceptance-").tempdir_in("/tmp").unwrap();
        let home = Self { folder, other: None, variables: Vec::new(), removed: Vec::new() };
        fs::create_dir(home.path().join("run")).unwrap();
        fs::set_permissions(home.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        home
    }

    /// Folders of an ordinary user: the tester, or where that is root, who may do everything, `nobody`.
    ///
    /// # Panics
    /// Where they cannot be made.
    pub fn of_an_ordinary_user() -> Self {
        let mut home = Self::new();
        if !rustix::process::getuid().is_root() {
            return home;
        }
        // The tester's own may be where nobody else can go.
        let own = home.path().join("bin");
        fs::create_dir(&own).unwrap();
        for name in PROGRAMS {
            fs::copy(programs().join(name), own.join(name)).unwrap();
            fs::set_permissions(own.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for folder in [home.path(), &home.path().join("run")] {
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let cache = home.path().join("cache");
        home.other = Some((own, NOBODY));
        home.with("XDG_CACHE_HOME", cache)
    }

    /// Takes a variable away from every later run of `viv`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.removed.push(name.to_owned());
        self
    }

    /// Sets a variable for every later run of `viv`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.variables.push((name.to_owned(), value.as_ref().display().to_string()));
        self
    }

    /// The folder that holds all the others.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that holds the machines.
    pub fn machines(&self) -> PathBuf {
        self.path().join("machines")
    }

    /// A machine's bundle.
    pub fn bundle(&self, name: &str) -> PathBuf {
        self.machines().join(format!("{name}.utm"))
    }

    /// The image of a machine's only disk.
    ///
    /// # Panics
    /// Where it has none.
    pub fn image(&self, name: &str) -> PathBuf {
        let drives = self.json(&["drive", "list", name]);
        let disk = drives.as_array().and_then(|drives| drives.iter().find(|drive| drive["type"] == "Disk"));
        disk.and_then(|disk| disk["path"].as_str()).unwrap_or_else(|| panic!("{drives:#}")).into()
    }

    /// Where the sockets of running machines are.
    pub fn runtime(&self) -> PathBuf {
        self.machines().join(".state/run")
    }

    /// Installs firmware for an architecture's machines of type `virt`, as a person can without being root.
    ///
    /// # Panics
    /// Where it cannot be written down.
    pub fn install_firmware(&self, architecture: &str, firmware: &Firmware) {
        let folder = self.path().join(".config/qemu/firmware");
        fs::create_dir_all(&folder).unwrap();
        let description = json!({
            "description": "UEFI of a test guest",
            "interface-types": ["uefi"],
            "mapping": {
                "device": "flash",
                "executable": {"filename": firmware.code, "format": "raw"},
                "nvram-template": {"filename": firmware.variables, "format": "raw"},
            },
            "targets": [{"architecture": architecture, "machines": ["virt", "virt-*"]}],
            "features": [],
            "tags": [],
        });
        fs::write(folder.join("60-test.json"), description.to_string()).unwrap();
    }

    /// `viv`, ready to run, without anything of the tester's environment but the path.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.program("viv", arguments)
    }

    /// Another of the built programs, as [`Self::command`].
    pub fn program<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        let programs = programs();
        let mut command = self.person(self.other.as_ref().map_or(&programs, |(own, _)| own).join(name));
        command.args(arguments);
        command
    }

    /// A program of the system's, with the environment of [`Self::command`].
    pub fn other_program(&self, name: &str) -> Command {
        self.person(PathBuf::from(name))
    }

    fn person(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        if let Some((_, user)) = self.other {
            command.uid(user).gid(user);
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("VIVARIUM_HOME", self.machines())
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("XDG_DATA_HOME", self.path().join("data"))
            // What the installed QEMU can do is found out once for all tests.
            .env("XDG_CACHE_HOME", programs().join("acceptance-cache"))
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        for name in &self.removed {
            command.env_remove(name);
        }
        command
    }

    /// Runs `viv` to its end.
    ///
    /// # Panics
    /// Where it cannot be run.
    pub fn viv(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs `viv`, which must succeed; what it printed.
    ///
    /// # Panics
    /// Where it fails, with all that is known.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.viv(arguments);
        assert_eq!(ran.code, 0, "viv {}\n{}\n{}\n{}", arguments.join(" "), ran.stdout, ran.stderr, self.logs());
        ran.stdout
    }

    /// Runs `viv --json`, which must succeed; what it printed.
    ///
    /// # Panics
    /// Where it fails or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("viv {arguments:?}: {error}: {text}"))
    }

    /// Runs `viv --json`, which must fail with this exit code; what it says about it.
    ///
    /// # Panics
    /// Where it ends otherwise.
    pub fn refused(&self, arguments: &[&str], code: i32) -> Value {
        let ran = self.viv(&[&["--json"], arguments].concat());
        assert_eq!(ran.code, code, "viv {arguments:?}: {ran:?}\n{}", self.logs());
        let failure = ran.failure();
        assert!(failure["message"].as_str().is_some_and(|message| !message.is_empty()), "{failure}");
        failure
    }

    /// Makes a machine, and gives it to be driven.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn create<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Guest<'_> {
        let ran: Ran = self.command(["create", name]).args(arguments).output().unwrap().into();
        assert_eq!(ran.code, 0, "viv create {name}: {ran:?}");
        Guest::new(self, name)
    }

    /// A machine whose guest has a desktop with SPICE's agent, or a reason to skip. [`Guest::up_with_desktop`] starts it.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn desktop(&self) -> Option<Guest<'_>> {
        let mut about = Guests::find("x86_64")?;
        let session = guests::desktop()?;
        // The kernel unpacks what is in both.
        let initrd = self.path().join("desktop.gz");
        fs::write(&initrd, [fs::read(&about.initrd).unwrap(), fs::read(session).unwrap()].concat()).unwrap();
        about.initrd = initrd;
        about.memory_mib = 1024;
        let hardware = ["--no-disk", "--network", "none"].map(str::to_owned);
        Some(self.create("Desktop", about.arguments("q35", "").iter().chain(&hardware)))
    }

    /// The ends of all logs, for a failure's message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let folders = fs::read_dir(self.machines().join(".state/logs")).into_iter().flatten().flatten();
        for file in folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten()) {
            let said = String::from_utf8_lossy(&fs::read(file.path()).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
            text.push_str(&format!("--- {}\n{last}\n", file.file_name().display()));
        }
        text
    }

    /// The processes that have this home's path among their arguments or in their environment, or work in it: nothing else has.
    pub fn processes(&self) -> Vec<u32> {
        let needle = self.path().as_os_str().as_encoded_bytes();
        let knows = |file: PathBuf| fs::read(file).is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle));
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers
            .filter(|pid| *pid != std::process::id() && crate::lives(*pid))
            .filter(|pid| {
                // All that QEMU has of it is where it works.
                let works_here = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(self.path()));
                works_here || ["cmdline", "environ"].iter().any(|file| knows(PathBuf::from(format!("/proc/{pid}/{file}"))))
            })
            .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let left = self.processes();
            for pid in &left {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            if left.is_empty() || Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
