//! What happens to the machines, as a stream.
//!
//! Nothing polls. The system tells when a folder changes (inotify), when something is mounted (`/proc/self/mountinfo`), and when a bundle's
//! lock is given back (a thread that waits for it); a supervisor tells its machine's states. Each of them only says that it is time to look
//! again: what is reported is the difference between two looks.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bundle::CONFIGURATION_FILE;
use machine::{Event, State};
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::PipeFlags;
use supervisor_api::wire::StreamItem;
use supervisor_api::{Client, Places};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, JoinSet};

use crate::library::blocking;
use crate::{Activity, Error, ErrorKind, Library, Machine, Result, registered};

/// How long to wait for more changes after the first: a save is several.
const SETTLE: Duration = Duration::from_millis(50);

/// Something that happened to a machine of the library.
#[derive(Debug, Clone, PartialEq)]
pub enum LibraryEvent {
    /// It is new in the list.
    MachineAdded(Machine),
    /// It is no longer in the list.
    MachineRemoved {
        /// Where it was.
        path: PathBuf,
        /// What it was called.
        name: String,
    },
    /// Its configuration, its condition or its being available changed. A renamed bundle is removed and added.
    MachineChanged(Machine),
    /// It started, stopped, or its state changed. The states of machines that run already are told first.
    StateChanged {
        /// Its bundle.
        path: PathBuf,
        /// The state now.
        state: State,
    },
}

/// The events from the moment of subscription. Ends never; dropping it ends the watching.
#[derive(Debug)]
pub struct Watch {
    receiver: Receiver<LibraryEvent>,
    task: JoinHandle<()>,
}

