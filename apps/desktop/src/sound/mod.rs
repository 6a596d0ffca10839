//! What a guest plays is heard, and it hears what this computer's microphone does, where that is allowed.
//!
//! The sound server is reached by PulseAudio's protocol, which PipeWire speaks too, so no library of either is needed.
//!
//! - [`SoundServer`]: the connection, made when something is played first and again when it is lost.
//! - `queue`: what has come and has not been played or recorded yet. It is short: what is late is left out.
//! - `samples`: how samples are written, and how loud.
//! - `play` and `record`: a guest's streams, each way.

mod play;
mod queue;
mod record;
mod samples;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use pulseaudio::{Client, protocol};

pub use play::play;
pub use record::Microphone;

/// Milliseconds of sound that wait on this side, and on the server's.
const WAITS: usize = 120;
const SERVER_WAITS: usize = 60;

/// The sound server of this desktop. Clones are one.
#[derive(Clone, Default)]
pub struct SoundServer(Arc<Mutex<Option<Client>>>);

impl SoundServer {
    /// The connection that there is, or a new one.
    async fn client(&self) -> Result<Client> {
        if let Some(client) = self.known() {
            // A server that was started anew does not know the old connection.
            if client.server_info().await.is_ok() {
                return Ok(client);
            }
        }
        let connecting = tokio::task::spawn_blocking(|| Client::from_env(c"Vivarium"));
        let client = connecting.await?.context("Could not reach a sound server (PipeWire or PulseAudio)")?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    fn known(&self) -> Option<Client> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Which channel is where, as far as there is a convention.
fn channel_map(channels: u8) -> protocol::ChannelMap {
    use protocol::ChannelPosition as At;
    const SURROUND: [At; 8] =
        [At::FrontLeft, At::FrontRight, At::FrontCenter, At::Lfe, At::RearLeft, At::RearRight, At::SideLeft, At::SideRight];
    match channels {
        1 => protocol::ChannelMap::mono(),
        2 => protocol::ChannelMap::stereo(),
        _ => protocol::ChannelMap::new(SURROUND.into_iter().take(usize::from(channels))),
    }
}
