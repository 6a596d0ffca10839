//! What a viewer has of a machine: pixels, damage, cursor, input, sizes, sound; whichever backend draws.
//!
//! [`Viewer`] is one viewer's connection to all heads of a machine; several at once are the rule. [`Viewer::open`] gives a [`Head`]: what
//! it shows comes as [`Frames`], coalesced to the viewer's own pace, and what a person does goes back over [`Control`]. A backend feeds
//! [`Frames`] through a [`Source`], which never waits for a viewer.

mod damage;
mod frames;
mod geometry;
mod input;
mod sound;
mod surface;

pub use damage::Damage;
pub use frames::{Cursor, Frames, Pointer, Shown, Source, Update, frames};
pub use geometry::{MAX_SIDE, Rect, Size};
pub use input::{Button, Input, Leds, SizeRequest, TouchKind};
pub use sound::{PcmFormat, Playing, Recorder, Recording, SoundEvent};
pub use surface::{Format, Surface, SurfaceError};

use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use std::sync::Arc;

/// A head as a viewer finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadInfo {
    /// Its place among the machine's heads.
    pub index: usize,
    /// What it is, for people.
    pub label: String,
    /// Which head of its device it is.
    pub head: u32,
    /// Where its device is, as the backend says it; empty where it does not.
    pub device: String,
    /// Its size when it was asked for; `None` where it showed nothing.
    pub size: Option<Size>,
}

/// One viewer's connection to a machine's displays. Dropping it, and all that was opened with it, disconnects.
#[async_trait]
pub trait Viewer: Send + Sync {
    /// The heads that show pictures, as they are now.
    ///
    /// # Errors
    /// Where the backend is gone or does not answer.
    async fn heads(&self) -> Result<Vec<HeadInfo>>;

    /// Begins to watch a head.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where there is no such head; what the backend says.
    async fn open(&self, head: usize) -> Result<Head>;

    /// Listens to what the guest plays. One viewer at a time can.
    ///
    /// # Errors
    /// Where the machine has no sound that a viewer can hear, or another hears it.
    async fn play(&self) -> Result<Playing> {
        Err(no_sound())
    }

    /// Lets the guest record. One viewer at a time can.
    ///
    /// # Errors
    /// As of [`Self::play`].
    async fn record(&self, _recorder: Box<dyn Recorder>) -> Result<Recording> {
        Err(no_sound())
    }
}

fn no_sound() -> Error {
    Error::new(ErrorKind::Unsupported, "This display has no sound")
}

/// A head that is watched.
#[derive(Debug)]
pub struct Head {
    /// What it is.
    pub info: HeadInfo,
    /// What it shows.
    pub frames: Frames,
    /// The way back.
    pub control: Arc<dyn Control>,
}

/// What a viewer can do to a head.
#[async_trait]
pub trait Control: Send + Sync + std::fmt::Debug {
    /// Something that a person did. Returns when the backend has it; what is sent one after the other arrives in that order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the guest has no such device now: an absolute position for a mouse that only moves, a touch
    /// without a touch screen.
    async fn send(&self, input: Input) -> Result<()>;

    /// Asks the guest to make the head this large. Whether it does, and when, shows in the frames.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the device cannot tell the guest.
    async fn request_size(&self, size: SizeRequest) -> Result<()>;

    /// Whether the guest takes absolute positions of the pointer now.
    ///
    /// # Errors
    /// Where the backend does not answer.
    async fn takes_positions(&self) -> Result<bool>;

    /// Which lights the guest has lit on its keyboard.
    ///
    /// # Errors
    /// Where the backend does not answer.
    async fn leds(&self) -> Result<Leds>;

    /// Returns when what the backend has drawn itself is among the frames: some devices are only looked at now and then.
    ///
    /// # Errors
    /// Where the backend does not answer.
    async fn refreshed(&self) -> Result<()>;
}
