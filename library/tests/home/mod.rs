//! A library in a temporary folder, and a second process to do things in.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use library::{CreateSpec, DiskSpec, Job, Library, Made};
use supervisor_api::Places;

/// A person's folders. They go with it.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub library: Library,
}

impl Home {
    pub fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    /// In memory where that is possible: for what makes very many files.
    pub fn in_memory() -> Self {
        Self::below(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn below(folder: tempfile::TempDir) -> Self {
        let library = open(folder.path());
        Self { folder, library }
    }

    pub fn machines(&self) -> PathBuf {
        self.library.places().machines.clone()
    }

    /// Another folder beside the library.
    pub fn elsewhere(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Makes a machine with one raw disk that holds some data.
    pub async fn machine(&self, name: &str) -> Made {
        let made = self.library.create(spec(name), &Job::silent()).await.unwrap();
        let disk = self.library.drives(&made.machine).unwrap().remove(0).path.unwrap();
        let mut content = vec![7_u8; 3 << 20];
        content.extend_from_slice(name.as_bytes());
        use std::os::unix::fs::FileExt;
        std::fs::File::options().write(true).open(disk).unwrap().write_all_at(&content, 1 << 20).unwrap();
        made
    }

    /// Everything in the machines' folder, hidden things included.
    pub fn entries(&self) -> Vec<String> {
        names(&self.machines())
    }
}

pub fn open(folder: &Path) -> Library {
    Library::open(places(folder)).unwrap().without_supervisor()
}

pub fn places(folder: &Path) -> Places {
    Places { machines: folder.join("machines"), state: folder.join("state"), cache: folder.join("cache"), runtime: folder.join("run") }
}

/// A small machine that needs no program to be made.
pub fn spec(name: &str) -> CreateSpec {
    let disk = DiskSpec { format: Some(library::DiskFormat::Raw), ..DiskSpec::of_size(16 << 20) };
    CreateSpec { name: Some(name.to_owned()), disks: Some(vec![disk]), ..CreateSpec::default() }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether qemu-img is there, with what confines it; says so where it is not.
pub fn has_qemu_img() -> bool {
    match disk_image::QemuImg::find(sandbox::Requirement::BestEffort) {
        Ok(_) => true,
        Err(disk_image::QemuImgError::NotFound(_)) => {
            eprintln!("skipped: qemu-img is not installed");
            false
        }
        Err(error) => panic!("{error}; `cargo build --package sandbox` makes it"),
    }
}

/// Runs the test `name` of this binary in a process of its own, with `variables`. The test does nothing where they are missing.
pub fn process(name: &str, variables: &[(&str, &Path)]) -> Child {
    configured(Command::new(std::env::current_exe().unwrap()), name, variables)
}

/// The same with files limited to `blocks` of 512 bytes: what is longer fails as on a full disk.
pub fn limited_process(blocks: u64, name: &str, variables: &[(&str, &Path)]) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
    configured(shell, name, variables)
}

fn configured(mut command: Command, name: &str, variables: &[(&str, &Path)]) -> Child {
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).stdin(Stdio::null()).stdout(Stdio::piped());
    for (key, value) in variables {
        command.env(key, value);
    }
    command.spawn().unwrap()
}

/// A variable that [`process`] set.
pub fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
