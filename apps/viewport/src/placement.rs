//! Where the guest's picture is on the canvas.
//!
//! Along each side, pixel `i` of the guest covers the canvas from `i · shown / guest` to `(i + 1) · shown / guest`. All of it is whole
//! numbers and fractions of them, so that what maps there maps back.

use machine::display::{Rect, Size};

use crate::Canvas;

/// How large a picture is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Scaling {
    /// As large as fits, with its own proportions.
    #[default]
    Fit,
    /// As large as fits with each pixel of the guest as the same square of pixels: no pixel is wider than another. Where even one to one is
    /// too large, one pixel for each such square.
    Integer,
    /// One pixel for each pixel. What does not fit is scrolled to.
    Actual,
}

/// Part of a canvas, in physical pixels from its corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Area {
    /// Columns to its left.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// One side of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    /// Pixels of the guest.
    guest: u32,
    /// Pixels that they are shown as.
    shown: u32,
    /// Where they begin on the canvas; before it where the picture is larger and scrolled.
    start: i64,
    /// Pixels of the canvas.
    canvas: u32,
}

impl Side {
    /// `at` is the first pixel that is shown, where the picture is larger than the canvas.
    fn new(guest: u32, shown: u32, canvas: u32, at: u32) -> Self {
        let (shown, room) = (shown.max(1), i64::from(canvas) - i64::from(shown.max(1)));
        // Rounded down: half a pixel would blur every pixel.
        let start = if room >= 0 { room / 2 } else { (-i64::from(at)).clamp(room, 0) };
        Self { guest, shown, start, canvas }
    }

    fn guest_at(self, point: f64) -> f64 {
        (point - self.start as f64) * f64::from(self.guest) / f64::from(self.shown)
    }

    /// The pixels of the canvas that show any of the guest's from `from` to before `to`; `None` where they are scrolled away.
    fn covered(self, from: u32, to: u32) -> Option<(u32, u32)> {
        let (guest, shown) = (i64::from(self.guest), i64::from(self.shown));
        // Neither product passes 2^46: the sides are at most 2^14 and 2^32.
        let first = i64::from(from) * shown / guest + self.start;
        let last = (i64::from(to) * shown + guest - 1) / guest + self.start;
        let first = u32::try_from(first.clamp(0, i64::from(self.canvas))).ok()?;
        let last = u32::try_from(last.clamp(0, i64::from(self.canvas))).ok()?;
        (last > first).then(|| (first, last - first))
    }

    const fn is_exact(self) -> bool {
        self.shown.is_multiple_of(self.guest)
    }
}

/// Where a picture is on a canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    across: Side,
    down: Side,
}

impl Placement {
    /// Places a picture in the middle of a canvas. `scrolled` is the guest's pixel that is at the upper left where the picture is larger
    /// than the canvas, which only [`Scaling::Actual`] makes it.
    pub fn new(guest: Size, canvas: Canvas, scaling: Scaling, scrolled: (u32, u32)) -> Self {
        let (width, height) = shown(guest, canvas.width(), canvas.height(), scaling);
        Self {
            across: Side::new(guest.width, width, canvas.width(), scrolled.0),
            down: Side::new(guest.height, height, canvas.height(), scrolled.1),
        }
    }

    /// Where the picture begins, in pixels of the canvas, and how large it is shown. The start is negative where it is scrolled.
    pub const fn picture(self) -> (i64, i64, u32, u32) {
        (self.across.start, self.down.start, self.across.shown, self.down.shown)
    }

    /// Whether each pixel of the guest is shown as the same whole number of pixels: then nothing has to be interpolated.
    pub const fn is_exact(self) -> bool {
        self.across.is_exact() && self.down.is_exact()
    }

    /// Whether there is more of the picture than the canvas shows.
    pub const fn is_scrolled(self) -> bool {
        self.across.shown > self.across.canvas || self.down.shown > self.down.canvas
    }

    /// The pixel of the guest at a point of the canvas, in physical pixels; `None` beside the picture.
    pub fn guest_at(self, x: f64, y: f64) -> Option<(u32, u32)> {
        let inside = |value: f64, side: Side| (value >= 0.0 && value < f64::from(side.guest)).then_some(value as u32);
        Some((inside(self.across.guest_at(x), self.across)?, inside(self.down.guest_at(y), self.down)?))
    }

    /// The pixel of the guest that is nearest to a point of the canvas: a person who drags something past the picture's edge drags it along
    /// the edge.
    pub fn guest_nearest(self, x: f64, y: f64) -> (u32, u32) {
        // `as` saturates below and takes what is not a number for 0.
        let near = |value: f64, side: Side| (value as u32).min(side.guest - 1);
        (near(self.across.guest_at(x), self.across), near(self.down.guest_at(y), self.down))
    }

