//! Logs: kept over runs, bounded while running.
//!
//! Each program appends to `NAME.log` (opened with `O_APPEND`, so that cutting it from outside is safe). A start moves the last run's to
//! `NAME.log.1`, and so on. While the machine runs, a log that has grown over [`LIMIT`] is copied aside and cut; a watch tells when to
//! look, so nothing wakes up while nobody writes.

use rustix::fs::inotify;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// Size over which a log is cut, in bytes.
pub const LIMIT: u64 = 4 << 20;
/// Runs that are kept besides the present one.
const KEPT: usize = 3;

/// The supervisor's own log, which whoever starts it has opened already: it goes on over runs and is cut when it has grown.
pub const OWN: &str = "supervisor.log";

/// Moves the logs of the last run aside, but for [`OWN`].
///
/// # Errors
/// Where the folder cannot be made or read. A log that cannot be moved is appended to.
pub fn rotate(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in names(folder)?.iter().filter(|name| *name != OWN) {
        shift(folder, name);
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.ends_with(".log")).collect())
}

fn shift(folder: &Path, name: &str) {
    let numbered = |number: usize| match number {
        0 => folder.join(name),
        _ => folder.join(format!("{name}.{number}")),
    };
    for number in (0..KEPT).rev() {
        let _ = fs::rename(numbered(number), numbered(number + 1));
    }
}

/// The end of a log, at most `length` bytes.
pub fn tail(path: &Path, length: u64) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// Keeps the logs in a folder below [`LIMIT`], in a thread that sleeps while nobody writes and ends with the folder.
///
/// # Errors
/// Where the folder cannot be watched.
pub fn keep_bounded(folder: &Path) -> io::Result<()> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, folder, inotify::WatchFlags::MODIFY | inotify::WatchFlags::ONLYDIR)?;
    let folder = folder.to_path_buf();
    std::thread::Builder::new().name("logs".into()).spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut changes = inotify::Reader::new(&watch, &mut buffer);
        while let Ok(change) = changes.next() {
            if change.events().contains(inotify::ReadFlags::IGNORED) {
                break;
            }
            if changes.is_buffer_empty() {
                cut_large(&folder);
            }
        }
    })?;
    Ok(())
}

fn cut_large(folder: &Path) {
    for name in names(folder).unwrap_or_default() {
        let path = folder.join(&name);
        if fs::metadata(&path).is_ok_and(|data| data.len() > LIMIT)
            && let Err(error) = cut(&path)
        {
            tracing::warn!(%error, path = %path.display(), "Cannot cut a log that has grown large");
        }
    }
}

/// Copies a log to `NAME.log.1` and empties it. Between the two, lines can be lost; the writer is never disturbed.
fn cut(path: &Path) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".1");
    fs::copy(path, PathBuf::from(aside))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn three_old_runs_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..6 {
            rotate(folder.path()).unwrap();
            fs::write(folder.path().join("backend.log"), format!("run {run}")).unwrap();
            fs::write(folder.path().join(OWN), format!("run {run}")).unwrap();
        }
        assert!(!folder.path().join("supervisor.log.1").exists());
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        assert_eq!(read("backend.log"), "run 5");
        assert_eq!(read("backend.log.1"), "run 4");
        assert_eq!(read("backend.log.3"), "run 2");
        assert_eq!(read("backend.log.4"), "");
    }

    #[test]
    fn a_log_that_grows_is_cut_and_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backend.log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        keep_bounded(folder.path()).unwrap();
        writer.write_all(&vec![b'a'; LIMIT as usize + 1]).unwrap();
        let aside = folder.path().join("backend.log.1");
        while fs::metadata(&path).unwrap().len() > 0 {
            std::thread::yield_now();
        }
        writer.write_all(b"and on").unwrap();
        assert_eq!(fs::metadata(aside).unwrap().len(), LIMIT + 1);
        assert_eq!(fs::read(&path).unwrap(), b"and on");
    }

    #[test]
    fn the_tail_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(tail(&path, 3), b"789");
        assert_eq!(tail(&folder.path().join("none"), 3), b"");
    }
}
