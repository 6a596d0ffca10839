//! What a guest records: this computer's microphone, as long as the guest listens to it.

use std::collections::HashMap;
use std::ffi::CString;

use anyhow::{Context as _, Result};
use machine::display::{PcmFormat, Recorder, SoundEvent};
use pulseaudio::{RecordStream, protocol};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::queue::Queue;
use super::samples::Samples;
use super::{SoundServer, WAITS, channel_map};

/// The most streams that are recorded at once.
const MOST: usize = 4;
/// Milliseconds of the pieces that the server sends.
const PIECE: usize = 20;

/// Gives the guest what the microphone hears. The microphone is listened to while the guest records, and no longer.
pub struct Microphone {
    server: SoundServer,
    name: String,
    engine: Handle,
    tracks: HashMap<u64, Track>,
}

/// A stream that the guest has.
struct Track {
    format: PcmFormat,
    samples: Samples,
    queue: Queue,
    listening: Option<AbortHandle>,
}

impl Microphone {
    /// For the machine of this name. Must be called in the engine.
    pub fn new(server: SoundServer, name: &str) -> Self {
        Self { server, name: name.to_owned(), engine: Handle::current(), tracks: HashMap::new() }
    }
}

impl Recorder for Microphone {
    fn event(&mut self, event: SoundEvent) {
        match event {
            SoundEvent::Begins(number, format) => {
                self.tracks.remove(&number);
                if let (true, Some(samples)) = (self.tracks.len() < MOST, Samples::new(format)) {
                    let queue = Queue::new(format.bytes_per_frame(), format.bytes_per_second() * WAITS / 1000);
                    self.tracks.insert(number, Track { format, samples, queue, listening: None });
                }
            }
            SoundEvent::Ended(number) => drop(self.tracks.remove(&number)),
            SoundEvent::Enabled(number, goes_on) => {
                let Some(track) = self.tracks.get_mut(&number) else { return };
                track.stop();
                if goes_on {
                    let (server, name) = (self.server.clone(), self.name.clone());
                    let (format, samples, queue) = (track.format, track.samples, track.queue.clone());
                    let listening = self.engine.spawn(async move {
                        match listen(&server, &name, format, samples, queue).await {
                            // It is listened to until this is given up.
                            Ok(_stream) => std::future::pending().await,
                            Err(error) => tracing::warn!("{name} hears nothing: {error:#}"),
                        }
                    });
                    track.listening = Some(listening.abort_handle());
                }
            }
            // How loud it is, is the sound server's business.
            SoundEvent::Volume(..) | SoundEvent::Data(..) => {}
        }
    }

    fn read(&mut self, stream: u64, size: usize) -> Vec<u8> {
        let Some(track) = self.tracks.get(&stream) else { return Vec::new() };
        let mut bytes = vec![0; size];
        let taken = track.queue.take(&mut bytes);
        bytes.truncate(taken);
        track.samples.convert(&mut bytes);
        bytes
    }
}

impl Track {
    fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
        self.queue.clear();
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens to the microphone until the stream is dropped.
async fn listen(server: &SoundServer, name: &str, format: PcmFormat, samples: Samples, queue: Queue) -> Result<RecordStream> {
    let mut props = protocol::Props::new();
    props.set(protocol::Prop::MediaName, CString::new(name.replace('\0', ""))?);
    let params = protocol::RecordStreamParams {
        sample_spec: samples.spec,
        channel_map: channel_map(format.channels),
        source_name: Some(protocol::DEFAULT_SOURCE.to_owned()),
        buffer_attr: protocol::stream::BufferAttr {
            fragment_size: u32::try_from(format.bytes_per_second() * PIECE / 1000)?,
            ..Default::default()
        },
        flags: protocol::stream::StreamFlags { adjust_latency: true, ..Default::default() },
        props,
        ..Default::default()
    };
    let heard = move |bytes: &[u8]| queue.push(bytes);
    server.client().await?.create_record_stream(params, heard).await.context("The sound server gives no sound")
}
