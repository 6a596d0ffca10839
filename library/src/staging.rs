//! What is being made: a hidden folder or file beside its destination, locked by its maker, renamed at the end.
//!
//! Whoever opens the library removes those whose lock is free, for their maker is dead. Those outside the library's own folder are found
//! again by a note in the state folder.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bundle::bundle_id;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use supervisor_api::Places;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result, files, registered, scan};

/// What is between the final name and the random end.
const MARK: &str = ".part-";

/// A folder or file that is being made. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    note: Option<PathBuf>,
    lock: Option<OwnedFd>,
}

/// Holds what has just been made, so that nobody starts or changes it before its maker is done.
#[derive(Debug)]
pub(crate) struct Published {
    _lock: Option<OwnedFd>,
}

impl Part {
    /// A folder in `parent` that is to become `file_name`.
    pub fn folder(places: &Places, parent: &Path, file_name: &str) -> Result<Self> {
        Self::make(places, parent, file_name, |path| fs::DirBuilder::new().mode(0o777).create(path))
    }

    /// A file in `parent` that is to become `file_name`.
    pub fn file(places: &Places, parent: &Path, file_name: &str) -> Result<Self> {
        Self::make(places, parent, file_name, |path| fs::File::create_new(path).map(drop))
    }

    fn make(places: &Places, parent: &Path, file_name: &str, create: impl Fn(&Path) -> io::Result<()>) -> Result<Self> {
        let failed = |source| Error::io(format!("Cannot write to {}", parent.display()), source);
        loop {
            let path = part_path(parent, file_name);
            let note = if parent == places.machines { None } else { Some(write_note(places, &path).map_err(failed)?) };
            // From here on, dropping it cleans up.
            let mut part = Self { path, note, lock: None };
            create(&part.path).map_err(failed)?;
            // Somebody who clears away may have come between; then there is nothing to lock or what is locked has no name any more.
            match lock(&part.path) {
                Ok(Some(lock)) if rustix::fs::fstat(&lock).is_ok_and(|stat| same_file(&part.path, &stat)) => {
                    part.lock = Some(lock);
                    return Ok(part);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Where it is while it is being made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, which nothing may have. It is locked as long as what is returned lives.
    pub fn publish(mut self, destination: &Path) -> Result<Published> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                Error::new(ErrorKind::Exists, format!("Already exists: {}", destination.display())).with_hint("Choose another name")
            }
            _ => Error::io(format!("Cannot make {}", destination.display()), source),
        };
        sync_tree(&self.path).map_err(failed)?;
        atomic_file::rename_new(&self.path, destination).map_err(failed)?;
        // It has its own name now; there is nothing temporary left to remove.
        self.path = PathBuf::new();
        if let Some(folder) = destination.parent() {
            atomic_file::sync_folder(folder).map_err(failed)?;
        }
        Ok(Published { _lock: self.lock.take() })
    }

    /// Gives it the name of what is there, which is removed: at each moment, also after a crash, the name leads to one of them, whole. What is
    /// there must be of the same kind, and a folder locked by the caller.
    pub fn replace(mut self, destination: &Path) -> Result<()> {
        let failed = |source: io::Error| Error::io(format!("Cannot replace {}", destination.display()), source);
        sync_tree(&self.path).map_err(failed)?;
        if destination.is_dir() {
            // What was there then has the temporary name, and goes with it.
            files::exchange(&self.path, destination).map_err(failed)?;
        } else {
            fs::rename(&self.path, destination).map_err(failed)?;
            self.path = PathBuf::new();
        }
        atomic_file::sync_folder(destination.parent().unwrap_or(Path::new("/"))).map_err(failed)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty()
            && let Err(error) = files::remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove what was being made");
            return;
        }
        if let Some(note) = &self.note {
            let _ = fs::remove_file(note);
        }
    }
}

/// Moves a folder aside, under a name by which it is removed even if this process dies while it does so. It must be locked by the caller.
pub(crate) fn discard(places: &Places, path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = part_path(parent, &name);
    let note = if parent == places.machines { None } else { Some(write_note(places, &aside)?) };
    let removed = fs::rename(path, &aside).and_then(|()| files::remove(&aside));
    if aside.symlink_metadata().is_err()
        && let Some(note) = note
    {
        let _ = fs::remove_file(note);
    }
    removed
}

