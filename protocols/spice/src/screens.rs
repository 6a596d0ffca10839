//! The displays of a session as [`machine::display`] has them.

use crate::Client;
use crate::client::Command;
use async_trait::async_trait;
use machine::Result;
use machine::display::{Control, Head, HeadInfo, Input, Leds, SizeRequest, Viewer, frames};
use std::sync::Arc;

/// A viewer.
pub struct Screens(Client);

impl Screens {
    pub const fn new(client: Client) -> Self {
        Self(client)
    }
}

#[derive(Debug)]
struct Screen {
    client: Client,
    head: usize,
}

#[async_trait]
impl Viewer for Screens {
    async fn heads(&self) -> Result<Vec<HeadInfo>> {
        Ok(self.0.ask(Command::Heads).await?)
    }

    async fn open(&self, head: usize) -> Result<Head> {
        let (source, frames) = frames();
        let info = self.0.ask(|reply| Command::Watch(head, source, reply)).await?;
        Ok(Head { info, frames, control: Arc::new(Screen { client: self.0.clone(), head }) })
    }
}

#[async_trait]
impl Control for Screen {
    async fn send(&self, input: Input) -> Result<()> {
        Ok(self.client.ask(|reply| Command::Input(self.head, input, reply)).await?)
    }

    async fn request_size(&self, size: SizeRequest) -> Result<()> {
        Ok(self.client.ask(|reply| Command::Size(self.head, size, reply)).await?)
    }

    async fn takes_positions(&self) -> Result<bool> {
        Ok(self.client.ask(Command::TakesPositions).await?)
    }

    async fn leds(&self) -> Result<Leds> {
        Ok(self.client.ask(Command::Leds).await?)
    }

    async fn refreshed(&self) -> Result<()> {
        // The server draws on its own clock; an answer comes after what it has drawn so far.
        self.client.ask(Command::TakesPositions).await?;
        Ok(())
    }
}