    /// The middle of a pixel of the guest, in physical pixels of the canvas: where to draw the pointer that the guest has placed.
    pub fn middle_of(self, x: u32, y: u32) -> (f64, f64) {
        let middle = |pixel: u32, side: Side| (f64::from(pixel) + 0.5) * f64::from(side.shown) / f64::from(side.guest) + side.start as f64;
        (middle(x, self.across), middle(y, self.down))
    }

    /// The part of the canvas that has to be drawn again where `damage` of the guest's picture has changed; `None` where none of it is in
    /// sight. Includes what an interpolation takes from the neighbours, so that no seam stays where two damages meet.
    pub fn drawn_for(self, damage: Rect) -> Option<Area> {
        let margin = u32::from(!self.is_exact());
        let from = |start: u32| start.saturating_sub(margin);
        let to = |end: u32, side: Side| end.saturating_add(margin).min(side.guest);
        let (x, width) = self.across.covered(from(damage.x), to(damage.right(), self.across))?;
        let (y, height) = self.down.covered(from(damage.y), to(damage.bottom(), self.down))?;
        Some(Area { x, y, width, height })
    }

    /// The part of the canvas that shows the picture; around it is the stage. `None` for an empty canvas.
    pub fn visible(self) -> Option<Area> {
        let (x, width) = self.across.covered(0, self.across.guest)?;
        let (y, height) = self.down.covered(0, self.down.guest)?;
        Some(Area { x, y, width, height })
    }
}

