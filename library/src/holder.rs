//! Who holds a bundle's lock, where nobody answers for it.
//!
//! `/proc/locks` names only who took a lock, which is the supervisor, dead or not. The descriptors that hold it are found through each
//! process's own: `/proc/PID/fd` and `/proc/PID/fdinfo`, proc_pid_fdinfo(5).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process of this user that holds a bundle's lock.
#[derive(Debug)]
pub(crate) struct Holder {
    process: sandbox::Process,
    program: String,
}

impl Holder {
    /// Whether it is a machine: whoever changes a bundle holds its lock too.
    pub fn is_machine(&self) -> bool {
        // NixOS hides the program behind a wrapper: `.qemu-system-x86_64-wrapped`.
        let name = self.program.trim_start_matches('.');
        name.starts_with("qemu-system-") || name.starts_with("qemu-kvm")
    }

    /// Sends it a signal. It cannot be mistaken for another process that has got its number meanwhile.
    pub fn signal(&self, signal: sandbox::Signal) -> std::io::Result<()> {
        self.process.signal(signal)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.process.pid(), self.program)
    }
}

/// Who holds the lock of the bundle at `path`, a machine first. None where it belongs to somebody else, or is on another computer.
pub(crate) fn find(path: &Path) -> Option<Holder> {
    let bundle = fs::metadata(path).ok()?;
    let own = rustix::process::getuid().as_raw();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let mut found: Option<Holder> = None;
    for (pid, folder) in numbers {
        if fs::metadata(&folder).map(|data| data.uid()).ok() != Some(own) {
            continue;
        }
        // Opened before it is looked at: if it lives afterwards, what was seen is its own.
        let Ok(Some(process)) = sandbox::Process::adopt(pid) else { continue };
        if !holds(&folder, &bundle) {
            continue;
        }
        let program = fs::read_link(folder.join("exe")).ok();
        let name = program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let holder = Holder { process, program: name.trim_end_matches(" (deleted)").to_owned() };
        if !holder.process.is_alive().unwrap_or(false) {
            continue;
        }
        if holder.is_machine() {
            return Some(holder);
        }
        found.get_or_insert(holder);
    }
    found
}

/// Whether one of the process's descriptors is of the bundle's folder and locked.
fn holds(process: &Path, bundle: &fs::Metadata) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.into_iter().any(|descriptor| {
        let same = fs::metadata(descriptor.path()).is_ok_and(|file| (file.dev(), file.ino()) == (bundle.dev(), bundle.ino()));
        let info = || fs::read_to_string(process.join("fdinfo").join(descriptor.file_name())).unwrap_or_default();
        same && info().lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK") && line.contains("WRITE"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_machine_among_the_holders_is_found_and_only_it_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("a.utm");
        fs::create_dir(&bundle).unwrap();
        assert!(find(&bundle).is_none());
        let lock = bundle::BundleLock::acquire(&bundle).unwrap();
        // Open is not locked.
        let program = folder.path().join("qemu-system-test");
        fs::copy("/bin/sleep", &program).unwrap();
        let start = |stdin: Stdio| Command::new(&program).arg("1000").stdin(stdin).spawn().unwrap();
        let mut onlooker = start(fs::File::open(&bundle).unwrap().into());
        let own = find(&bundle).unwrap();
        assert!(own.to_string().contains(&std::process::id().to_string()) && !own.is_machine(), "{own}");
        let mut machine = start(lock.try_clone().unwrap().into());
        let found = find(&bundle).unwrap();
        assert!(found.is_machine());
        assert_eq!(found.to_string(), format!("process {} (qemu-system-test)", machine.id()));
        drop(lock);
        assert!(bundle::BundleLock::is_held(&bundle).unwrap());
        find(&bundle).unwrap().signal(sandbox::Signal::KILL).unwrap();
        machine.wait().unwrap();
        assert!(find(&bundle).is_none());
        onlooker.kill().unwrap();
        onlooker.wait().unwrap();
    }
}
