//! Sound, in both directions, as PCM.

use crate::connection::Display;
use crate::error::Result;
use crate::service::{Refusal, Reply, Service, Task, register, serve};
use tokio::sync::mpsc;
use zbus::message::Body;

const PATH: &str = "/org/qemu/Display1/Audio";
const AUDIO: &str = "org.qemu.Display1.Audio";
const OUT: &str = "org.qemu.Display1.AudioOutListener";
const IN: &str = "org.qemu.Display1.AudioInListener";
/// Events that wait to be read: two seconds of pieces of 10 ms. What comes beyond is not heard.
const WAITING: usize = 256;
/// Largest piece of sound, in bytes.
const LARGEST: usize = 1 << 20;

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcmFormat {
    /// Bits of a sample.
    pub bits: u8,
    /// Whether samples have a sign.
    pub signed: bool,
    /// Whether samples are floating-point numbers.
    pub float: bool,
    /// Frames a second.
    pub frequency: u32,
    /// Samples of a frame.
    pub channels: u8,
    /// Bytes of a frame.
    pub bytes_per_frame: u32,
    /// Bytes of a second.
    pub bytes_per_second: u32,
    /// Whether the first byte of a sample is its highest.
    pub big_endian: bool,
}

/// What happens to a stream of sound. Streams are told apart by numbers of the display's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioEvent {
    /// A stream begins, or has another format.
    Init(u64, PcmFormat),
    /// A stream has ended.
    Fini(u64),
    /// A stream goes on, or waits.
    Enabled(u64, bool),
    /// Whether a stream is muted, and how loud each channel is, from 0 to 255.
    Volume(u64, bool, Vec<u8>),
    /// Sound of the guest's to be played.
    Data(u64, Vec<u8>),
}

/// What the guest plays. Dropping it ends it.
#[derive(Debug)]
pub struct AudioOut {
    events: mpsc::Receiver<AudioEvent>,
    _listener: Task,
}

impl AudioOut {
    /// What happens next; `None` when the display is gone.
    pub async fn next(&mut self) -> Option<AudioEvent> {
        self.events.recv().await
    }
}

/// Gives the guest what it records.
pub trait Recorder: Send + 'static {
    /// Something has happened to a stream.
    fn event(&mut self, event: AudioEvent);
    /// At most `size` bytes of a stream, now: the machine stands still until this returns.
    fn read(&mut self, stream: u64, size: usize) -> Vec<u8>;
}

/// The guest records. Dropping it ends that.
#[derive(Debug)]
pub struct Recording {
    _listener: Task,
}

impl Display {
    /// Listens to what the guest plays. QEMU plays for one listener at a time, and so for one of a relay's viewers.
    ///
    /// # Errors
    /// Where the display has no sound, or another listens.
    pub async fn play(&self) -> Result<AudioOut> {
        let messages = register(self.connection(), PATH, AUDIO, "RegisterOutListener", "send sound").await?;
        let (sender, events) = mpsc::channel(WAITING);
        Ok(AudioOut { events, _listener: Task::spawn(serve(messages, Player { events: sender })) })
    }

    /// Lets the guest record. As with [`Self::play`], one at a time.
    ///
    /// # Errors
    /// Where the display has no sound, or another is recorded.
    pub async fn record(&self, recorder: impl Recorder) -> Result<Recording> {
        let messages = register(self.connection(), PATH, AUDIO, "RegisterInListener", "take sound").await?;
        Ok(Recording { _listener: Task::spawn(serve(messages, Microphone { recorder })) })
    }
}

/// What both directions are told.
fn event(member: &str, body: &Body) -> Result<AudioEvent, Refusal> {
    let wrong = |error: zbus::Error| error.to_string();
    Ok(match member {
        "Init" => {
            let (stream, bits, signed, float, frequency, channels, bytes_per_frame, bytes_per_second, big_endian) =
                body.deserialize::<(u64, u8, bool, bool, u32, u8, u32, u32, bool)>().map_err(wrong)?;
            let format = PcmFormat { bits, signed, float, frequency, channels, bytes_per_frame, bytes_per_second, big_endian };
            if !matches!(bits, 8 | 16 | 32) || channels == 0 || !(1000..=384_000).contains(&frequency) {
                return Err(format!("sound of {bits} bits, {channels} channels and {frequency} Hz is not known"));
            }
            AudioEvent::Init(stream, format)
        }
        "Fini" => AudioEvent::Fini(body.deserialize().map_err(wrong)?),
        "SetEnabled" => {
            let (stream, enabled) = body.deserialize().map_err(wrong)?;
            AudioEvent::Enabled(stream, enabled)
        }
        "SetVolume" => {
            let (stream, mute, volume): (u64, bool, &[u8]) = body.deserialize().map_err(wrong)?;
            AudioEvent::Volume(stream, mute, volume.iter().copied().take(16).collect())
        }
        other => return Err(format!("there is no {other}")),
    })
}

#[derive(Debug)]
struct Player {
    events: mpsc::Sender<AudioEvent>,
}

impl Service for Player {
    const INTERFACES: &'static [&'static str] = &[];

    fn call(&mut self, interface: &str, member: &str, body: &Body) -> Result<Reply, Refusal> {
        let event = match (interface, member) {
            (OUT, "Write") => {
                let (stream, data): (u64, &[u8]) = body.deserialize().map_err(|error| error.to_string())?;
                if data.len() > LARGEST {
                    return Err(format!("{} bytes of sound at once are too many", data.len()));
                }
                AudioEvent::Data(stream, data.to_vec())
            }
            (OUT, member) => event(member, body)?,
            _ => return Err(format!("there is no {interface}.{member}")),
        };
        self.events.try_send(event).map_err(|_| "nobody listens now".to_owned())?;
        Ok(Reply::Empty)
    }
}

#[derive(Debug)]
struct Microphone<R> {
    recorder: R,
}

impl<R: Recorder> Service for Microphone<R> {
    const INTERFACES: &'static [&'static str] = &[];

    fn call(&mut self, interface: &str, member: &str, body: &Body) -> Result<Reply, Refusal> {
        match (interface, member) {
            (IN, "Read") => {
                let (stream, size): (u64, u64) = body.deserialize().map_err(|error| error.to_string())?;
                let size = usize::try_from(size).unwrap_or(LARGEST).min(LARGEST);
                let mut data = self.recorder.read(stream, size);
                data.truncate(size);
                Ok(Reply::Bytes(data))
            }
            (IN, member) => {
                self.recorder.event(event(member, body)?);
                Ok(Reply::Empty)
            }
            _ => Err(format!("there is no {interface}.{member}")),
        }
    }
}
