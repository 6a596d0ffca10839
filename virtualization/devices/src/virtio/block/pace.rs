//! Whether a disk's host takes things at once: then nobody has to be asked to carry them out, and to be heard of afterwards.
//!
//! io_uring(7) hands what goes into the host's cache, and syncs, to threads of the kernel, and each costs two changes of threads and an
//! event. Where the cache has room and the medium is quick, carrying them out costs less than that. Where one took long, the next ones
//! would keep others waiting.

use std::time::Duration;

/// What is longer than this, for each begun megabyte, is not at once.
const QUICK: Duration = Duration::from_millis(1);
/// How many are left to others after one that took long.
const LEFT_TO_OTHERS: u32 = 64;

/// Of one kind of transfers.
#[derive(Debug, Default)]
pub struct Pace {
    left_to_others: u32,
}

impl Pace {
    /// Whether the next one is likely to be done at once.
    pub fn is_quick(&mut self) -> bool {
        let is_quick = self.left_to_others == 0;
        self.left_to_others = self.left_to_others.saturating_sub(1);
        is_quick
    }

    /// One of so many bytes took so long.
    pub fn took(&mut self, time: Duration, bytes: usize) {
        if time > QUICK * (1 + (bytes >> 20) as u32) {
            self.left_to_others = LEFT_TO_OTHERS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_one_that_takes_long_others_carry_out_the_next_ones() {
        let mut pace = Pace::default();
        pace.took(QUICK, 4096);
        pace.took(QUICK * 5, 5 << 20);
        assert!(pace.is_quick());
        pace.took(QUICK * 2, 4096);
        assert_eq!((0..100).position(|_| pace.is_quick()), Some(LEFT_TO_OTHERS as usize));
        assert!(pace.is_quick());
    }
}
