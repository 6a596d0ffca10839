//! How samples are written, and how loud they are.

use machine::display::PcmFormat;
use pulseaudio::protocol::{SampleFormat, SampleSpec};

/// How a guest's samples become the server's, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// What the server is told.
    pub spec: SampleSpec,
    /// Which byte of a sample has another first bit there: servers know no unsigned numbers of more than one byte, and no signed one of one.
    flipped: Option<usize>,
}

impl Samples {
    /// Of a guest's format; `None` where there is no such for the server.
    pub fn new(format: PcmFormat) -> Option<Self> {
        let known = match (format.bits, format.float, format.big_endian) {
            (8, false, _) => SampleFormat::U8,
            (16, false, false) => SampleFormat::S16Le,
            (16, false, true) => SampleFormat::S16Be,
            (32, false, false) => SampleFormat::S32Le,
            (32, false, true) => SampleFormat::S32Be,
            (32, true, false) => SampleFormat::Float32Le,
            (32, true, true) => SampleFormat::Float32Be,
            _ => return None,
        };
        let has_sign = format.bits != 8;
        let highest = if format.big_endian { 0 } else { usize::from(format.bits / 8) - 1 };
        let spec = SampleSpec { format: known, channels: format.channels, sample_rate: format.frequency };
        // Servers know eight positions of speakers by name.
        (1..=8)
            .contains(&format.channels)
            .then_some(Self { spec, flipped: (!format.float && format.signed != has_sign).then_some(highest) })
    }

    /// Bytes of a sample.
    fn width(&self) -> usize {
        self.spec.format.bytes_per_sample()
    }

    /// Rewrites whole samples, either way.
    pub fn convert(&self, bytes: &mut [u8]) {
        let Some(flipped) = self.flipped else { return };
        for byte in bytes.iter_mut().skip(flipped).step_by(self.width()) {
            *byte ^= 0x80;
        }
    }

    /// Makes whole frames of the server's as loud as each channel is to be, from 0 to 255.
    pub fn scale(&self, bytes: &mut [u8], loudness: &[u8]) {
        if loudness.iter().all(|level| *level == u8::MAX) {
            return;
        }
        let levels = (0..usize::from(self.spec.channels)).map(|channel| loudness.get(channel).copied().unwrap_or(u8::MAX)).cycle();
        for (sample, level) in bytes.chunks_exact_mut(self.width()).zip(levels) {
            self.scale_one(sample, level);
        }
    }

    fn scale_one(&self, sample: &mut [u8], level: u8) {
        let scaled = |value: i64| value * i64::from(level) / 255;
        match (self.spec.format, sample) {
            (SampleFormat::U8, [value]) => *value = (scaled(i64::from(*value) - 128) + 128) as u8,
            (SampleFormat::S16Le, [a, b]) => {
                [*a, *b] = (scaled(i16::from_le_bytes([*a, *b]).into()) as i16).to_le_bytes();
            }
            (SampleFormat::S16Be, [a, b]) => {
                [*a, *b] = (scaled(i16::from_be_bytes([*a, *b]).into()) as i16).to_be_bytes();
            }
            (format, sample) => {
                let Ok(bytes) = <[u8; 4]>::try_from(&*sample) else { return };
                let gain = f32::from(level) / 255.0;
                let bytes = match format {
                    SampleFormat::S32Le => (scaled(i32::from_le_bytes(bytes).into()) as i32).to_le_bytes(),
                    SampleFormat::S32Be => (scaled(i32::from_be_bytes(bytes).into()) as i32).to_be_bytes(),
                    SampleFormat::Float32Le => (f32::from_le_bytes(bytes) * gain).to_le_bytes(),
                    SampleFormat::Float32Be => (f32::from_be_bytes(bytes) * gain).to_be_bytes(),
                    _ => bytes,
                };
                sample.copy_from_slice(&bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(bits: u8, signed: bool, float: bool) -> PcmFormat {
        PcmFormat { bits, signed, float, frequency: 48_000, channels: 2, big_endian: false }
    }

    #[test]
    fn what_the_server_does_not_know_is_rewritten() {
        let samples = Samples::new(format(16, false, false)).unwrap();
        assert_eq!(samples.spec.format, SampleFormat::S16Le);
        let mut bytes = [0x00, 0x80, 0xff, 0xff];
        samples.convert(&mut bytes);
        assert_eq!(bytes, [0, 0, 0xff, 0x7f], "the middle of unsigned numbers is the zero of signed ones");
        let mut bytes = [0x80, 0x7f];
        Samples::new(format(8, true, false)).unwrap().convert(&mut bytes);
        assert_eq!(bytes, [0, 0xff]);
        let mut bytes = [1, 2, 3, 4];
        Samples::new(format(16, true, false)).unwrap().convert(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert_eq!(Samples::new(format(24, true, false)), None);
        assert_eq!(Samples::new(PcmFormat { channels: 9, ..format(16, true, false) }), None);
    }

    #[test]
    fn each_channel_is_as_loud_as_it_is_to_be() {
        let samples = Samples::new(format(16, true, false)).unwrap();
        let mut bytes: Vec<u8> = [1000_i16, 1000, -1000, -1000].iter().flat_map(|value| value.to_le_bytes()).collect();
        samples.scale(&mut bytes, &[51, 255]);
        let (values, _) = bytes.as_chunks::<2>();
        assert_eq!(values.iter().map(|value| i16::from_le_bytes(*value)).collect::<Vec<_>>(), [200, 1000, -200, -1000]);
        let mut bytes = [228, 28];
        Samples::new(format(8, false, false)).unwrap().scale(&mut bytes, &[0, 127]);
        assert_eq!(bytes, [128, 79], "nothing is the middle");
        let mut bytes: Vec<u8> = 0.5_f32.to_le_bytes().repeat(2);
        Samples::new(format(32, true, true)).unwrap().scale(&mut bytes, &[0, 255]);
        assert_eq!((&bytes[..4], &bytes[4..]), (&0.0_f32.to_le_bytes()[..], &0.5_f32.to_le_bytes()[..]));
    }
}