/// How large a picture is shown on a canvas. Neither side is 0.
fn shown(guest: Size, width: u32, height: u32, scaling: Scaling) -> (u32, u32) {
    if width == 0 || height == 0 {
        return (guest.width, guest.height);
    }
    match scaling {
        Scaling::Actual => (guest.width, guest.height),
        Scaling::Fit => {
            let [gw, gh, cw, ch] = [guest.width, guest.height, width, height].map(u64::from);
            let scaled = |side: u64, by: u64, over: u64| u32::try_from((side * by + over / 2) / over).unwrap_or(u32::MAX).max(1);
            if cw * gh <= ch * gw { (width, scaled(gh, cw, gw)) } else { (scaled(gw, ch, gh), height) }
        }
        Scaling::Integer => {
            let times = (width / guest.width).min(height / guest.height);
            if times > 0 {
                (guest.width * times, guest.height * times)
            } else {
                let parts = guest.width.div_ceil(width).max(guest.height.div_ceil(height));
                (guest.width.div_ceil(parts), guest.height.div_ceil(parts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(width: u32, height: u32) -> Size {
        Size::new(width, height).unwrap()
    }

    fn physical(width: u32, height: u32) -> Canvas {
        Canvas::new(0.0, 0.0, f64::from(width), f64::from(height), 1.0)
    }

    fn place(guest: (u32, u32), canvas: (u32, u32), scaling: Scaling) -> Placement {
        Placement::new(size(guest.0, guest.1), physical(canvas.0, canvas.1), scaling, (0, 0))
    }

    #[test]
    fn a_full_hd_guest_fits_a_laptop_window_with_stage_above_and_below() {
        let placement = place((1920, 1080), (1280, 754), Scaling::Fit);
        assert_eq!(placement.picture(), (0, 17, 1280, 720));
        assert_eq!(placement.guest_at(640.0, 377.0), Some((960, 540)));
        assert_eq!(placement.guest_at(640.0, 10.0), None, "the stage is no part of the guest");
        assert_eq!(placement.guest_nearest(640.0, 10.0), (960, 0));
    }

    #[test]
    fn a_boot_menu_is_sharp_on_a_screen_with_fractional_scale() {
        // 720 × 400 text in a window of 1024 × 640 at 150 %: twice as large, each pixel a square of four.
        let canvas = Canvas::new(0.0, 0.0, 1024.0, 640.0, 1.5);
        let placement = Placement::new(size(720, 400), canvas, Scaling::Integer, (0, 0));
        assert_eq!(placement.picture(), (48, 80, 1440, 800));
        assert!(placement.is_exact());
        assert_eq!(placement.drawn_for(Rect { x: 1, y: 1, width: 1, height: 1 }), Some(Area { x: 50, y: 82, width: 2, height: 2 }));
    }

    #[test]
    fn actual_size_scrolls_no_further_than_the_picture() {
        let guest = size(1920, 1080);
        let placement = |scrolled| Placement::new(guest, physical(1280, 720), Scaling::Actual, scrolled);
        assert_eq!(placement((100, 50)).guest_at(0.5, 0.5), Some((100, 50)));
        assert_eq!(placement((5000, 5000)).guest_at(1279.5, 719.5), Some((1919, 1079)));
        assert!(placement((0, 0)).is_scrolled());
        assert_eq!(placement((0, 0)).drawn_for(Rect { x: 1500, y: 0, width: 10, height: 10 }), None, "out of sight");
    }

    #[test]
    fn no_canvas_shows_nothing_and_breaks_nothing() {
        let placement = place((640, 480), (0, 0), Scaling::Fit);
        assert_eq!(placement.visible(), None);
        assert_eq!(placement.drawn_for(size(640, 480).whole()), None);
    }

    fn scaling() -> impl Strategy<Value = Scaling> {
        prop_oneof![Just(Scaling::Fit), Just(Scaling::Integer), Just(Scaling::Actual)]
    }

    proptest! {
        /// The middle of a guest's pixel is that pixel again, wherever it is shown.
        #[test]
        fn pixels_go_there_and_back(
            gw in 1u32..4096, gh in 1u32..4096, cw in 1u32..4096, ch in 1u32..4096, scaling in scaling(), at in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let placement = place((gw, gh), (cw, ch), scaling);
            let pixel = (at.0.index(gw as usize) as u32, at.1.index(gh as usize) as u32);
            let (x, y) = placement.middle_of(pixel.0, pixel.1);
            prop_assert_eq!(placement.guest_at(x, y), Some(pixel));
            prop_assert_eq!(placement.guest_nearest(x, y), pixel);
        }

        /// A picture that is fitted is never outside, touches two edges and keeps its proportions to half a pixel.
        #[test]
        fn a_fitted_picture_fits(gw in 1u32..4096, gh in 1u32..4096, cw in 1u32..4096, ch in 1u32..4096) {
            let (x, y, width, height) = place((gw, gh), (cw, ch), Scaling::Fit).picture();
            prop_assert!(x >= 0 && y >= 0 && width <= cw && height <= ch);
            prop_assert!(width == cw || height == ch);
            // One side is the canvas's, the other is rounded; which, cannot be told where both happen to be the canvas's.
            let down = f64::from(gh) * f64::from(cw) / f64::from(gw) - f64::from(height);
            let across = f64::from(gw) * f64::from(ch) / f64::from(gh) - f64::from(width);
            prop_assert!(down.abs() <= 0.5 || across.abs() <= 0.5 || height == 1 || width == 1);
        }

        /// With whole numbers, the picture never passes the canvas and nothing is interpolated unless it has to shrink.
        #[test]
        fn an_integer_picture_is_exact(gw in 1u32..2048, gh in 1u32..2048, cw in 1u32..4096, ch in 1u32..4096) {
            let placement = place((gw, gh), (cw, ch), Scaling::Integer);
            let (_, _, width, height) = placement.picture();
            prop_assert!(width <= cw && height <= ch);
            prop_assert_eq!(placement.is_exact(), gw <= cw && gh <= ch || gw == 1 && gh == 1 || width == gw && height == gh);
        }

        /// Wherever the guest's picture is cut, the two halves leave no pixel of the canvas between them, and together are the whole.
        #[test]
        fn damage_leaves_no_seam(
            gw in 2u32..3000, gh in 1u32..3000, cw in 1u32..3000, ch in 1u32..3000, scaling in scaling(), cut in any::<prop::sample::Index>(),
        ) {
            let placement = place((gw, gh), (cw, ch), scaling);
            let cut = 1 + cut.index(gw as usize - 1) as u32;
            let left = placement.drawn_for(Rect { x: 0, y: 0, width: cut, height: gh });
            let right = placement.drawn_for(Rect { x: cut, y: 0, width: gw - cut, height: gh });
            let whole = placement.visible().unwrap();
            let (start, end) = match (left, right) {
                (Some(left), Some(right)) => {
                    prop_assert!(left.x + left.width >= right.x);
                    (left.x, right.x + right.width)
                }
                (Some(one), None) | (None, Some(one)) => (one.x, one.x + one.width),
                (None, None) => return Err(TestCaseError::fail("a picture that is in sight has no part in sight")),
            };
            prop_assert_eq!((start, end), (whole.x, whole.x + whole.width));
        }

        /// Every pixel of the canvas that is drawn from a changed pixel of the guest, its neighbours included, is drawn again.
        #[test]
        fn nothing_stale_stays(gw in 1u32..60, gh in 1u32..60, cw in 1u32..60, ch in 1u32..60, scaling in scaling(), x in 0u32..60, width in 1u32..60) {
            let placement = place((gw, gh), (cw, ch), scaling);
            let Some(damage) = Rect::within(size(gw, gh), i64::from(x), 0, i64::from(width), 1) else { return Ok(()) };
            let area = placement.drawn_for(damage);
            for column in 0..cw {
                let middle = f64::from(column) + 0.5;
                let Some((sampled, _)) = placement.guest_at(middle, placement.middle_of(0, 0).1) else { continue };
                if sampled >= damage.x && sampled < damage.right() {
                    prop_assert!(area.is_some_and(|area| column >= area.x && column < area.x + area.width), "column {column}");
                }
            }
        }
    }
}
