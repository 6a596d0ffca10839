//! The part of a session in the engine: it goes through every run of the machine.

use std::sync::Arc;

use machine::display::Viewer;
use machine::exchange::{Exchange, ExchangeEvent};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use view_model::window::Connection;

use super::clipboard::Clipboard;
use super::desk::Desk;
use crate::follow::{Followed, Run, Teller, Told, View};
use crate::sound::{Microphone, SoundServer, play};

/// What is told of a session.
pub enum Seen {
    /// The machine can be asked for something.
    Open(Arc<dyn Exchange>),
    /// Something happened.
    Event(ExchangeEvent),
}

/// What is shared with the machine.
pub struct Shared {
    /// What it is called.
    pub name: String,
    /// This desktop's clipboard.
    pub desk: Desk,
    /// This desktop's sound.
    pub server: SoundServer,
    /// Whether one of its windows has the keyboard.
    pub keyboard: watch::Receiver<bool>,
    /// Whether its guest may record.
    pub records: bool,
}

impl View for Shared {
    type Seen = Seen;

    async fn show(&mut self, run: &Run<'_>, tell: &Teller<Seen>) -> Followed {
        let exchange = run.client.exchange();
        tell.tell(Told::Seen(Seen::Open(exchange.clone()))).await?;
        tell.tell(Told::Connection(Connection::Open)).await?;
        let viewer = run.client.viewer().await.ok();
        let hears = async {
            match &viewer {
                Some(viewer) => tokio::join!(self.play(viewer.as_ref()), self.record(viewer.as_ref())),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            followed = self.follow_exchange(exchange, tell) => followed,
            ((), ()) = hears => Ok(()),
        }
    }
}

impl Shared {
    /// Tells what happens, and lets the clipboard go its way. A machine that has nothing of the kind is left alone.
    async fn follow_exchange(&self, exchange: Arc<dyn Exchange>, tell: &Teller<Seen>) -> Followed {
        let mut events = match exchange.events().await {
            Ok(events) => events,
            Err(error) if error.kind() == machine::ErrorKind::Unsupported => {
                tell.closed().await;
                return Ok(());
            }
            Err(error) => {
                tracing::debug!(%error, "nothing is exchanged");
                return Ok(());
            }
        };
        let mut clipboard = Clipboard::new(self.desk.clone(), exchange);
        let mut keyboard = self.keyboard.clone();
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return Ok(()) };
                    let has_keyboard = *keyboard.borrow();
                    clipboard.happened(&event, has_keyboard).await;
                    tell.tell(Told::Seen(Seen::Event(event))).await?;
                }
                changed = keyboard.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    if *keyboard.borrow_and_update() {
                        clipboard.turned_to().await;
                    }
                }
            }
        }
    }

    /// Plays what the guest plays. Where another app hears it, this one tries again when a person turns to its window.
    async fn play(&self, viewer: &dyn Viewer) {
        let mut keyboard = self.keyboard.clone();
        loop {
            match viewer.play().await {
                Ok(playing) => play(self.server.clone(), &self.name, playing).await,
                Err(error) => tracing::debug!(%error, "{} is not heard", self.name),
            }
            if keyboard.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets the guest record, where that is allowed.
    async fn record(&self, viewer: &dyn Viewer) {
        let recording = if self.records {
            let microphone = Microphone::new(self.server.clone(), &self.name);
            viewer.record(Box::new(microphone)).await.inspect_err(|error| tracing::debug!(%error, "{} hears nothing", self.name)).ok()
        } else {
            None
        };
        let _recording = recording;
        std::future::pending::<()>().await;
    }
}
