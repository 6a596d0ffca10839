//! Sizes and rectangles in pixels.

/// The longest side of anything that is shown, in pixels.
pub const MAX_SIDE: u32 = 16384;

/// How large something is, in pixels. Neither side is 0 or longer than [`MAX_SIDE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size that can be shown.
    pub const fn new(width: u32, height: u32) -> Option<Self> {
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE { None } else { Some(Self { width, height }) }
    }

    /// All of it.
    pub const fn whole(self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }
}

/// Part of a picture, in pixels from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Columns to its left.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// What of the given values, which may be anything, lies within `size`; `None` where nothing does.
    pub fn within(size: Size, x: i64, y: i64, width: i64, height: i64) -> Option<Self> {
        let clip = |start: i64, length: i64, side: u32| {
            let end = start.saturating_add(length.max(0)).clamp(0, i64::from(side));
            let start = start.clamp(0, i64::from(side));
            let length = u32::try_from(end - start).ok().filter(|length| *length > 0)?;
            Some((u32::try_from(start).ok()?, length))
        };
        let (x, width) = clip(x, width, size.width)?;
        let (y, height) = clip(y, height, size.height)?;
        Some(Self { x, y, width, height })
    }

    /// The column after its last.
    pub const fn right(self) -> u32 {
        self.x.saturating_add(self.width)
    }

    /// The row after its last.
    pub const fn bottom(self) -> u32 {
        self.y.saturating_add(self.height)
    }

    /// Whether it has no pixel outside `other`.
    pub const fn is_within(self, other: Self) -> bool {
        self.x >= other.x && self.y >= other.y && self.right() <= other.right() && self.bottom() <= other.bottom()
    }

    /// Whether it shares a pixel or an edge with `other`.
    pub const fn touches(self, other: Self) -> bool {
        self.x <= other.right() && other.x <= self.right() && self.y <= other.bottom() && other.y <= self.bottom()
    }

    /// The smallest that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let (right, bottom) = (self.right().max(other.right()), self.bottom().max(other.bottom()));
        Self { x, y, width: right - x, height: bottom - y }
    }

    /// Pixels in it.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_lies_outside_is_cut_off() {
        let size = Size::new(100, 50).unwrap();
        assert_eq!(Rect::within(size, -10, 40, 30, 30), Some(Rect { x: 0, y: 40, width: 20, height: 10 }));
        assert_eq!(Rect::within(size, 100, 0, 5, 5), None);
        assert_eq!(Rect::within(size, 5, 5, -3, 5), None);
        assert_eq!(Size::new(0, 5), None);
        assert_eq!(Size::new(MAX_SIDE + 1, 5), None);
    }

    proptest! {
        #[test]
        fn a_clipped_rectangle_is_inside(x in any::<i64>(), y in any::<i64>(), w in any::<i64>(), h in any::<i64>()) {
            let size = Size::new(1024, 768).unwrap();
            if let Some(rect) = Rect::within(size, x, y, w, h) {
                prop_assert!(rect.area() > 0 && rect.is_within(size.whole()));
            }
        }
    }
}
