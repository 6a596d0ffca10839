//! What a head shows, coalesced: however often a backend draws, a viewer sees the newest picture, and all that has changed since it last looked.

use super::{Damage, Rect, Surface};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What a head shows.
#[derive(Debug, Clone, Default)]
pub enum Shown {
    /// Nothing: the guest has switched it off, or has not drawn yet.
    #[default]
    Off,
    /// A picture.
    Surface(Arc<Surface>),
    /// Something that cannot be shown here, and why.
    Unreadable(Arc<str>),
}

impl Shown {
    /// The picture, where there is one.
    pub const fn surface(&self) -> Option<&Arc<Surface>> {
        match self {
            Self::Surface(surface) => Some(surface),
            Self::Off | Self::Unreadable(_) => None,
        }
    }
}

/// The shape of the guest's pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Columns left of the point that it points with; within the picture.
    pub hot_x: u32,
    /// Rows above it.
    pub hot_y: u32,
    /// Four bytes a pixel, row by row without gaps: blue, green, red, opacity.
    pub bgra: Vec<u8>,
}

/// Where the guest's pointer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// Pixels from the left; may be outside.
    pub x: i32,
    /// Pixels from above; may be outside.
    pub y: i32,
    /// Whether the guest shows it.
    pub visible: bool,
}

/// What has changed since a viewer last looked.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// What the head shows now.
    pub shown: Shown,
    /// Whether that is another one than before: another size, other memory, on or off. All of it is damaged then.
    pub replaced: bool,
    /// The parts of it that have changed.
    pub damage: Damage,
    /// The pointer's shape, where that has changed.
    pub cursor: Option<Arc<Cursor>>,
    /// The pointer's place, where that has changed.
    pub pointer: Option<Pointer>,
}

#[derive(Debug, Default)]
struct State {
    next: Update,
    changed: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.changed = true;
        drop(state);
        self.wake.notify_one();
    }
}

/// The end of a head that draws. It never waits. Dropping it ends the frames.
#[derive(Debug)]
pub struct Source(Arc<Shared>);

/// The end of a head that looks.
#[derive(Debug)]
pub struct Frames(Arc<Shared>);

/// A head that is off.
pub fn frames() -> (Source, Frames) {
    let shared = Arc::new(Shared::default());
    (Source(shared.clone()), Frames(shared))
}

impl Source {
    /// Shows another picture.
    pub fn show(&self, surface: Surface) {
        self.0.change(|state| {
            state.next.damage = Damage::default();
            state.next.damage.add(surface.size().whole());
            state.next.shown = Shown::Surface(Arc::new(surface));
            state.next.replaced = true;
        });
    }

    /// Shows nothing.
    pub fn off(&self) {
        self.replace(Shown::Off);
    }

    /// Shows something that cannot be shown here.
    pub fn unreadable(&self, why: &str) {
        self.replace(Shown::Unreadable(why.into()));
    }

    fn replace(&self, shown: Shown) {
        self.0.change(|state| {
            state.next.damage = Damage::default();
            state.next.shown = shown;
            state.next.replaced = true;
        });
    }

    /// Whether anybody still looks.
    pub fn is_watched(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The picture that is shown now.
    pub fn surface(&self) -> Option<Arc<Surface>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).next.shown.surface().cloned()
    }

    /// Part of the picture has changed. The values may be anything; what lies outside is no part of it.
    pub fn damage(&self, x: i64, y: i64, width: i64, height: i64) {
        let size = self.surface().map(|surface| surface.size());
        if let Some(rect) = size.and_then(|size| Rect::within(size, x, y, width, height)) {
            self.0.change(|state| {
                // Between the two looks it may have become another, smaller one.
                if state.next.shown.surface().is_some_and(|surface| rect.is_within(surface.size().whole())) {
                    state.next.damage.add(rect);
                }
            });
        }
    }

    /// The pointer has another shape.
    pub fn cursor(&self, cursor: Cursor) {
        self.0.change(|state| state.next.cursor = Some(Arc::new(cursor)));
    }

    /// The pointer is elsewhere.
    pub fn pointer(&self, pointer: Pointer) {
        self.0.change(|state| state.next.pointer = Some(pointer));
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.0.change(|state| state.closed = true);
    }
}

impl Frames {
    /// What has changed since the last call; waits until something has. `None` where nothing can change any more: the backend is gone.
    ///
    /// Safe to cancel: what it would have said is said by the next call.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            if let Some(update) = self.take() {
                return Some(update);
            }
            if self.is_closed() {
                return None;
            }
            self.0.wake.notified().await;
        }
    }

    /// What has changed since the last call, without waiting.
    pub fn take(&mut self) -> Option<Update> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let update = Update { shown: state.next.shown.clone(), ..Update::default() };
        let said = std::mem::take(&mut state.changed).then(|| std::mem::replace(&mut state.next, update))?;
        let is_news = said.replaced || !said.damage.is_empty() || said.cursor.is_some() || said.pointer.is_some();
        is_news.then_some(said)
    }

    /// What the head shows now, whether or not that has been told.
    pub fn shown(&self) -> Shown {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).next.shown.clone()
    }

    /// Whether the backend is gone.
    pub fn is_closed(&self) -> bool {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Size};
    use super::*;

    fn surface(width: u32, height: u32) -> Surface {
        let bytes = vec![0; (width * height * 4) as usize];
        Surface::bytes(bytes, Size::new(width, height).unwrap(), width * 4, Format::Bgrx).unwrap()
    }

    #[tokio::test]
    async fn a_flood_becomes_one_update() {
        let (source, mut frames) = frames();
        assert!(frames.take().is_none());
        source.show(surface(100, 100));
        let first = frames.next().await.unwrap();
        assert!(first.replaced && first.damage.rects() == [Rect { x: 0, y: 0, width: 100, height: 100 }]);
        for step in 0..10_000 {
            source.damage(step % 90, 5, 10, 10);
            source.pointer(Pointer { x: 1, y: 2, visible: true });
        }
        source.damage(5000, 5000, 10, 10);
        let update = frames.next().await.unwrap();
        assert!(!update.replaced);
        assert_eq!(update.damage.rects(), [Rect { x: 0, y: 5, width: 99, height: 10 }]);
        assert_eq!(update.pointer, Some(Pointer { x: 1, y: 2, visible: true }));
        assert!(update.shown.surface().is_some() && frames.take().is_none());
    }

    #[tokio::test]
    async fn a_new_picture_forgets_the_damage_of_the_old_one() {
        let (source, mut frames) = frames();
        source.show(surface(100, 100));
        source.damage(90, 90, 10, 10);
        source.show(surface(10, 10));
        let update = frames.next().await.unwrap();
        assert_eq!(update.damage.rects(), [Rect { x: 0, y: 0, width: 10, height: 10 }]);
        source.off();
        let update = frames.next().await.unwrap();
        assert!(update.replaced && matches!(update.shown, Shown::Off));
    }

    #[tokio::test]
    async fn the_last_news_are_told_before_the_end() {
        let (source, mut frames) = frames();
        source.show(surface(4, 4));
        let waiting = tokio::spawn(async move { (frames.next().await.is_some(), frames.next().await.is_none()) });
        drop(source);
        assert_eq!(waiting.await.unwrap(), (true, true));
    }
}
