//! Looking at the bundles: which there are, what they are, and whether somebody uses them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bundle::{BUNDLE_EXTENSION, Bundle, CONFIGURATION_FILE, Configuration, OpenError, Problem, bundle_id};
use machine::BackendKind;
use supervisor_api::Places;
use uuid::Uuid;

use crate::holder::{self, Holder};
use crate::list_cache::{Entry, ListCache, Stamp};
use crate::machine::{Activity, Condition, Machine, Summary};
use crate::registered::{self, Registered};

/// Fewer bundles than this are not worth a second thread.
const PER_THREAD: usize = 64;
/// Up to so many bundles are quicker asked one by one than by the kernel's list of locks, whose reader waits for every processor: 10 ms and more.
const ASKED: usize = 256;

/// A bundle that may be there.
struct Candidate {
    path: PathBuf,
    registered: Option<Registered>,
}

/// Every machine, sorted by name.
pub(crate) fn list(places: &Places) -> Vec<Machine> {
    let mut candidates: Vec<Candidate> =
        bundles_in(&places.machines).into_iter().map(|path| Candidate { path, registered: None }).collect();
    candidates.extend(registered::read(places).into_iter().map(|entry| Candidate { path: entry.path.clone(), registered: Some(entry) }));

    let cache = ListCache::load(places);
    let users = Users::look(places, candidates.len());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(candidates.len().div_ceil(PER_THREAD)).max(1);
    let share = candidates.len().div_ceil(threads).max(1);
    let looked: Vec<Looked> = if threads == 1 {
        candidates.iter().map(|candidate| look(candidate, &cache, &users)).collect()
    } else {
        std::thread::scope(|scope| {
            let look_at = |part: &[Candidate]| part.iter().map(|candidate| look(candidate, &cache, &users)).collect::<Vec<_>>();
            let workers: Vec<_> = candidates.chunks(share).map(|part| scope.spawn(move || look_at(part))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        })
    };

    let fresh = looked.iter().any(|looked| looked.fresh);
    let remembered = looked.iter().filter(|looked| looked.entry.is_some()).count();
    let mut machines = Vec::with_capacity(looked.len());
    let mut entries = HashMap::new();
    let (mut paths, mut ids) = (HashSet::new(), HashSet::new());
    for Looked { machine, entry, .. } in looked {
        // The same bundle under two names: a registered one that lies in the library's folder, or behind a link.
        let known = !paths.insert(machine.path.clone()) || !machine.id.is_empty() && !ids.insert(machine.id.clone());
        if known && machine.registered {
            continue;
        }
        if let Some(entry) = entry {
            entries.insert(machine.path.clone(), entry);
        }
        machines.push(machine);
    }
    if fresh || remembered != cache.len() {
        ListCache::store(places, entries);
    }
    mark_duplicates(&mut machines);
    machines.sort_by_cached_key(|machine| (machine.name.to_lowercase(), machine.path.clone()));
    machines
}

/// The machine in the bundle at `path`, whatever is there.
pub(crate) fn one(places: &Places, path: &Path) -> Machine {
    let registered = registered::read(places).into_iter().find(|entry| entry.path == path);
    let candidate = Candidate { path: path.to_path_buf(), registered };
    look(&candidate, &ListCache::default(), &Users::look(places, 1)).machine
}

/// The folders directly in `folder` that are called like bundles.
pub(crate) fn bundles_in(folder: &Path) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %folder.display(), %error, "cannot read the folder of the machines");
            }
            return Vec::new();
        }
    };
    let is_bundle = |entry: &fs::DirEntry| {
        let kind = entry.file_type();
        is_bundle_name(&entry.path()) && kind.is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && entry.path().is_dir())
    };
    entries.filter_map(Result::ok).filter(is_bundle).map(|entry| entry.path()).collect()
}

/// Whether it is called like a bundle, and not hidden.
pub(crate) fn is_bundle_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(BUNDLE_EXTENSION))
}

struct Looked {
    machine: Machine,
    entry: Option<Entry>,
    fresh: bool,
}

