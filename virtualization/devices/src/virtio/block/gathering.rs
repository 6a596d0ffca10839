//! When a guest is told of answers: each time that there is nothing more to do, or of several together.
//!
//! A guest that has many requests under way makes one after the other, and a disk that answers each at once interrupts it each time: it
//! spends its time on doorbells and interrupts. So for a guest that is seen to ask for more while it is not told, answers are kept until
//! there are some, and its doorbell rings only then (Ahmad, Gulati, Mashtizadeh: "vIC: Interrupt Coalescing for Virtual Machine Storage
//! Device IO", USENIX ATC 2011, does the former by what is under way). That it asks for more is tried now and then, for as long as it takes
//! it to ask for two; a guest that waits for each answer loses a hundredth by that. Nothing is kept while anything is under way: its end
//! comes by itself.

use std::time::{Duration, Instant};

/// The most answers that are kept.
const MOST: u32 = 16;
/// So many answers are told at once before it is tried, at first and at most, to keep more.
const PAUSE: u32 = 32;
const PAUSE_MAXIMUM: u32 = 4096;
/// A guest that asks for less than one in this time gets each answer at once, and who asks after it may be somebody else.
const SLOW: Duration = Duration::from_millis(5);
/// The longest that an answer is kept.
const LONGEST: Duration = Duration::from_millis(10);

/// What a queue's guest is told.
#[derive(Debug)]
pub struct Gathering {
    /// So many answers are told together.
    wanted: u32,
    /// Answers since the guest was last told.
    answered: u32,
    /// Until when more are waited for.
    until: Option<Instant>,
    /// How long an answer takes, on average.
    pace: Duration,
    told: Option<Instant>,
    /// Answers until it is tried to keep more, and after how many it is the next time.
    left: u32,
    pause: u32,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { wanted: 1, answered: 0, until: None, pace: Duration::ZERO, told: None, left: PAUSE, pause: PAUSE }
    }
}

impl Gathering {
    /// A request was answered.
    pub fn answered(&mut self) {
        self.answered = self.answered.saturating_add(1);
    }

    /// For how many more requests one waits how long before the guest is told, if at all.
    pub fn wait(&mut self, now: impl FnOnce() -> Instant) -> Option<(u32, Duration)> {
        let more = self.wanted.checked_sub(self.answered).filter(|more| *more > 0 && self.answered > 0)?;
        // Not every computer says the time without a system call.
        let now = now();
        let patience = (self.pace * 2 * more).min(LONGEST);
        let until = *self.until.get_or_insert(now + patience);
        Some((more, until.checked_duration_since(now).filter(|left| !left.is_zero())?))
    }

    /// The guest is told now.
    pub fn told(&mut self, now: impl FnOnce() -> Instant) {
        let answered = std::mem::take(&mut self.answered);
        if answered == 0 {
            return;
        }
        let now = now();
        let has_waited = self.until.take().is_some();
        let took = self.told.replace(now).map(|told| now.saturating_duration_since(told) / answered);
        let Some(took) = took.filter(|took| *took < SLOW) else {
            *self = Self { told: self.told, ..Self::default() };
            return;
        };
        self.pace = if self.pace.is_zero() { took } else { (self.pace * 3 + took) / 4 };
        self.left = self.left.saturating_sub(answered);
        if has_waited && answered < self.wanted {
            // Half of them, so that the guest has something to do meanwhile.
            self.wanted = (answered / 2).max(1);
            self.pause = (self.pause * 2).min(PAUSE_MAXIMUM);
            self.left = self.pause;
        } else if answered >= self.wanted && self.left == 0 {
            self.wanted = (self.wanted * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(100);

    /// Serves a guest that has so many requests under way and takes a step to make each, until it has made this many; returns how often it
    /// was told, and how long nobody did anything.
    fn serve(gathering: &mut Gathering, now: &mut Instant, at_once: u32, requests: u32) -> (u32, Duration) {
        let (mut made, mut untold, mut told, mut idle) = (0, 0, 0, Duration::ZERO);
        while made < requests {
            (*now, made, untold) = (*now + STEP, made + 1, untold + 1);
            gathering.answered();
            if let Some((more, time)) = gathering.wait(|| *now) {
                if untold < at_once && time >= STEP {
                    assert!(more > 0);
                    continue;
                }
                // It makes no more before it is told.
                (*now, idle) = (*now + time, idle + time);
                assert_eq!(gathering.wait(|| *now), None);
            }
            gathering.told(|| *now);
            (told, untold) = (told + 1, 0);
        }
        (told, idle)
    }

    #[test]
    fn a_guest_with_many_requests_is_told_of_several_and_one_with_few_at_once() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        serve(&mut gathering, &mut now, 32, 200);
        assert_eq!(serve(&mut gathering, &mut now, 32, 1600).0, 1600 / MOST);
        // It loses next to nothing when it has only one at a time from now on.
        let (told, idle) = serve(&mut gathering, &mut now, 1, 2000);
        assert_eq!(told, 2000);
        assert!(idle < STEP * 60, "{idle:?}");
        // And is found out again when it has more after a rest.
        now += SLOW * 2;
        serve(&mut gathering, &mut now, 32, 200);
        assert_eq!(serve(&mut gathering, &mut now, 32, 1600).0, 1600 / MOST);
    }

    #[test]
    fn a_guest_with_some_requests_is_told_of_no_more_than_it_makes() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        let (told, idle) = serve(&mut gathering, &mut now, 4, 2000);
        assert!(told < 1400 && idle < STEP * 200, "{told} {idle:?}");
    }

    #[test]
    fn a_guest_that_is_slow_is_told_at_once() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        for _ in 0..1000 {
            now += SLOW;
            gathering.answered();
            assert_eq!(gathering.wait(|| now), None);
            gathering.told(|| now);
        }
    }
}