impl Watch {
    /// The next event; `None` where watching has become impossible.
    pub async fn next(&mut self) -> Option<LibraryEvent> {
        self.receiver.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Library {
    /// Watches the library's folder, the registered bundles and the running machines, without polling. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where the system's watches are used up.
    pub fn watch(&self) -> Result<Watch> {
        let (hint, hints) = channel(1);
        let folders = Folders::new(self.places(), hint.clone())?;
        let (sender, receiver) = channel(256);
        let mut watcher = Watcher {
            library: self.clone(),
            folders,
            hint,
            sender,
            known: HashMap::new(),
            states: HashMap::new(),
            followers: JoinSet::new(),
            followed: HashSet::new(),
            awaited: HashSet::new(),
        };
        // What is there now is the baseline; it is looked at before this returns, so that no change after that is missed.
        let machines = self.machines();
        watcher.folders.update(self.places(), &machines, true)?;
        watcher.known = machines.into_iter().map(|machine| (machine.path.clone(), machine)).collect();
        let task = tokio::spawn(watcher.run(hints));
        Ok(Watch { receiver, task })
    }
}

/// The task behind a [`Watch`].
struct Watcher {
    library: Library,
    folders: Folders,
    hint: Sender<()>,
    sender: Sender<LibraryEvent>,
    known: HashMap<PathBuf, Machine>,
    states: HashMap<PathBuf, State>,
    followers: JoinSet<Followed>,
    /// Machines whose supervisor is listened to.
    followed: HashSet<PathBuf>,
    /// Machines whose lock somebody waits for.
    awaited: HashSet<PathBuf>,
}

/// What a follower of a running machine has to say.
enum Followed {
    /// It has a state, and goes on.
    State(PathBuf, State, Box<supervisor_api::Events>),
    /// Its supervisor has ended or does not answer.
    Lost(PathBuf),
    /// Nobody holds its lock any more.
    Free(PathBuf),
}

impl Watcher {
    async fn run(mut self, mut hints: Receiver<()>) {
        let _mounts = mounts(self.hint.clone());
        self.follow_running();
        loop {
            let going_on = tokio::select! {
                hint = hints.recv() => match hint {
                    Some(()) => {
                        tokio::time::sleep(SETTLE).await;
                        // Everything that came meanwhile is seen by the one look.
                        while hints.try_recv().is_ok() {}
                        self.look().await
                    }
                    None => return,
                },
                Some(Ok(followed)) = self.followers.join_next() => self.heard(followed).await,
            };
            if going_on.is_none() {
                return;
            }
        }
    }

    /// Looks again and reports the difference. `None` where nobody listens any more.
    async fn look(&mut self) -> Option<()> {
        let library = self.library.clone();
        let machines = blocking(move || Ok(library.machines())).await.ok()?;
        if let Ok(true) = self.folders.update(self.library.places(), &machines, false) {
            // What changed between looking and watching is seen by another look.
            let _ = self.hint.try_send(());
        }
        let mut before = std::mem::take(&mut self.known);
        let mut events = Vec::new();
        for machine in &machines {
            match before.remove(&machine.path) {
                None => events.push(LibraryEvent::MachineAdded(machine.clone())),
                Some(old) if !same(&old, machine) => events.push(LibraryEvent::MachineChanged(machine.clone())),
                Some(_) => {}
            }
        }
        events.extend(before.into_values().map(|old| LibraryEvent::MachineRemoved { path: old.path, name: old.name }));
        self.known = machines.into_iter().map(|machine| (machine.path.clone(), machine)).collect();
        self.states.retain(|path, _| self.known.contains_key(path));
        for event in events {
            self.sender.send(event).await.ok()?;
        }
        self.follow_running();
        let stopped: Vec<PathBuf> = self
            .known
            .values()
            .filter(|machine| machine.activity == Activity::Stopped && self.states.get(&machine.path).is_some_and(|state| state.is_live()))
            .map(|machine| machine.path.clone())
            .collect();
        for path in stopped {
            self.tell(path, State::Stopped).await?;
        }
        Some(())
    }

    async fn tell(&mut self, path: PathBuf, state: State) -> Option<()> {
        if self.states.insert(path.clone(), state) == Some(state) {
            return Some(());
        }
        self.sender.send(LibraryEvent::StateChanged { path, state }).await.ok()
    }

    /// Sees to it that every running machine is followed.
    fn follow_running(&mut self) {
        for machine in self.known.values() {
            if machine.activity == Activity::Running && self.followed.insert(machine.path.clone()) {
                let client = Client::new(self.library.places().runtime_of(&machine.id).api_socket());
                let path = machine.path.clone();
                self.followers.spawn(async move {
                    match client.events().await {
                        Ok(events) => follow(path, events).await,
                        Err(_) => Followed::Lost(path),
                    }
                });
            }
        }
    }

    async fn heard(&mut self, followed: Followed) -> Option<()> {
        match followed {
            Followed::State(path, state, events) => {
                self.followers.spawn(follow(path.clone(), *events));
                self.tell(path, state).await
            }
            Followed::Lost(path) => {
                // The machine may run on without its supervisor; the lock tells when it has ended. A new supervisor shows as a new socket.
                self.followed.remove(&path);
                if let Some(machine) = self.known.get(&path).cloned()
                    && self.awaited.insert(path)
                {
                    let library = self.library.clone();
                    self.followers.spawn(async move {
                        let _ = library.until_free(&machine).await;
                        Followed::Free(machine.path)
                    });
                }
                Some(())
            }
            Followed::Free(path) => {
                self.awaited.remove(&path);
                let _ = self.hint.try_send(());
                Some(())
            }
        }
    }
}

/// Waits until the machine has another state to tell.
async fn follow(path: PathBuf, mut events: supervisor_api::Events) -> Followed {
    loop {
        let state = match events.next().await {
            Ok(Some(StreamItem::Status(status))) => status.state,
            Ok(Some(StreamItem::Event(Event::StateChanged { to, .. }))) => to,
            Ok(Some(StreamItem::Event(_))) => continue,
            Ok(None) | Err(_) => return Followed::Lost(path),
        };
        return Followed::State(path, state, Box::new(events));
    }
}

/// Whether a person would see no difference, but for the state.
fn same(old: &Machine, new: &Machine) -> bool {
    *old == Machine { activity: old.activity, ..new.clone() }
}

/// Hints each time when something is mounted or unmounted (proc_pid_mountinfo(5): the file is "ready" with a priority event then), until
/// what is returned is dropped. `None` where the system does not tell.
fn mounts(hint: Sender<()>) -> Option<OwnedFd> {
    let table = std::fs::File::open("/proc/self/mountinfo").ok()?;
    let (end, dropped) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).ok()?;
    let wait = move || {
        loop {
            let mut ready = [PollFd::new(&table, PollFlags::PRI), PollFd::new(&end, PollFlags::empty())];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) if ready.iter().skip(1).any(|end| !end.revents().is_empty()) => return,
                Ok(_) => drop(hint.try_send(())),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("mounts".to_owned()).spawn(wait).ok()?;
    Some(dropped)
}

/// The folders that are watched.
struct Folders {
    watcher: RecommendedWatcher,
    /// Each with its device and inode: another folder of the same name needs a watch of its own.
    watched: HashMap<PathBuf, (u64, u64)>,
    /// Registered bundles and the folders above them.
    interesting: Arc<RwLock<HashSet<PathBuf>>>,
}

impl Folders {
    fn new(places: &Places, hint: Sender<()>) -> Result<Self> {
        // So that there is something to watch; a supervisor checks it before it uses it.
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&places.runtime);
        let interesting = Arc::new(RwLock::new(HashSet::new()));
        let relevant = Relevant { places: places.clone(), interesting: Arc::clone(&interesting) };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| relevant.is(&event)) {
                // Full means that a hint waits already.
                let _ = hint.try_send(());
            }
        });
        let watcher = watcher.map_err(exhausted)?;
        Ok(Self { watcher, watched: HashMap::new(), interesting })
    }

    /// Watches what these machines need. Returns whether a watch is new. With `strict`, a watch that cannot be had is an error.
    fn update(&mut self, places: &Places, machines: &[Machine], strict: bool) -> Result<bool> {
        let registered: Vec<PathBuf> = registered::read(places).into_iter().map(|entry| entry.path).collect();
        let mut wanted: HashSet<PathBuf> = [&places.machines, &places.state, &places.runtime].into_iter().cloned().collect();
        wanted.extend(machines.iter().filter(|machine| !machine.id.is_empty()).map(|machine| machine.path.clone()));
        // Any folder above one may be renamed or removed, and then come back.
        let above = registered.iter().flat_map(|path| path.ancestors().skip(1).filter(|folder| folder.parent().is_some()));
        wanted.extend(above.filter(|folder| folder.is_dir()).map(Path::to_path_buf));
        for entry in std::fs::read_dir(&places.runtime).into_iter().flatten().flatten() {
            wanted.insert(entry.path());
        }
        if let Ok(mut interesting) = self.interesting.write() {
            *interesting = registered.iter().flat_map(|path| path.ancestors()).map(Path::to_path_buf).collect();
        }
        let gone: Vec<PathBuf> = self.watched.keys().filter(|path| !wanted.contains(*path)).cloned().collect();
        for path in gone {
            self.watched.remove(&path);
            let _ = self.watcher.unwatch(&path);
        }
        let mut fresh = false;
        for path in wanted {
            let Ok(data) = std::fs::metadata(&path) else { continue };
            let identity = (data.dev(), data.ino());
            match self.watched.get(&path) {
                Some(known) if *known == identity => continue,
                Some(_) => drop(self.watcher.unwatch(&path)),
                None => {}
            }
            match self.watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                    fresh = true;
                }
                // It went away meanwhile, which is told by the folder above it.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) if strict => return Err(exhausted(error)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot watch"),
            }
        }
        Ok(fresh)
    }
}

fn exhausted(error: notify::Error) -> Error {
    Error::new(ErrorKind::Io, "Cannot watch the machines")
        .with_source(error)
        .with_hint("Raise the limits fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl")
}

/// What of all that happens in the watched folders is worth another look.
struct Relevant {
    places: Places,
    interesting: Arc<RwLock<HashSet<PathBuf>>>,
}

impl Relevant {
    fn is(&self, event: &notify::Event) -> bool {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        // Looking is no change.
        if matches!(event.kind, EventKind::Access(_)) && event.kind != closed {
            return false;
        }
        event.need_rescan() || event.paths.iter().any(|path| self.concerns(path))
    }

    fn concerns(&self, path: &Path) -> bool {
        let Some(name) = path.file_name() else { return false };
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if path.parent() == Some(&self.places.machines) && !hidden || name == CONFIGURATION_FILE || path.starts_with(&self.places.runtime) {
            return true;
        }
        if path.parent() == Some(&self.places.state) && name == "library.json" {
            return true;
        }
        self.interesting.read().is_ok_and(|paths| paths.contains(path))
    }
}
