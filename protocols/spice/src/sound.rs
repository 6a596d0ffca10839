//! What the guest plays, and what it hears.

use crate::ffi;
use crate::news::{Sound, SoundFormat, Teller};
use spice::glib::prelude::*;
use spice_client_glib as spice;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// Most bytes of one packet of sound.
const MAX_PACKET: usize = 1 << 20;
/// The number of signed 16-bit samples, the only format there is (spice-protocol, `SPICE_AUDIO_FMT_S16`).
const S16: i32 = 1;

/// Sound, both ways.
pub struct Sounds {
    record: RefCell<Option<spice::RecordChannel>>,
    began: Instant,
    teller: Teller,
}

/// A format that makes sense.
fn format(number: i32, channels: i32, rate: i32) -> Option<SoundFormat> {
    let channels = u32::try_from(channels).ok().filter(|channels| (1..=8).contains(channels))?;
    let rate = u32::try_from(rate).ok().filter(|rate| (1_000..=384_000).contains(rate))?;
    (number == S16).then_some(SoundFormat { channels, rate })
}

impl Sounds {
    pub fn new(teller: Teller) -> Self {
        Self { record: RefCell::default(), began: Instant::now(), teller }
    }

    pub fn watch_playback(self: Rc<Self>, playback: &spice::PlaybackChannel) -> bool {
        let teller = self.teller.clone();
        playback.connect_playback_start(move |_, number, channels, rate| match format(number, channels, rate) {
            Some(format) => teller.sound(Sound::Start(format)),
            None => tracing::warn!(number, channels, rate, "The guest plays what cannot be heard"),
        });
        let teller = self.teller.clone();
        ffi::on_bytes(playback, "playback-data", MAX_PACKET, move |samples| teller.sound(Sound::Data(samples.to_vec())));
        let teller = self.teller.clone();
        playback.connect_playback_stop(move |_| teller.sound(Sound::Stop));
        true
    }

    pub fn watch_record(self: Rc<Self>, record: &spice::RecordChannel) -> bool {
        let sounds = Rc::downgrade(&self);
        record.connect_record_start(move |channel, number, channels, rate| {
            let Some(sounds) = sounds.upgrade() else { return };
            let format = format(number, channels, rate);
            sounds.record.replace(format.is_some().then(|| channel.clone()));
            sounds.teller.listening(format);
        });
        let sounds = Rc::downgrade(&self);
        record.connect_record_stop(move |_| {
            if let Some(sounds) = sounds.upgrade() {
                sounds.record.replace(None);
                sounds.teller.listening(None);
            }
        });
        record.is::<spice::RecordChannel>()
    }

    pub fn record(&self, mut samples: Vec<u8>) {
        if let Some(record) = &*self.record.borrow() {
            // Milliseconds that wrap around, as the protocol has them.
            let time = u32::try_from(self.began.elapsed().as_millis() & u128::from(u32::MAX)).unwrap_or(0);
            ffi::record(record, &mut samples, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_checked() {
        assert_eq!(format(S16, 2, 48_000), Some(SoundFormat { channels: 2, rate: 48_000 }));
        for (number, channels, rate) in [(0, 2, 48_000), (S16, 0, 48_000), (S16, -1, 48_000), (S16, 2, 0), (S16, 2, i32::MAX)] {
            assert_eq!(format(number, channels, rate), None);
        }
    }
}