/// Removes what dead processes left.
pub(crate) fn clear_away(places: &Places) {
    for entry in fs::read_dir(&places.machines).into_iter().flatten().flatten() {
        if is_part(&entry.path()) {
            remove_if_dead(&entry.path());
        }
    }
    for entry in fs::read_dir(notes(places)).into_iter().flatten().flatten() {
        let note = entry.path();
        let Some(path) = read_note(&note) else { continue };
        if is_part(&path) {
            remove_if_dead(&path);
        }
        // A note is written before its folder is made, so one without a folder may be new; those of today are left alone.
        if path.symlink_metadata().is_err() && is_old(&note) {
            let _ = fs::remove_file(&note);
        }
    }
    clear_disposable(places);
}

/// Removes what a disposable run wrote whose supervisor and backend were both killed: nobody holds its bundle's lock.
fn clear_disposable(places: &Places) {
    let left: HashSet<String> = fs::read_dir(places.disposable())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    if left.is_empty() {
        return;
    }
    let registered = registered::read(places).into_iter().map(|entry| entry.path);
    for bundle in scan::bundles_in(&places.machines).into_iter().chain(registered) {
        // Locked while it is removed, so that no new run comes in between.
        if let Ok(id) = bundle_id(&bundle)
            && left.contains(&id)
            && let Ok(Some(_lock)) = bundle.canonicalize().and_then(|bundle| lock(&bundle))
            && let Err(error) = files::remove(&places.disposable().join(&id))
        {
            tracing::warn!(path = %bundle.display(), %error, "cannot remove what a disposable run left");
        }
    }
}

fn remove_if_dead(path: &Path) {
    if let Ok(Some(_lock)) = lock(path)
        && let Err(error) = files::remove(path)
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove what a dead process left");
    }
}

fn part_path(parent: &Path, file_name: &str) -> PathBuf {
    let random = Uuid::new_v4().simple().to_string();
    let end = (0..=200.min(file_name.len())).rev().find(|end| file_name.is_char_boundary(*end));
    let short = file_name.get(..end.unwrap_or(0)).unwrap_or_default();
    parent.join(format!(".{}{MARK}{}", short.trim_start_matches('.'), random.get(..12).unwrap_or_default()))
}

fn is_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let random = name.rsplit_once(MARK).map(|(_, random)| random);
    name.starts_with('.') && random.is_some_and(|random| random.len() == 12 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Where something is, as a person knows it: what is being made has no name of its own yet.
pub(crate) fn place_of(path: &Path) -> &Path {
    path.ancestors().find(|path| is_part(path)).and_then(Path::parent).unwrap_or(path)
}

/// Takes the lock without waiting; `None` where somebody has it.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty())?;
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(opened)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn same_file(path: &Path, stat: &rustix::fs::Stat) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.dev() == stat.st_dev && data.ino() == stat.st_ino)
}

fn notes(places: &Places) -> PathBuf {
    places.state.join("parts")
}

fn write_note(places: &Places, path: &Path) -> io::Result<PathBuf> {
    let folder = notes(places);
    fs::create_dir_all(&folder)?;
    let note = folder.join(Uuid::new_v4().simple().to_string());
    let text = path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
    atomic_file::write(&note, text.as_bytes())?;
    Ok(note)
}

fn read_note(note: &Path) -> Option<PathBuf> {
    let data = fs::symlink_metadata(note).ok()?;
    if !data.is_file() || data.len() > 8192 {
        return None;
    }
    let path = PathBuf::from(fs::read_to_string(note).ok()?);
    path.is_absolute().then_some(path)
}

fn is_old(note: &Path) -> bool {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
    let modified = fs::metadata(note).and_then(|data| data.modified()).ok();
    modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > DAY)
}

