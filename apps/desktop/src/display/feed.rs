//! One head of a machine, as its window is told of it. That is bounded: a window that is slow to draw is told the newest picture with all
//! that has changed since, and one that is hidden and draws nothing is told nothing.

use std::path::Path;
use std::sync::Arc;

use library::Library;
use machine::display::{Control, Frames, HeadInfo, Update};
use supervisor_api::Client;
use tokio::sync::{mpsc, watch};
use view_model::window::Connection;

use crate::follow::{Closed, Followed, Follower, Run, Teller, Told, View};
use crate::pace::Pace;

/// What is told of a head.
#[derive(Debug)]
pub enum Seen {
    /// It can be seen and touched.
    Head(Opened),
    /// What has changed of the picture. Nothing more of it is told until the window has drawn that.
    Update(Update),
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
    pub told: mpsc::Receiver<Told<Seen>>,
    /// One for each update that was drawn.
    pub drawn: mpsc::Sender<()>,
    /// Asks for another attempt at the display.
    pub again: watch::Sender<()>,
}

/// One head.
pub struct Pictures {
    head: usize,
    drawn: mpsc::Receiver<()>,
}

/// Both ends, for one head of the machine at `path`.
pub fn feed(library: Library, path: &Path, head: usize) -> (Feed, Follower<Pictures>) {
    let (tell, told) = mpsc::channel(16);
    let (drawn_sender, drawn) = mpsc::channel(1);
    let (again_sender, again) = watch::channel(());
    let follower = Follower::new(library, path, Pictures { head, drawn }, tell, again);
    (Feed { told, drawn: drawn_sender, again: again_sender }, follower)
}

impl View for Pictures {
    type Seen = Seen;

    async fn show(&mut self, run: &Run<'_>, tell: &Teller<Seen>) -> Followed {
        match self.open(run.client, tell).await {
            Ok((mut frames, _viewer)) => self.follow_frames(&mut frames, tell).await,
            Err(error) => {
                tracing::debug!(error, "no display");
                Ok(())
            }
        }
    }
}

impl Pictures {
    /// Opens the head. What keeps the connection is returned with its frames.
    async fn open(&self, client: &Client, tell: &Teller<Seen>) -> Result<(Frames, impl Sized + use<>), String> {
        let viewer = client.viewer().await.map_err(|error| error.to_string())?;
        let heads = viewer.heads().await.map_err(|error| error.to_string())?;
        let head = viewer.open(self.head).await.map_err(|error| error.to_string())?;
        let opened = Opened { heads, control: head.control };
        tell.tell(Told::Seen(Seen::Head(opened))).await.map_err(|Closed| "the window has closed".to_owned())?;
        tell.tell(Told::Connection(Connection::Open)).await.map_err(|Closed| "the window has closed".to_owned())?;
        Ok((head.frames, viewer))
    }

    /// Tells of the picture until it ends, at most as often as a screen shows one.
    async fn follow_frames(&mut self, frames: &mut Frames, tell: &Teller<Seen>) -> Followed {
        let mut pace = Pace::default();
        while let Some(update) = frames.next().await {
            tell.tell(Told::Seen(Seen::Update(update))).await?;
            if self.drawn.recv().await.is_none() {
                return Err(Closed);
            }
            pace.wait().await;
        }
        Ok(())
    }
}
