//! Follows one machine, and one thing that is to be seen of it, through everything that may become of them: it is started, stops, its
//! supervisor dies and another takes over, its display goes and comes back.
//!
//! All of it runs in the engine; what is told is bounded by who hears it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use library::{Library, LibraryEvent, Machine};
use machine::{Event, State};
use supervisor_api::wire::{Status, StreamItem};
use supervisor_api::{Client, Events};
use tokio::sync::{mpsc, watch};
use view_model::Failure;
use view_model::window::Connection;

/// How long until another attempt where nothing tells that it is worth one.
const RETRY: Duration = Duration::from_secs(2);

/// Something that a window is told.
#[derive(Debug)]
pub enum Told<S> {
    /// Where things stand.
    Status(Box<Status>),
    /// What happened.
    Event(Event),
    /// How what is to be seen is connected.
    Connection(Connection),
    /// What is to be seen.
    Seen(S),
    /// Why it cannot be known how the machine is.
    Failed(Failure),
    /// There is no such machine any more.
    Gone,
}

/// The window has closed: there is nobody to tell anything.
#[derive(Debug)]
pub struct Closed;

/// What following leads to.
pub type Followed<T = ()> = Result<T, Closed>;

/// Something that is to be seen of a machine while it runs.
pub trait View: Send {
    /// What is told of it.
    type Seen: Send;

    /// Connects, says so, and tells what is to be seen until that ends.
    ///
    /// # Errors
    /// [`Closed`] where nobody hears it any more.
    fn show(&mut self, run: &Run<'_>, tell: &Teller<Self::Seen>) -> impl Future<Output = Followed> + Send;
}

/// A run of a machine.
pub struct Run<'r> {
    /// Where it is kept.
    pub library: &'r Library,
    /// Which one.
    pub machine: &'r Machine,
    /// Its supervisor.
    pub client: &'r Client,
}

/// Tells a window.
#[derive(Debug)]
pub struct Teller<S>(pub mpsc::Sender<Told<S>>);

impl<S> Teller<S> {
    /// Tells it, when it has heard what was told before.
    ///
    /// # Errors
    /// [`Closed`] where it hears nothing any more.
    pub async fn tell(&self, told: Told<S>) -> Followed {
        self.0.send(told).await.map_err(|_| Closed)
    }

    /// Waits until it hears nothing any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Follows a machine.
pub struct Follower<V: View> {
    library: Library,
    path: PathBuf,
    view: V,
    tell: Teller<V::Seen>,
    again: watch::Receiver<()>,
}

impl<V: View> Follower<V> {
    /// Follows the machine at `path`. `again` asks for another attempt at what is to be seen.
    pub fn new(library: Library, path: &Path, view: V, tell: mpsc::Sender<Told<V::Seen>>, again: watch::Receiver<()>) -> Self {
        Self { library, path: path.to_path_buf(), view, tell: Teller(tell), again }
    }

    /// Follows until the window has closed.
    pub async fn run(mut self) {
        while self.follow().await.is_ok() {}
    }

    /// Follows one run of the machine, or waits for one.
    async fn follow(&mut self) -> Followed {
        let Ok(machine) = self.machine().await else { return self.gone().await };
        match self.library.client(&machine).await {
            Ok(Some(client)) => self.follow_run(&machine, &client).await,
            Ok(None) => self.wait_for_run(machine).await,
            Err(error) => {
                self.tell.tell(Told::Failed(Failure::from(&error))).await?;
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
        self.tell.tell(Told::Gone).await?;
        self.change().await
    }

    async fn follow_run(&mut self, machine: &Machine, client: &Client) -> Followed {
        let events = match client.events().await {
            Ok(events) => events,
            // It is just ending, or its supervisor is: the next look tells which.
            Err(error) => {
                tracing::debug!(%error, "no events");
                return self.change().await;
            }
        };
        let (state, states) = watch::channel(State::Starting);
        self.tell.tell(Told::Connection(Connection::Opening)).await?;
        let run = Run { library: &self.library, machine, client };
        tokio::select! {
            ended = follow_events(events, &self.tell, &state) => ended,
            closed = follow_view(&mut self.view, &run, &self.tell, self.again.clone(), states) => closed,
        }
    }

    /// Tells how the last run ended, and waits until there is another.
    async fn wait_for_run(&self, machine: Machine) -> Followed {
        let library = self.library.clone();
        let Ok(Ok(mut watch)) = tokio::task::spawn_blocking(move || library.watch()).await else { return self.change().await };
        match self.library.status(&machine).await {
            Ok(status) => {
                let is_live = status.state.is_live();
                self.tell.tell(Told::Status(Box::new(status))).await?;
                if is_live {
                    return Ok(());
                }
            }
            Err(error) => self.tell.tell(Told::Failed(Failure::from(&error))).await?,
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
}

/// Shows what is to be seen whenever there is something. Never returns but for a window that has closed.
async fn follow_view<V: View>(
    view: &mut V,
    run: &Run<'_>,
    tell: &Teller<V::Seen>,
    mut again: watch::Receiver<()>,
    mut states: watch::Receiver<State>,
) -> Followed {
    loop {
        // Before it runs there is nothing to connect to.
        let shows = |state: &State| state.is_live() && *state != State::Starting;
        if states.wait_for(shows).await.is_err() {
            return std::future::pending().await;
        }
        states.mark_unchanged();
        view.show(run, tell).await?;
        tell.tell(Told::Connection(Connection::Lost)).await?;
        // Another attempt when the machine has changed, a person asks, or after a while.
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return std::future::pending().await },
            asked = again.changed() => if asked.is_err() { return Err(Closed) },
            () = tokio::time::sleep(RETRY) => {}
        }
        tell.tell(Told::Connection(Connection::Opening)).await?;
    }
}

/// Tells what happens until the supervisor ends.
async fn follow_events<S>(mut events: Events, tell: &Teller<S>, state: &watch::Sender<State>) -> Followed {
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
        tell.tell(told).await?;
    }
}
