//! Follows one machine and one of its heads, through everything that may become of them: it is started, stops, its supervisor dies and
//! another takes over, its display goes and comes back.
//!
//! All of it runs in the engine. What is told is bounded: a window that is slow to draw is told the newest picture with all that has changed
//! since, and one that is hidden and draws nothing is told nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use library::{Library, LibraryEvent, Machine};
use machine::display::{Control, Frames, HeadInfo, Update};
use machine::{Event, State};
use supervisor_api::wire::{Status, StreamItem};
use supervisor_api::{Client, Events};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use view_model::Failure;
use view_model::window::Connection;

/// How long until another attempt where nothing tells that it is worth one.
const RETRY: Duration = Duration::from_secs(2);

/// Something that a window is told.
#[derive(Debug)]
pub enum Told {
    /// Where things stand.
    Status(Box<Status>),
    /// What happened.
    Event(Event),
    /// How the display is connected.
    Connection(Connection),
    /// The display can be seen and touched.
    Head(Opened),
    /// What has changed of the picture. Nothing more of it is told until the window has drawn that.
    Update(Update),
    /// Why it cannot be known how the machine is.
    Failed(Failure),
    /// There is no such machine any more.
    Gone,
}

/// A head that can be seen and touched.
#[derive(Debug)]
pub struct Opened {
    /// Every head of the machine.
    pub heads: Vec<HeadInfo>,
    /// The way back.
    pub control: Arc<dyn Control>,
}

/// The window's end.
#[derive(Debug)]
pub struct Feed {
    /// What is told.
    pub told: mpsc::Receiver<Told>,
    /// One for each update that was drawn.
    pub drawn: mpsc::Sender<()>,
    /// Asks for another attempt at the display.
    pub again: watch::Sender<()>,
}

/// The engine's end.
pub struct Follower {
    library: Library,
    path: PathBuf,
    head: usize,
    tell: mpsc::Sender<Told>,
    drawn: mpsc::Receiver<()>,
    again: watch::Receiver<()>,
}

/// The window has closed: there is nobody to tell anything.
struct Closed;

type Followed<T = ()> = Result<T, Closed>;

/// Both ends, for one head of the machine at `path`.
pub fn feed(library: Library, path: &Path, head: usize) -> (Feed, Follower) {
    let (tell, told) = mpsc::channel(16);
    let (drawn_sender, drawn) = mpsc::channel(1);
    let (again_sender, again) = watch::channel(());
    let follower = Follower { library, path: path.to_path_buf(), head, tell, drawn, again };
    (Feed { told, drawn: drawn_sender, again: again_sender }, follower)
}

impl Follower {
    /// Follows until the window has closed.
    pub async fn run(mut self) {
        while self.follow().await.is_ok() {}
    }

    /// Follows one run of the machine, or waits for one.
    async fn follow(&mut self) -> Followed {
        let Ok(machine) = self.machine().await else { return self.gone().await };
        match self.library.client(&machine).await {
            Ok(Some(client)) => self.follow_run(&client).await,
            Ok(None) => self.wait_for_run(machine).await,
            Err(error) => {
                self.tell(Told::Failed(Failure::from(&error))).await?;
                self.change().await
            }
        }
    }

    async fn machine(&self) -> Result<Machine, ()> {
        let (library, path) = (self.library.clone(), self.path.clone());
        let looked = tokio::task::spawn_blocking(move || library.machine_at(&path).map_err(drop)).await;
        looked.unwrap_or(Err(()))
    }

    /// Tells what is told until there is a machine again.
    async fn gone(&self) -> Followed {
        self.tell(Told::Gone).await?;
        self.change().await
    }

    async fn follow_run(&mut self, client: &Client) -> Followed {
        let events = match client.events().await {
            Ok(events) => events,
            // It is just ending, or its supervisor is: the next look tells which.
            Err(error) => {
                tracing::debug!(%error, "no events");
                return self.change().await;
            }
        };
        let (state, states) = watch::channel(State::Starting);
        self.tell(Told::Connection(Connection::Opening)).await?;
        let tell = self.tell.clone();
        tokio::select! {
            ended = follow_events(events, &tell, &state) => ended,
            closed = self.follow_pictures(client, states) => closed,
        }
    }