fn look(candidate: &Candidate, cache: &ListCache, users: &Users) -> Looked {
    let path = &candidate.path;
    let known = candidate.registered.as_ref();
    let fallback = || known.map(|entry| entry.name.clone()).filter(|name| !name.is_empty()).unwrap_or_else(|| stem(path));
    let machine = |id: &str, name: String, uuid: Option<Uuid>, condition: Condition, activity: Activity| Machine {
        name,
        uuid,
        path: path.clone(),
        id: id.to_owned(),
        registered: known.is_some(),
        condition,
        activity,
        duplicate_of: None,
    };
    let unavailable = |missing: bool, why: String| {
        machine("", fallback(), known.and_then(|entry| entry.uuid), Condition::Unavailable { missing, why }, Activity::Stopped)
    };
    let no_folder = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => unavailable(true, "its bundle is not there".to_owned()),
        _ => unavailable(false, error.to_string()),
    };
    let folder = match fs::metadata(path) {
        Ok(folder) if folder.is_dir() => folder,
        Ok(_) => return Looked { machine: no_folder(&io::ErrorKind::NotADirectory.into()), entry: None, fresh: false },
        Err(error) => return Looked { machine: no_folder(&error), entry: None, fresh: false },
    };
    // A configuration behind a link may change without the link changing; such a bundle is read each time.
    let configuration = fs::symlink_metadata(path.join(CONFIGURATION_FILE)).ok().filter(fs::Metadata::is_file);
    let stamp = configuration.map(|configuration| Stamp::of(&folder, &configuration));
    if let Some(entry) = cache.get(path)
        && Some(entry.stamp) == stamp
        && let Some(condition) = entry.condition()
    {
        let activity = users.activity(path, &folder, &entry.id);
        let machine = machine(&entry.id, entry.name.clone(), entry.uuid, condition, activity);
        return Looked { machine, entry: Some(entry.clone()), fresh: false };
    }
    let id = match bundle_id(path) {
        Ok(id) => id,
        Err(error) => return Looked { machine: no_folder(&error), entry: None, fresh: false },
    };
    let (name, uuid, condition) = match Bundle::open(path) {
        Ok(bundle) => {
            let summary = summary(&bundle.configuration, bundle.problems);
            (bundle.configuration.name().to_owned(), Some(bundle.configuration.uuid()), Condition::Usable(summary))
        }
        Err(error) => match refused(error) {
            Ok(problems) => (fallback(), known.and_then(|entry| entry.uuid), Condition::Broken(problems)),
            Err(error) => {
                let machine = unavailable(false, format!("{CONFIGURATION_FILE} cannot be read: {error}"));
                return Looked { machine, entry: None, fresh: false };
            }
        },
    };
    let entry = stamp.and_then(|stamp| Entry::new(stamp, &id, &name, uuid, &condition));
    let activity = users.activity(path, &folder, &id);
    Looked { machine: machine(&id, name, uuid, condition, activity), fresh: entry.is_some(), entry }
}

/// What is wrong with a bundle that could not be opened, or the error that has nothing to do with what is in it.
fn refused(error: OpenError) -> Result<Vec<Problem>, io::Error> {
    match error {
        OpenError::Refused { source, .. } => Ok(source.problems),
        OpenError::Io { source, .. } => Err(source),
        OpenError::Unreadable(bundle::FileError::Io { source, .. }) => Err(source),
        OpenError::NoConfiguration(_) => Ok(vec![Problem::fatal("", "The bundle has no config.plist")]),
        other => Ok(vec![Problem::fatal("", other.to_string())]),
    }
}

fn summary(configuration: &Configuration, problems: Vec<Problem>) -> Summary {
    let (backend, target, memory_mib, cpu_count) = match configuration {
        Configuration::Qemu(qemu) => (BackendKind::Qemu, qemu.system.target.clone(), qemu.system.memory_size, qemu.system.cpu_count),
        Configuration::Apple(apple) => (BackendKind::Native, String::new(), apple.system.memory_size, apple.system.cpu_count),
    };
    let information = configuration.information();
    Summary {
        backend,
        architecture: configuration.architecture(),
        target,
        memory_mib,
        cpu_count,
        icon: information.icon.clone(),
        icon_custom: information.icon_custom,
        problems,
    }
}

