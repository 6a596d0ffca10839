//! The part of a window that a picture may take, in physical pixels.

/// The part of a window that a picture may take.
///
/// Toolkits measure in logical pixels, of which a screen with a scale of 1.25 or 1.5 has no whole number. Edges are therefore brought to
/// physical pixels once, here; everything after that is whole numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canvas {
    left: f64,
    top: f64,
    width: u32,
    height: u32,
    ratio: f64,
}

impl Canvas {
    /// The rectangle at `x`, `y` of this size in logical pixels of a window, `ratio` physical ones to each. What makes no sense, such as a
    /// size that is not a number while a window is being made, becomes an empty canvas.
    pub fn new(x: f64, y: f64, width: f64, height: f64, ratio: f64) -> Self {
        let ratio = if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 };
        let edge = |logical: f64| if logical.is_finite() { (logical * ratio).round() } else { 0.0 };
        let (left, top) = (edge(x), edge(y));
        // Both edges are rounded, not the length: what is beside it in the window then begins where it ends.
        Self { left, top, width: whole(edge(x + width) - left), height: whole(edge(y + height) - top), ratio }
    }

    /// Columns of the window to its left.
    pub const fn left(self) -> i64 {
        self.left as i64
    }

    /// Rows of the window above it.
    pub const fn top(self) -> i64 {
        self.top as i64
    }

    /// Columns of physical pixels.
    pub const fn width(self) -> u32 {
        self.width
    }

    /// Rows of physical pixels.
    pub const fn height(self) -> u32 {
        self.height
    }

    /// Physical pixels to a logical one.
    pub const fn ratio(self) -> f64 {
        self.ratio
    }

    /// A point of the window, in logical pixels, as physical pixels from the canvas's corner.
    pub fn physical(self, x: f64, y: f64) -> (f64, f64) {
        (x * self.ratio - self.left, y * self.ratio - self.top)
    }

    /// The point of the window, in logical pixels, that is so many physical pixels from the canvas's corner.
    pub fn logical(self, x: f64, y: f64) -> (f64, f64) {
        ((x + self.left) / self.ratio, (y + self.top) / self.ratio)
    }
}

/// A length as a whole number; none where there is none.
fn whole(length: f64) -> u32 {
    // `as` saturates, and takes what is not a number for 0.
    length.max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_meet_on_a_fractional_screen() {
        // A toolbar of 46 logical pixels and the picture below it, at 125 %: 57.5 physical pixels are no place for an edge.
        let toolbar = Canvas::new(0.0, 0.0, 1280.0, 46.0, 1.25);
        let picture = Canvas::new(0.0, 46.0, 1280.0, 754.0, 1.25);
        assert_eq!((toolbar.height(), picture.height()), (58, 942));
        assert_eq!(toolbar.height() + picture.height(), 1000);
    }

    #[test]
    fn nonsense_is_an_empty_canvas() {
        let canvas = Canvas::new(f64::NAN, 0.0, f64::INFINITY, -5.0, 0.0);
        assert_eq!((canvas.width(), canvas.height(), canvas.ratio()), (0, 0, 1.0));
    }

    proptest! {
        #[test]
        fn points_go_there_and_back(
            x in 0.0..500.0f64, y in 0.0..500.0f64, ratio in 0.5..4.0f64, px in -100.0..3000.0f64, py in -100.0..3000.0f64,
        ) {
            let canvas = Canvas::new(x, y, 800.0, 600.0, ratio);
            let (physical_x, physical_y) = canvas.physical(px, py);
            let (back_x, back_y) = canvas.logical(physical_x, physical_y);
            prop_assert!((back_x - px).abs() < 1e-6 && (back_y - py).abs() < 1e-6);
        }

        #[test]
        fn a_canvas_is_as_large_as_it_looks(width in 0.0..5000.0f64, x in 0.0..500.0f64, ratio in 0.5..4.0f64) {
            let canvas = Canvas::new(x, 0.0, width, 1.0, ratio);
            prop_assert!((f64::from(canvas.width()) - width * ratio).abs() <= 1.0);
        }
    }
}
