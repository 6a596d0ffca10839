//! How often something is drawn that changes all the time.

use std::time::Duration;

use tokio::time::Instant;

/// Lets pictures follow each other as fast as a screen shows them. What is late may be followed at once, once: so sixty a second stay sixty.
#[derive(Debug, Default)]
pub struct Pace {
    next: Option<Instant>,
}

/// A sixtieth of a second, less what a timer is late.
const INTERVAL: Duration = Duration::from_micros(16_000);

impl Pace {
    /// Waits until what is drawn now may be followed.
    pub async fn wait(&mut self) {
        let now = Instant::now();
        let due = self.due(now);
        if due > now {
            tokio::time::sleep_until(due).await;
        }
    }

    /// When what is drawn now may be followed.
    pub fn due(&mut self, now: Instant) -> Instant {
        let due = self.next.map_or(now, |next| next.max(now.checked_sub(INTERVAL).unwrap_or(now)));
        self.next = Some(due + INTERVAL);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_paced_and_the_first_after_a_rest_is_not_held_up() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut now = start;
        for _ in 0..60 {
            now = now.max(pace.due(now));
        }
        assert_eq!(now - start, INTERVAL * 59);
        let later = now + Duration::from_secs(5);
        assert!(pace.due(later) <= later);
        assert!(pace.due(later) <= later + INTERVAL, "what was late does not count for ever");
    }
}
