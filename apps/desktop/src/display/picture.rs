//! The guest's pixels in the toolkit's buffer: what was damaged is copied there, and nothing else.

use machine::display::{Rect, Surface};
use slint::{Image, Rgb8Pixel, SharedPixelBuffer};
use viewport::{Painter, Pixels};

/// The buffer that a window draws the guest's picture from.
#[derive(Default)]
pub struct Picture {
    painter: Painter,
    buffer: Option<SharedPixelBuffer<Rgb8Pixel>>,
}

impl Picture {
    /// Whether a picture with this damage is another than the one that is drawn.
    pub fn differs(&mut self, surface: &Surface, damage: &[Rect]) -> bool {
        let size = surface.size();
        let Some(buffer) = self.buffer.as_ref().filter(|buffer| (buffer.width(), buffer.height()) == (size.width, size.height)) else {
            return true;
        };
        // Memory that is gone is met again when it is painted, and told there.
        self.painter.differs(surface, damage, buffer.as_bytes(), Pixels::Rgb).unwrap_or(true)
    }

    /// Brings the damaged parts up to date. Whoever drew the picture before must have let go of it: otherwise all of it is copied.
    pub fn paint(&mut self, surface: &Surface, damage: &[Rect]) {
        let size = surface.size();
        let fits = self.buffer.as_ref().is_some_and(|buffer| (buffer.width(), buffer.height()) == (size.width, size.height));
        let buffer = match &mut self.buffer {
            Some(buffer) if fits => buffer,
            other => other.insert(SharedPixelBuffer::new(size.width, size.height)),
        };
        let painted = if fits {
            self.painter.paint(surface, damage, buffer.make_mut_bytes(), Pixels::Rgb)
        } else {
            self.painter.paint(surface, &[size.whole()], buffer.make_mut_bytes(), Pixels::Rgb)
        };
        if let Err(error) = painted {
            // A guest that makes its screen smaller: the next picture is already on its way.
            tracing::debug!(%error, "part of the picture is missing");
        }
    }

    /// The picture to draw.
    pub fn image(&self) -> Image {
        self.buffer.clone().map(Image::from_rgb8).unwrap_or_default()
    }

    /// Where its pixels are, to see whether they were copied.
    #[cfg(test)]
    fn address(&self) -> Option<*const Rgb8Pixel> {
        self.buffer.as_ref().map(|buffer| buffer.as_slice().as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::display::{Format, Size};

    #[test]
    fn only_damage_is_copied_and_the_buffer_stays_where_it_is() {
        let size = Size::new(64, 32).unwrap();
        let surface = |value| Surface::bytes(vec![value; 64 * 32 * 4], size, 64 * 4, Format::Bgrx).unwrap();
        let mut picture = Picture::default();
        picture.paint(&surface(1), &[]);
        assert!(!picture.differs(&surface(1), &[size.whole()]));
        let before = picture.address();
        let drawn = picture.image();
        drop(drawn);
        picture.paint(&surface(9), &[Rect { x: 3, y: 4, width: 5, height: 6 }]);
        assert_eq!(picture.address(), before);
        let pixels = picture.image().to_rgb8().unwrap();
        let changed = pixels.as_slice().iter().filter(|pixel| pixel.r == 9).count();
        assert_eq!(changed, 30);
        picture.paint(&Surface::bytes(vec![5; 16], Size::new(2, 2).unwrap(), 8, Format::Bgrx).unwrap(), &[]);
        assert_eq!((picture.image().size().width, picture.image().size().height), (2, 2), "another size is another buffer");
    }
}