/// Flushes what was made, so that a name never leads to content that is not there after a power cut.
fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(path).follow_links(false).contents_first(true) {
        let entry = entry?;
        if entry.file_type().is_dir() {
            atomic_file::sync_folder(entry.path())?;
        } else if entry.file_type().is_file() {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let places = Places { machines: below("machines"), state: below("state"), cache: below("cache"), runtime: below("runtime") };
        (folder, places)
    }

    #[test]
    fn a_dropped_part_leaves_nothing() {
        let (_folder, places) = places();
        let part = Part::folder(&places, &places.machines, "A.utm").unwrap();
        fs::write(part.path().join("x"), "x").unwrap();
        drop(part);
        assert_eq!(fs::read_dir(&places.machines).unwrap().count(), 0);
    }

    #[test]
    fn a_living_makers_part_stays_and_a_dead_ones_goes() {
        let (_folder, places) = places();
        let alive = Part::folder(&places, &places.machines, "A.utm").unwrap();
        let dead = part_path(&places.machines, "B.utm");
        fs::create_dir(&dead).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let dead_elsewhere = part_path(elsewhere.path(), "C.utm");
        fs::create_dir(&dead_elsewhere).unwrap();
        write_note(&places, &dead_elsewhere).unwrap();
        fs::create_dir(places.machines.join("D.utm")).unwrap();
        clear_away(&places);
        assert!(alive.path().exists() && places.machines.join("D.utm").exists());
        assert!(!dead.exists() && !dead_elsewhere.exists());
    }

    #[test]
    fn a_note_that_names_something_else_removes_nothing() {
        let (_folder, places) = places();
        let precious = tempfile::tempdir().unwrap();
        write_note(&places, precious.path()).unwrap();
        clear_away(&places);
        assert!(precious.path().exists());
    }

    #[test]
    fn what_a_disposable_run_left_goes_unless_it_still_runs() {
        let (_folder, places) = places();
        let left = |name: &str| {
            let bundle = places.machines.join(name);
            fs::create_dir(&bundle).unwrap();
            let overlay = places.disposable().join(bundle_id(&bundle).unwrap()).join("disk.qcow2");
            files::remove(overlay.parent().unwrap()).unwrap();
            fs::create_dir_all(overlay.parent().unwrap()).unwrap();
            fs::write(&overlay, "").unwrap();
            (bundle, overlay)
        };
        let ((_, dead), (running, used)) = (left("Dead.utm"), left("Running.utm"));
        let unknown = places.disposable().join("0123456789abcdef");
        fs::create_dir(&unknown).unwrap();
        let held = lock(&running).unwrap().unwrap();
        clear_away(&places);
        assert!(!dead.exists() && used.exists() && unknown.exists());
        drop(held);
        clear_away(&places);
        assert!(!used.exists());
    }

    #[test]
    fn publishing_never_replaces() {
        let (_folder, places) = places();
        fs::create_dir(places.machines.join("A.utm")).unwrap();
        let part = Part::folder(&places, &places.machines, "A.utm").unwrap();
        assert_eq!(part.publish(&places.machines.join("A.utm")).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(fs::read_dir(&places.machines).unwrap().count(), 1);
    }

    #[test]
    fn what_replaces_takes_the_name_and_leaves_nothing() {
        let (_folder, places) = places();
        let at = |name: &str| places.machines.join(name);
        fs::create_dir(at("A.utm")).unwrap();
        fs::write(at("A.utm").join("old"), "").unwrap();
        let part = Part::folder(&places, &places.machines, "A.utm").unwrap();
        fs::write(part.path().join("new"), "").unwrap();
        part.replace(&at("A.utm")).unwrap();
        assert!(at("A.utm").join("new").exists() && !at("A.utm").join("old").exists());
        fs::write(at("a.zip"), "old").unwrap();
        let part = Part::file(&places, &places.machines, "a.zip").unwrap();
        fs::write(part.path(), "new").unwrap();
        part.replace(&at("a.zip")).unwrap();
        assert_eq!(fs::read(at("a.zip")).unwrap(), b"new");
        assert_eq!(fs::read_dir(&places.machines).unwrap().count(), 2);
    }

    #[test]
    fn what_is_being_made_is_known_by_the_folder_that_it_will_be_in() {
        let (_folder, places) = places();
        let part = Part::folder(&places, &places.machines, "A.utm").unwrap();
        assert_eq!(place_of(&part.path().join("Data/disk.qcow2")), places.machines);
        assert_eq!(place_of(&places.machines.join("A.utm")), places.machines.join("A.utm"));
    }

    #[test]
    fn long_names_fit() {
        let (_folder, places) = places();
        let part = Part::folder(&places, &places.machines, &"é".repeat(125)).unwrap();
        assert!(is_part(part.path()));
    }
}
