//! Movements that toolkits tell in fractions, and guests take in whole steps.

use machine::display::{Button, Input};

/// Movements of a mouse, added up until they are whole pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Motion {
    x: f64,
    y: f64,
}

impl Motion {
    /// The mouse moved by so much. What is less than a pixel is kept for the next time.
    pub fn moved(&mut self, x: f64, y: f64) -> Option<Input> {
        let (x, y) = (take(&mut self.x, x), take(&mut self.y, y));
        (x != 0 || y != 0).then_some(Input::Motion { x, y })
    }
}

/// A wheel, or two fingers, added up until they are whole notches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wheel {
    rest: f64,
}

/// Most notches that are sent for one event; a flick must not keep the guest busy for seconds.
const MOST_NOTCHES: i32 = 20;

impl Wheel {
    /// The wheel was turned away from the person by so many notches; towards them where it is negative. A turn the other way forgets what
    /// was left of the first.
    pub fn turned(&mut self, notches: f64) -> Vec<Input> {
        if notches * self.rest < 0.0 {
            self.rest = 0.0;
        }
        let whole = take(&mut self.rest, notches);
        let button = if whole > 0 { Button::WheelUp } else { Button::WheelDown };
        let notch = [Input::Button { button, down: true }, Input::Button { button, down: false }];
        (0..whole.abs().min(MOST_NOTCHES)).flat_map(|_| notch).collect()
    }
}

/// Adds to what is kept, and takes the whole part away.
fn take(kept: &mut f64, more: f64) -> i32 {
    let sum = *kept + if more.is_finite() { more } else { 0.0 };
    // `as` saturates: what no mouse does is as far as one can.
    let whole = sum.trunc() as i32;
    *kept = (sum - f64::from(whole)).clamp(-1.0, 1.0);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_hand_still_moves_the_mouse() {
        let mut motion = Motion::default();
        let sent: Vec<_> = (0..10).filter_map(|_| motion.moved(0.3, 0.0)).collect();
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert_eq!(sent[0], Input::Motion { x: 1, y: 0 });
    }

    #[test]
    fn a_touchpad_scrolls_notch_by_notch_and_turns_at_once() {
        let mut wheel = Wheel::default();
        assert!(wheel.turned(0.9).is_empty());
        assert_eq!(wheel.turned(0.2).len(), 2);
        assert!(wheel.turned(0.8).is_empty());
        assert_eq!(wheel.turned(-1.0), [true, false].map(|down| Input::Button { button: Button::WheelDown, down }));
        assert_eq!(wheel.turned(1e9).len(), 40);
    }

    proptest! {
        /// However a movement is cut up, the guest's mouse ends within a pixel of where the hand's did.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((-50.0..50.0f64, -50.0..50.0f64), 0..100)) {
            let mut motion = Motion::default();
            let (mut x, mut y) = (0.0, 0.0);
            for (dx, dy) in &steps {
                if let Some(Input::Motion { x: sent_x, y: sent_y }) = motion.moved(*dx, *dy) {
                    x += f64::from(sent_x);
                    y += f64::from(sent_y);
                }
            }
            let hand = steps.iter().fold((0.0, 0.0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
            prop_assert!((hand.0 - x).abs() <= 1.0 + 1e-6 && (hand.1 - y).abs() <= 1.0 + 1e-6);
        }
    }
}
