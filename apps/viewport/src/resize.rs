//! When the guest is asked for another size.
//!
//! A window that is being dragged changes its size with every frame; a guest takes a good part of a second to change its own. So it is asked
//! when the window has kept its size for a while, and one question waits for the answer to the one before. A guest that does not follow is
//! not asked again until the window changes, and one that chose a size by itself keeps it: whoever set it there meant it.

use machine::display::{MAX_SIDE, Size};
use std::time::{Duration, Instant};

/// How long the window has to keep its size.
const QUIET: Duration = Duration::from_millis(250);
/// How long a guest may take to follow.
const PATIENCE: Duration = Duration::from_secs(5);
/// The smallest size that is asked for; menus of installers do not fit into less.
const LEAST: (u32, u32) = (320, 240);

/// Whether the guest's screen follows the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not known: it has not been asked yet, or the answer is still out.
    Open,
    /// It did the last time.
    Follows,
    /// It was asked, and kept its size: no driver or no agent in the guest.
    KeepsItsSize,
    /// Its device cannot be told.
    Cannot,
    /// A person does not want it, or the way of scaling has no use for it.
    Unwanted,
}

/// Asks the guest of one head for sizes.
#[derive(Debug, Clone)]
pub struct Resizer {
    canvas: Option<Size>,
    wanted: Option<(Size, Instant)>,
    asked: Option<(Size, Instant)>,
    shown: Option<Size>,
    standing: Standing,
}

impl Resizer {
    /// For a head whose guest is to follow the window, or not.
    pub const fn new(follow: bool) -> Self {
        Self { canvas: None, wanted: None, asked: None, shown: None, standing: if follow { Standing::Open } else { Standing::Unwanted } }
    }

    /// Whether the guest's screen follows the window.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// The canvas is this large now, in physical pixels.
    pub fn canvas(&mut self, width: u32, height: u32, now: Instant) {
        let side = |side: u32, least: u32| side.clamp(least, MAX_SIDE);
        let size = Size::new(side(width, LEAST.0), side(height, LEAST.1));
        let is_news = size != self.wanted.map(|(size, _)| size).or(self.asked.map(|(size, _)| size));
        if let Some(size) = size.filter(|_| is_news && width > 0 && height > 0) {
            self.canvas = Some(size);
            self.wanted = Some((size, now + QUIET));
        }
    }

    /// The guest may follow from now on: it has started again, or its agent has come.
    pub fn ask_again(&mut self, now: Instant) {
        if self.asked.is_none() && self.wanted.is_none() {
            self.wanted = self.canvas.map(|size| (size, now));
        }
    }

    /// Whoever dragged the window has let it go: there is nothing to wait for.
    pub fn settled(&mut self, now: Instant) {
        if let Some((_, due)) = &mut self.wanted {
            *due = now;
        }
    }

    /// The guest shows this size now.
    pub fn shows(&mut self, size: Size) {
        self.shown = Some(size);
        if let Some((asked, _)) = self.asked
            && asked == size
        {
            self.asked = None;
            self.standing = Standing::Follows;
        }
    }

    /// The device cannot tell the guest: nobody asks again.
    pub fn refused(&mut self) {
        (self.wanted, self.asked, self.standing) = (None, None, Standing::Cannot);
    }

    /// When to call [`Self::poll`] next; `None` where nothing is waited for.
    pub fn due(&self) -> Option<Instant> {
        match (self.asked, self.wanted) {
            (Some((_, until)), _) => Some(until),
            (None, Some((_, due))) if self.is_asking() => Some(due),
            _ => None,
        }
    }

    /// The size to ask the guest for now, where it is time to.
    pub fn poll(&mut self, now: Instant) -> Option<Size> {
        if let Some((_, until)) = self.asked {
            if now < until {
                return None;
            }
            self.asked = None;
            self.standing = Standing::KeepsItsSize;
        }
        let (size, _) = self.wanted.filter(|(_, due)| self.is_asking() && *due <= now)?;
        self.wanted = None;
        if self.shown == Some(size) {
            return None;
        }
        self.asked = Some((size, now + PATIENCE));
        Some(size)
    }

