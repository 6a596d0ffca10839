//! What a guest plays.

use std::collections::HashMap;
use std::ffi::CString;

use anyhow::{Context as _, Result};
use machine::display::{PcmFormat, Playing, SoundEvent};
use pulseaudio::{PlaybackStream, protocol};

use super::queue::Queue;
use super::samples::Samples;
use super::{SERVER_WAITS, SoundServer, WAITS, channel_map};

/// The most streams that are played at once; a machine has one for each of its sound cards' outputs.
const MOST: usize = 16;

/// A stream that is played.
struct Voice {
    stream: PlaybackStream,
    queue: Queue,
    samples: Samples,
    loudness: Vec<u8>,
}

/// Plays what the machine of this name plays, until that ends.
pub async fn play(server: SoundServer, name: &str, mut playing: Playing) {
    let mut voices: HashMap<u64, Voice> = HashMap::new();
    while let Some(event) = playing.next().await {
        match event {
            SoundEvent::Begins(number, format) => {
                voices.remove(&number);
                if voices.len() >= MOST {
                    continue;
                }
                match Voice::new(&server, name, format).await {
                    Ok(voice) => drop(voices.insert(number, voice)),
                    Err(error) => tracing::warn!("{name} is not heard: {error:#}"),
                }
            }
            SoundEvent::Ended(number) => drop(voices.remove(&number)),
            SoundEvent::Enabled(number, goes_on) => {
                let Some(voice) = voices.get(&number) else { continue };
                if let Err(error) = voice.set_enabled(goes_on).await {
                    tracing::debug!(%error, "the sound server does not take it");
                }
            }
            SoundEvent::Volume(number, muted, loudness) => {
                if let Some(voice) = voices.get_mut(&number) {
                    voice.loudness = if muted { vec![0; usize::from(voice.samples.spec.channels)] } else { loudness };
                }
            }
            SoundEvent::Data(number, data) => {
                if let Some(voice) = voices.get(&number) {
                    voice.push(data);
                }
            }
        }
    }
}

impl Voice {
    async fn new(server: &SoundServer, name: &str, format: PcmFormat) -> Result<Self> {
        let samples = Samples::new(format).with_context(|| format!("Servers know no sound like this: {format:?}"))?;
        let part = |milliseconds: usize| format.bytes_per_second() * milliseconds / 1000;
        let queue = Queue::new(format.bytes_per_frame(), part(WAITS));
        let mut props = protocol::Props::new();
        props.set(protocol::Prop::MediaName, CString::new(name.replace('\0', ""))?);
        let params = protocol::PlaybackStreamParams {
            sample_spec: samples.spec,
            channel_map: channel_map(format.channels),
            cvolume: None,
            sink_name: Some(protocol::DEFAULT_SINK.to_owned()),
            buffer_attr: protocol::stream::BufferAttr {
                target_length: u32::try_from(part(SERVER_WAITS))?,
                pre_buffering: u32::try_from(part(SERVER_WAITS / 3))?,
                ..Default::default()
            },
            // Until the guest says that it plays.
            flags: protocol::stream::StreamFlags { start_corked: true, adjust_latency: true, ..Default::default() },
            props,
            ..Default::default()
        };
        let stream = server.client().await?.create_playback_stream(params, queue.clone()).await;
        Ok(Self { stream: stream.context("The sound server takes no stream")?, queue, samples, loudness: Vec::new() })
    }

    /// A stream that waits costs the server nothing.
    async fn set_enabled(&self, goes_on: bool) -> Result<(), pulseaudio::ClientError> {
        if goes_on {
            return self.stream.uncork().await;
        }
        self.stream.cork().await?;
        self.queue.clear();
        self.stream.flush().await
    }

    fn push(&self, mut data: Vec<u8>) {
        self.samples.convert(&mut data);
        self.samples.scale(&mut data, &self.loudness);
        self.queue.push(&data);
    }
}
