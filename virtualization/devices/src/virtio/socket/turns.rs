//! Who has a turn next.

use std::collections::{BTreeSet, VecDeque};

/// Those that want a turn, in the order in which they began to; each has one place, however often it asks.
#[derive(Debug)]
pub struct Turns<T> {
    order: VecDeque<T>,
    members: BTreeSet<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), members: BTreeSet::new() }
    }
}

impl<T: Copy + Ord> Turns<T> {
    /// It wants a turn.
    pub fn add(&mut self, member: T) {
        if self.members.insert(member) {
            self.order.push_back(member);
        }
    }

    /// It wants none any longer.
    pub fn remove(&mut self, member: T) {
        if self.members.remove(&member) {
            self.order.retain(|other| *other != member);
        }
    }

    /// The next one, whose turn it is.
    pub fn next(&mut self) -> Option<T> {
        let next = self.order.pop_front()?;
        self.members.remove(&next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_often_has_one_place() {
        let mut turns = Turns::default();
        for _ in 0..1000 {
            [3, 1, 2].into_iter().for_each(|member| turns.add(member));
        }
        assert_eq!(turns.order.len(), 3);
        assert_eq!(turns.next(), Some(3));
        turns.add(3);
        turns.remove(1);
        turns.remove(7);
        assert_eq!([turns.next(), turns.next(), turns.next()], [Some(2), Some(3), None]);
    }
}