    /// Shows the display whenever there is one. Never returns but for a window that has closed.
    async fn follow_pictures(&mut self, client: &Client, mut states: watch::Receiver<State>) -> Followed {
        loop {
            // Before it runs there is nothing to connect to.
            let shows = |state: &State| state.is_live() && *state != State::Starting;
            if states.wait_for(shows).await.is_err() {
                return std::future::pending().await;
            }
            states.mark_unchanged();
            match self.open(client).await {
                Ok((mut frames, _viewer)) => self.follow_frames(&mut frames).await?,
                Err(error) => tracing::debug!(error, "no display"),
            }
            self.tell(Told::Connection(Connection::Lost)).await?;
            // Another attempt when the machine has changed, a person asks, or after a while.
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return std::future::pending().await },
                asked = self.again.changed() => if asked.is_err() { return Err(Closed) },
                () = tokio::time::sleep(RETRY) => {}
            }
            self.tell(Told::Connection(Connection::Opening)).await?;
        }
    }

    /// Opens the head. What keeps the connection is returned with its frames.
    async fn open(&self, client: &Client) -> Result<(Frames, impl Sized + use<>), String> {
        let viewer = client.viewer().await.map_err(|error| error.to_string())?;
        let heads = viewer.heads().await.map_err(|error| error.to_string())?;
        let head = viewer.open(self.head).await.map_err(|error| error.to_string())?;
        let opened = Opened { heads, control: head.control };
        self.tell(Told::Head(opened)).await.map_err(|Closed| "the window has closed".to_owned())?;
        self.tell(Told::Connection(Connection::Open)).await.map_err(|Closed| "the window has closed".to_owned())?;
        Ok((head.frames, viewer))
    }

    /// Tells of the picture until it ends, at most as often as a screen shows one.
    async fn follow_frames(&mut self, frames: &mut Frames) -> Followed {
        let mut pace = Pace::default();
        while let Some(update) = frames.next().await {
            self.tell(Told::Update(update)).await?;
            if self.drawn.recv().await.is_none() {
                return Err(Closed);
            }
            pace.wait().await;
        }
        Ok(())
    }

    /// Tells how the last run ended, and waits until there is another.
    async fn wait_for_run(&self, machine: Machine) -> Followed {
        let library = self.library.clone();
        let Ok(Ok(mut watch)) = tokio::task::spawn_blocking(move || library.watch()).await else { return self.change().await };
        match self.library.status(&machine).await {
            Ok(status) => {
                let is_live = status.state.is_live();
                self.tell(Told::Status(Box::new(status))).await?;
                if is_live {
                    return Ok(());
                }
            }
            Err(error) => self.tell(Told::Failed(Failure::from(&error))).await?,
        }
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                () = self.tell.closed() => return Err(Closed),
            };
            match event {
                Some(LibraryEvent::StateChanged { path, .. } | LibraryEvent::MachineRemoved { path, .. }) if path == self.path => {
                    return Ok(());
                }
                Some(LibraryEvent::MachineChanged(changed) | LibraryEvent::MachineAdded(changed)) if changed.path == self.path => {
                    return Ok(());
                }
                Some(_) => {}
                None => return self.change().await,
            }
        }
    }

    /// Waits until it may be worth looking again where nothing tells: a person asks, or some time has passed.
    async fn change(&self) -> Followed {
        let mut again = self.again.clone();
        tokio::select! {
            asked = again.changed() => asked.map_err(|_| Closed),
            () = tokio::time::sleep(RETRY) => Ok(()),
            () = self.tell.closed() => Err(Closed),
        }
    }

    async fn tell(&self, told: Told) -> Followed {
        self.tell.send(told).await.map_err(|_| Closed)
    }
}

/// Tells what happens until the supervisor ends.
async fn follow_events(mut events: Events, tell: &mpsc::Sender<Told>, state: &watch::Sender<State>) -> Followed {
    loop {
        let item = tokio::select! {
            item = events.next() => item,
            () = tell.closed() => return Err(Closed),
        };
        let told = match item {
            Ok(Some(StreamItem::Status(status))) => {
                state.send_replace(status.state);
                Told::Status(status)
            }
            Ok(Some(StreamItem::Event(event))) => {
                if let Event::StateChanged { to, .. } = event {
                    state.send_replace(to);
                }
                Told::Event(event)
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "the events end");
                return Ok(());
            }
        };
        tell.send(told).await.map_err(|_| Closed)?;
    }
}

/// Lets pictures follow each other as fast as a screen shows them. What is late may be followed at once, once: so sixty a second stay sixty.
#[derive(Debug, Default)]
struct Pace {
    next: Option<Instant>,
}

/// A sixtieth of a second, less what a timer is late.
const INTERVAL: Duration = Duration::from_micros(16_000);

impl Pace {
    async fn wait(&mut self) {
        let now = Instant::now();
        let due = self.due(now);
        if due > now {
            tokio::time::sleep_until(due).await;
        }
    }

    /// When what is drawn now may be followed.
    fn due(&mut self, now: Instant) -> Instant {
        let due = self.next.map_or(now, |next| next.max(now.checked_sub(INTERVAL).unwrap_or(now)));
        self.next = Some(due + INTERVAL);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_paced_and_the_first_after_a_rest_is_not_held_up() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut now = start;
        for _ in 0..60 {
            now = now.max(pace.due(now));
        }
        assert_eq!(now - start, INTERVAL * 59);
        let later = now + Duration::from_secs(5);
        assert!(pace.due(later) <= later);
        assert!(pace.due(later) <= later + INTERVAL, "what was late does not count for ever");
    }
}
