//! Sound, in both directions, as PCM.

use crate::connection::Display;
use crate::error::Result;
use crate::service::{Refusal, Reply, Service, Task, register, serve};
use machine::display::{PcmFormat, Playing, Recorder, Recording, SoundEvent};
use tokio::sync::mpsc;
use zbus::message::Body;

const PATH: &str = "/org/qemu/Display1/Audio";
const AUDIO: &str = "org.qemu.Display1.Audio";
const OUT: &str = "org.qemu.Display1.AudioOutListener";
const IN: &str = "org.qemu.Display1.AudioInListener";
/// Largest piece of sound, in bytes.
const LARGEST: usize = 1 << 20;

impl Display {
    /// Listens to what the guest plays. QEMU plays for one listener at a time, and so for one of a relay's viewers.
    ///
    /// # Errors
    /// Where the display has no sound, or another listens.
    pub async fn play(&self) -> Result<Playing> {
        let messages = register(self.connection(), PATH, AUDIO, "RegisterOutListener", "send sound").await?;
        Ok(Playing::new(|events| Task::spawn(serve(messages, Player { events }))))
    }

    /// Lets the guest record. As with [`Self::play`], one at a time.
    ///
    /// # Errors
    /// Where the display has no sound, or another is recorded.
    pub async fn record(&self, recorder: impl Recorder) -> Result<Recording> {
        let messages = register(self.connection(), PATH, AUDIO, "RegisterInListener", "take sound").await?;
        Ok(Recording::new(Task::spawn(serve(messages, Microphone { recorder }))))
    }
}

/// What both directions are told.
fn event(member: &str, body: &Body) -> Result<SoundEvent, Refusal> {
    let wrong = |error: zbus::Error| error.to_string();
    Ok(match member {
        "Init" => {
            let (stream, bits, signed, float, frequency, channels, _, _, big_endian) =
                body.deserialize::<(u64, u8, bool, bool, u32, u8, u32, u32, bool)>().map_err(wrong)?;
            let format = PcmFormat { bits, signed, float, frequency, channels, big_endian };
            if !matches!(bits, 8 | 16 | 32) || channels == 0 || !(1000..=384_000).contains(&frequency) {
                return Err(format!("sound of {bits} bits, {channels} channels and {frequency} Hz is not known"));
            }
            SoundEvent::Begins(stream, format)
        }
        "Fini" => SoundEvent::Ended(body.deserialize().map_err(wrong)?),
        "SetEnabled" => {
            let (stream, enabled) = body.deserialize().map_err(wrong)?;
            SoundEvent::Enabled(stream, enabled)
        }
        "SetVolume" => {
            let (stream, mute, volume): (u64, bool, &[u8]) = body.deserialize().map_err(wrong)?;
            SoundEvent::Volume(stream, mute, volume.iter().copied().take(16).collect())
        }
        other => return Err(format!("there is no {other}")),
    })
}

#[derive(Debug)]
struct Player {
    events: mpsc::Sender<SoundEvent>,
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
                SoundEvent::Data(stream, data.to_vec())
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
