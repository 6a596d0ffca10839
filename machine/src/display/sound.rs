//! What a guest plays, and what it records, as PCM.

use std::any::Any;
use std::fmt;

use tokio::sync::mpsc;

/// Events that wait to be heard: two seconds of pieces of 10 ms. What comes beyond is lost.
const WAITING: usize = 256;

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcmFormat {
    /// Bits of a sample: 8, 16 or 32.
    pub bits: u8,
    /// Whether samples have a sign.
    pub signed: bool,
    /// Whether samples are floating-point numbers.
    pub float: bool,
    /// Frames a second.
    pub frequency: u32,
    /// Samples of a frame.
    pub channels: u8,
    /// Whether the first byte of a sample is its highest.
    pub big_endian: bool,
}

impl PcmFormat {
    /// Bytes of a sample of every channel.
    pub fn bytes_per_frame(&self) -> usize {
        usize::from(self.bits / 8) * usize::from(self.channels)
    }

    /// Bytes of a second.
    pub fn bytes_per_second(&self) -> usize {
        self.bytes_per_frame() * usize::try_from(self.frequency).unwrap_or(usize::MAX)
    }
}

/// What happens to a stream of sound. Streams are told apart by numbers of the backend's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoundEvent {
    /// A stream begins, or has another format.
    Begins(u64, PcmFormat),
    /// A stream has ended.
    Ended(u64),
    /// A stream goes on, or waits.
    Enabled(u64, bool),
    /// Whether a stream is muted, and how loud each channel is, from 0 to 255.
    Volume(u64, bool, Vec<u8>),
    /// Sound of the guest's to be played.
    Data(u64, Vec<u8>),
}

/// What the guest plays. Dropping it ends it.
pub struct Playing {
    events: mpsc::Receiver<SoundEvent>,
    _held: Box<dyn Any + Send>,
}

impl Playing {
    /// With what has to be held for it to go on. The sender never waits: where it finds no room, a piece is lost.
    pub fn new<T: Send + 'static>(listen: impl FnOnce(mpsc::Sender<SoundEvent>) -> T) -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        Self { events, _held: Box::new(listen(sender)) }
    }

    /// What happens next; `None` when the display is gone.
    pub async fn next(&mut self) -> Option<SoundEvent> {
        self.events.recv().await
    }
}

impl fmt::Debug for Playing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Playing").finish_non_exhaustive()
    }
}

/// Gives the guest what it records.
pub trait Recorder: Send + 'static {
    /// Something has happened to a stream. [`SoundEvent::Data`] never comes.
    fn event(&mut self, event: SoundEvent);
    /// At most `size` bytes of a stream, now: the machine stands still until this returns.
    fn read(&mut self, stream: u64, size: usize) -> Vec<u8>;
}

impl Recorder for Box<dyn Recorder> {
    fn event(&mut self, event: SoundEvent) {
        (**self).event(event);
    }

    fn read(&mut self, stream: u64, size: usize) -> Vec<u8> {
        (**self).read(stream, size)
    }
}

/// The guest records. Dropping it ends that.
pub struct Recording {
    _held: Box<dyn Any + Send>,
}

impl Recording {
    /// With what has to be held for it to go on.
    pub fn new(held: impl Send + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}