/// The bundle's file name without `.utm`.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Of several machines with one UUID, all but the first point to the first; the library's own come first.
fn mark_duplicates(machines: &mut [Machine]) {
    let mut order: Vec<usize> = (0..machines.len()).collect();
    order.sort_by(|a, b| {
        let key = |index: &usize| machines.get(*index).map(|machine| (machine.registered, machine.id.is_empty(), &machine.path));
        key(a).cmp(&key(b))
    });
    let mut first: HashMap<Uuid, PathBuf> = HashMap::with_capacity(machines.len());
    for index in order {
        if let Some(machine) = machines.get_mut(index)
            && let Some(uuid) = machine.uuid
        {
            match first.get(&uuid) {
                Some(path) => machine.duplicate_of = Some(path.clone()),
                None => drop(first.insert(uuid, machine.path.clone())),
            }
        }
    }
}

/// Who might use a bundle: of many found out for all of them at once, without touching their locks.
struct Users {
    runtime: PathBuf,
    /// Identifiers that have a folder of sockets.
    ids: HashSet<String>,
    /// Inodes that somebody has locked; `None` where the system does not tell, or was not asked.
    inodes: Option<HashSet<u64>>,
}

impl Users {
    fn look(places: &Places, bundles: usize) -> Self {
        let entries = fs::read_dir(&places.runtime).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let locks = if bundles > ASKED { fs::read_to_string("/proc/locks").ok() } else { None };
        let inodes = locks.map(|text| text.lines().filter_map(locked_inode).collect());
        Self { runtime: places.runtime.clone(), ids, inodes }
    }

    fn activity(&self, path: &Path, folder: &fs::Metadata, id: &str) -> Activity {
        let suspected = self.ids.contains(id) || self.inodes.as_ref().is_none_or(|inodes| inodes.contains(&folder.ino()));
        if !suspected || !Bundle::is_locked(path).unwrap_or(false) {
            return Activity::Stopped;
        }
        use_of(path, &self.runtime.join(id)).0
    }
}

/// What a bundle whose lock is held is used for: its folder of sockets tells, or else what kind of program holds it, which is then given too. A
/// record of the machine alone says nothing, for it may be of an earlier boot.
pub(crate) fn use_of(bundle: &Path, runtime: &Path) -> (Activity, Option<Holder>) {
    if std::os::unix::net::UnixStream::connect(runtime.join("api.sock")).is_ok() {
        return (Activity::Running, None);
    }
    let holder = holder::find(bundle);
    let runs = holder.as_ref().is_some_and(Holder::is_machine);
    (if runs { Activity::Running } else { Activity::Busy }, holder)
}

/// The inode of a `flock` in a line of `/proc/locks` (proc_locks(5)): `1: FLOCK ADVISORY WRITE 123 08:02:4711 0 EOF`. The device is left
/// out: on btrfs it is another one than `stat` says.
fn locked_inode(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    fields.find(|field| *field == "FLOCK")?;
    fields.nth(3)?.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flocks_are_found_in_the_kernels_list() {
        assert_eq!(locked_inode("1: FLOCK  ADVISORY  WRITE 1234 08:02:4711 0 EOF"), Some(4711));
        assert_eq!(locked_inode("2: POSIX  ADVISORY  WRITE 1234 08:02:4711 0 EOF"), None);
        assert_eq!(locked_inode("3: -> FLOCK  ADVISORY  WRITE 1 00:2e:9 0 EOF"), Some(9));
        assert_eq!(locked_inode(""), None);
    }

    #[test]
    fn hidden_and_other_names_are_no_bundles() {
        assert!(is_bundle_name(Path::new("/a/b.utm")));
        assert!(!is_bundle_name(Path::new("/a/.b.utm")) && !is_bundle_name(Path::new("/a/.utm")) && !is_bundle_name(Path::new("/a/b")));
    }
}