    const fn is_asking(&self) -> bool {
        !matches!(self.standing, Standing::Cannot | Standing::Unwanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(width: u32, height: u32) -> Size {
        Size::new(width, height).unwrap()
    }

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_window_that_is_dragged_asks_once() {
        let (start, mut resizer) = (Instant::now(), Resizer::new(true));
        let mut asked = Vec::new();
        for frame in 0..60 {
            let now = after(start, u64::from(frame) * 16);
            resizer.canvas(800 + frame, 600, now);
            asked.extend(resizer.poll(now));
        }
        assert!(asked.is_empty());
        assert_eq!(resizer.due(), Some(after(start, 59 * 16 + 250)));
        assert_eq!(resizer.poll(resizer.due().unwrap()), Some(size(859, 600)));
        resizer.shows(size(859, 600));
        assert_eq!((resizer.standing(), resizer.due()), (Standing::Follows, None));
    }

    #[test]
    fn letting_go_asks_at_once() {
        let (start, mut resizer) = (Instant::now(), Resizer::new(true));
        resizer.canvas(800, 600, start);
        resizer.settled(after(start, 10));
        assert_eq!(resizer.poll(after(start, 10)), Some(size(800, 600)));
    }

    #[test]
    fn a_guest_that_does_not_follow_is_left_alone_until_the_window_changes() {
        let (start, mut resizer) = (Instant::now(), Resizer::new(true));
        resizer.shows(size(720, 400));
        resizer.canvas(800, 600, start);
        assert!(resizer.poll(after(start, 300)).is_some());
        assert_eq!(resizer.poll(after(start, 5400)), None);
        assert_eq!((resizer.standing(), resizer.due()), (Standing::KeepsItsSize, None));
        resizer.canvas(900, 600, after(start, 6000));
        assert_eq!(resizer.poll(after(start, 6300)), Some(size(900, 600)), "its agent may run by now");
        assert_eq!(resizer.poll(after(start, 12_000)), None);
        resizer.ask_again(after(start, 20_000));
        assert_eq!(resizer.poll(after(start, 20_000)), Some(size(900, 600)), "now it does");
    }

    #[test]
    fn a_size_that_was_set_in_the_guest_stays() {
        let (start, mut resizer) = (Instant::now(), Resizer::new(true));
        resizer.canvas(800, 600, start);
        assert!(resizer.poll(after(start, 300)).is_some());
        resizer.shows(size(800, 600));
        resizer.shows(size(1024, 768));
        assert_eq!((resizer.poll(after(start, 60_000)), resizer.due()), (None, None));
    }

    #[test]
    fn a_device_that_cannot_be_told_is_not_asked_again() {
        let (start, mut resizer) = (Instant::now(), Resizer::new(true));
        resizer.refused();
        resizer.canvas(800, 600, start);
        assert_eq!((resizer.due(), resizer.poll(after(start, 60_000))), (None, None));
        let mut unwanted = Resizer::new(false);
        unwanted.canvas(800, 600, start);
        assert_eq!((unwanted.due(), unwanted.poll(after(start, 60_000))), (None, None));
    }

    proptest! {
        /// Whatever the window does, questions never overlap, and the last size is asked for in the end.
        #[test]
        fn the_last_size_wins(steps in prop::collection::vec((1u32..3000, 1u32..3000, 0u64..2000, any::<bool>()), 1..40)) {
            let (start, mut resizer) = (Instant::now(), Resizer::new(true));
            let mut now = start;
            let mut open: Option<(Size, Instant)> = None;
            let mut last_asked = None;
            for (width, height, wait, answers) in &steps {
                resizer.canvas(*width, *height, now);
                now += Duration::from_millis(*wait);
                if let Some(asked) = resizer.poll(now) {
                    prop_assert!(open.is_none_or(|(_, until)| until <= now), "asked while an answer is out");
                    open = Some((asked, now + PATIENCE));
                    last_asked = Some(asked);
                }
                if let (true, Some((asked, _))) = (*answers, open) {
                    resizer.shows(asked);
                    open = None;
                }
            }
            let (width, height) = steps.last().map(|step| (step.0.max(LEAST.0), step.1.max(LEAST.1))).unwrap();
            while let Some(due) = resizer.due() {
                now = now.max(due);
                if let Some(asked) = resizer.poll(now) {
                    last_asked = Some(asked);
                    resizer.shows(asked);
                }
            }
            prop_assert!(last_asked == Some(size(width, height)) || resizer.shown == Some(size(width, height)));
        }
    }
}
