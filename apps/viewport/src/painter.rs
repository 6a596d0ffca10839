//! From the guest's pixels to a toolkit's: what was damaged, and nothing else.
//!
//! A toolkit keeps the picture in a buffer of its own, in an order of its own. [`Painter::paint`] brings the damaged parts of that buffer up
//! to date; the rest is neither read nor written.

use std::io;

use machine::display::{Format, Rect, Size, Surface};

/// How a toolkit's buffer has its pixels: row by row, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pixels {
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, and full opacity.
    Rgba,
    /// Blue, green, red, and full opacity.
    Bgra,
}

impl Pixels {
    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Rgba | Self::Bgra => 4,
        }
    }

    /// Bytes of a picture.
    pub const fn length(self, size: Size) -> usize {
        size.width as usize * size.height as usize * self.bytes()
    }
}

/// Bytes that are read at a time: they stay in the processor's cache until they are converted.
const STRIP: usize = 256 << 10;

/// Paints damaged parts into a toolkit's buffer.
#[derive(Debug, Default)]
pub struct Painter {
    strip: Vec<u8>,
}

impl Painter {
    /// Brings the `damage` of `target` up to date. It holds all of `surface`, as `pixels` says.
    ///
    /// # Errors
    /// `InvalidInput` where `target` is not as large as the surface; `UnexpectedEof` where shared memory has been made smaller: what was
    /// painted before stays.
    pub fn paint(&mut self, surface: &Surface, damage: &[Rect], target: &mut [u8], pixels: Pixels) -> io::Result<()> {
        let size = surface.size();
        if target.len() != pixels.length(size) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer is not as large as the picture"));
        }
        for rect in damage {
            let rect = Rect::within(size, rect.x.into(), rect.y.into(), rect.width.into(), rect.height.into());
            if let Some(rect) = rect {
                self.paint_rect(surface, rect, target, pixels)?;
            }
        }
        Ok(())
    }

    /// Whether the `damage` of `buffer` is not up to date. Guests draw what is there already more often than not: a blinking cursor's whole
    /// screen, for example; then nothing has to be drawn again.
    ///
    /// # Errors
    /// As [`Self::paint`].
    pub fn differs(&mut self, surface: &Surface, damage: &[Rect], buffer: &[u8], pixels: Pixels) -> io::Result<bool> {
        let (size, format) = (surface.size(), surface.format());
        if buffer.len() != pixels.length(size) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer is not as large as the picture"));
        }
        let mut converted = Vec::new();
        for rect in damage {
            let Some(rect) = Rect::within(size, rect.x.into(), rect.y.into(), rect.width.into(), rect.height.into()) else { continue };
            let row = rect.width as usize * format.bytes();
            converted.resize(rect.width as usize * pixels.bytes(), 0);
            self.strip.resize(row, 0);
            for y in rect.y..rect.bottom() {
                surface.read(Rect { y, height: 1, ..rect }, &mut self.strip, row)?;
                convert(&self.strip, format, &mut converted, pixels);
                let start = (y as usize * size.width as usize + rect.x as usize) * pixels.bytes();
                if buffer.get(start..start + converted.len()) != Some(converted.as_slice()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn paint_rect(&mut self, surface: &Surface, rect: Rect, target: &mut [u8], pixels: Pixels) -> io::Result<()> {
        let (format, stride) = (surface.format(), surface.size().width as usize * pixels.bytes());
        let row = rect.width as usize * format.bytes();
        let rows = u32::try_from((STRIP / row).max(1)).unwrap_or(1);
        for y in (rect.y..rect.bottom()).step_by(rows as usize) {
            let height = rows.min(rect.bottom() - y);
            self.strip.resize(row * height as usize, 0);
            surface.read(Rect { y, height, ..rect }, &mut self.strip, row)?;
            for (index, source) in self.strip.chunks_exact(row).enumerate() {
                let start = (y as usize + index) * stride + rect.x as usize * pixels.bytes();
                if let Some(target) = target.get_mut(start..start + rect.width as usize * pixels.bytes()) {
                    convert(source, format, target, pixels);
                }
            }
        }
        Ok(())
    }
}

/// Converts a row.
fn convert(source: &[u8], format: Format, target: &mut [u8], pixels: Pixels) {
    // What nearly every guest draws, in loops that compilers turn into vector instructions.
    match (format, pixels) {
        (Format::Bgrx, Pixels::Rgb) => each::<4, 3>(source, target, |[b, g, r, _]| [r, g, b]),
        (Format::Bgrx, Pixels::Rgba) => each::<4, 4>(source, target, |[b, g, r, _]| [r, g, b, u8::MAX]),
        (Format::Bgrx, Pixels::Bgra) => each::<4, 4>(source, target, |[b, g, r, _]| [b, g, r, u8::MAX]),
        (format, pixels) => {
            for (from, to) in source.chunks_exact(format.bytes()).zip(target.chunks_exact_mut(pixels.bytes())) {
                let [r, g, b] = format.rgb(from);
                match (pixels, to) {
                    (Pixels::Rgb, [x, y, z]) => (*x, *y, *z) = (r, g, b),
                    (Pixels::Rgba, [x, y, z, opacity]) => (*x, *y, *z, *opacity) = (r, g, b, u8::MAX),
                    (Pixels::Bgra, [x, y, z, opacity]) => (*x, *y, *z, *opacity) = (b, g, r, u8::MAX),
                    _ => {}
                }
            }
        }
    }
}

fn each<const FROM: usize, const TO: usize>(source: &[u8], target: &mut [u8], pixel: impl Fn([u8; FROM]) -> [u8; TO]) {
    let (source, _) = source.as_chunks::<FROM>();
    let (target, _) = target.as_chunks_mut::<TO>();
    for (from, to) in source.iter().zip(target) {
        *to = pixel(*from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [Format; 8] =
        [Format::Bgrx, Format::Rgbx, Format::Xrgb, Format::Xbgr, Format::Bgr, Format::Rgb, Format::Rgb565, Format::Rgb555];
    const PIXELS: [Pixels; 3] = [Pixels::Rgb, Pixels::Rgba, Pixels::Bgra];

    fn surface(size: Size, format: Format, seed: u8) -> Surface {
        // Rows with a gap between them, as guests have them.
        let stride = size.width as usize * format.bytes() + 5;
        let bytes = (0..stride * size.height as usize).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        Surface::bytes(bytes, size, stride as u32, format).unwrap()
    }

    fn rgb(target: &[u8], pixels: Pixels) -> Vec<[u8; 3]> {
        let pixel = |bytes: &[u8]| if pixels == Pixels::Bgra { [bytes[2], bytes[1], bytes[0]] } else { [bytes[0], bytes[1], bytes[2]] };
        target.chunks_exact(pixels.bytes()).map(pixel).collect()
    }

    #[test]
    fn what_is_there_already_differs_in_nothing() {
        let size = Size::new(7, 5).unwrap();
        let (one, other) = (surface(size, Format::Bgrx, 1), surface(size, Format::Bgrx, 2));
        let mut painter = Painter::default();
        let mut target = vec![0; Pixels::Rgb.length(size)];
        painter.paint(&one, &[size.whole()], &mut target, Pixels::Rgb).unwrap();
        let part = [Rect { x: 2, y: 1, width: 3, height: 3 }];
        assert!(!painter.differs(&one, &[size.whole()], &target, Pixels::Rgb).unwrap());
        assert!(painter.differs(&other, &part, &target, Pixels::Rgb).unwrap());
        painter.paint(&other, &part, &mut target, Pixels::Rgb).unwrap();
        assert!(!painter.differs(&other, &part, &target, Pixels::Rgb).unwrap());
        assert!(painter.differs(&other, &[size.whole()], &target, Pixels::Rgb).unwrap());
        assert!(!painter.differs(&other, &[], &target, Pixels::Rgb).unwrap());
        painter.differs(&other, &part, &target[1..], Pixels::Rgb).unwrap_err();
    }

    #[test]
    fn every_format_comes_out_in_its_colours_and_opaque() {
        let size = Size::new(7, 3).unwrap();
        for format in FORMATS {
            let surface = surface(size, format, 9);
            let wanted: Vec<[u8; 3]> = surface.to_rgb().unwrap().as_chunks().0.to_vec();
            for pixels in PIXELS {
                let mut target = vec![0; pixels.length(size)];
                Painter::default().paint(&surface, &[size.whole()], &mut target, pixels).unwrap();
                assert_eq!(rgb(&target, pixels), wanted, "{format:?} as {pixels:?}");
                assert!(pixels == Pixels::Rgb || target.chunks_exact(4).all(|pixel| pixel[3] == u8::MAX));
            }
        }
    }

    #[test]
    fn a_buffer_of_another_size_is_refused() {
        let size = Size::new(4, 4).unwrap();
        let error = Painter::default().paint(&surface(size, Format::Bgrx, 0), &[size.whole()], &mut [0; 10], Pixels::Rgb).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_large_picture_is_painted_strip_by_strip() {
        let size = Size::new(3000, 100).unwrap();
        let surface = surface(size, Format::Bgrx, 3);
        let mut target = vec![0; Pixels::Rgb.length(size)];
        Painter::default().paint(&surface, &[size.whole()], &mut target, Pixels::Rgb).unwrap();
        assert_eq!(target, surface.to_rgb().unwrap());
    }

    proptest! {
        /// What was damaged is new and what was not is as it was, whatever the damage is said to be.
        #[test]
        fn only_the_damage_is_painted(
            width in 1u32..40, height in 1u32..40, format in prop::sample::select(FORMATS.to_vec()), pixels in prop::sample::select(PIXELS.to_vec()),
            damage in prop::collection::vec((0u32..50, 0u32..50, 0u32..50, 0u32..50), 0..4),
        ) {
            let size = Size::new(width, height).unwrap();
            let (old, new) = (surface(size, format, 1), surface(size, format, 200));
            let mut painter = Painter::default();
            let paint = |painter: &mut Painter, surface: &Surface| {
                let mut target = vec![0; pixels.length(size)];
                painter.paint(surface, &[size.whole()], &mut target, pixels).map(|()| target)
            };
            let (before, after) = (paint(&mut painter, &old).unwrap(), paint(&mut painter, &new).unwrap());
            let damage: Vec<Rect> = damage.into_iter().map(|(x, y, width, height)| Rect { x, y, width, height }).collect();
            let mut target = before.clone();
            painter.paint(&new, &damage, &mut target, pixels).unwrap();
            for (index, pixel) in target.chunks_exact(pixels.bytes()).enumerate() {
                let (x, y) = (index as u32 % width, index as u32 / width);
                let is_damaged = damage.iter().any(|rect| x >= rect.x && x < rect.right() && y >= rect.y && y < rect.bottom());
                let wanted = if is_damaged { &after } else { &before };
                prop_assert_eq!(pixel, &wanted[index * pixels.bytes()..(index + 1) * pixels.bytes()]);
            }
        }
    }
}
