//! Which parts of a picture have changed.

use super::Rect;

/// Most rectangles that are kept apart. Beyond, all become one: whoever is that far behind draws everything between them, too.
const MOST: usize = 16;

/// The parts of a picture that have changed, as few rectangles that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    rects: Vec<Rect>,
}

impl Damage {
    /// The rectangles.
    pub fn rects(&self) -> &[Rect] {
        &self.rects
    }

    /// Whether nothing has changed.
    pub const fn is_empty(&self) -> bool {
        self.rects.is_empty()
    }

    /// Adds what has changed. Rectangles that touch become the one that holds both.
    pub fn add(&mut self, mut rect: Rect) {
        while let Some(index) = self.rects.iter().position(|other| other.touches(rect)) {
            let other = self.rects.swap_remove(index);
            if rect.is_within(other) {
                rect = other;
                break;
            }
            rect = rect.union(other);
        }
        self.rects.push(rect);
        if self.rects.len() > MOST {
            let all = self.rects.iter().copied().reduce(Rect::union);
            self.rects = all.into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn neighbours_become_one_and_strangers_stay_apart() {
        let mut damage = Damage::default();
        damage.add(rect(0, 0, 10, 10));
        damage.add(rect(10, 0, 10, 10));
        damage.add(rect(100, 100, 5, 5));
        damage.add(rect(2, 2, 3, 3));
        let mut rects = damage.rects().to_vec();
        rects.sort_by_key(|rect| rect.x);
        assert_eq!(rects, [rect(0, 0, 20, 10), rect(100, 100, 5, 5)]);
    }

    proptest! {
        /// However many come, few are kept, all that changed is among them, and no two touch.
        #[test]
        fn nothing_is_lost_and_little_is_kept(added in proptest::collection::vec((0u32..2000, 0u32..2000, 1u32..300, 1u32..300), 0..200)) {
            let mut damage = Damage::default();
            for (x, y, width, height) in &added {
                damage.add(rect(*x, *y, *width, *height));
            }
            prop_assert!(damage.rects().len() <= MOST);
            for (x, y, width, height) in added {
                prop_assert!(damage.rects().iter().any(|kept| rect(x, y, width, height).is_within(*kept)));
            }
            for (index, one) in damage.rects().iter().enumerate() {
                prop_assert!(damage.rects().iter().skip(index + 1).all(|other| !one.touches(*other)));
            }
        }
    }
}
