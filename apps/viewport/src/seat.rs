//! Who has the keyboard and the mouse.
//!
//! ```text
//!                 click that the guest needs, full screen, focus (as the policy says), or asked for
//!   host has them ─────────────────────────────────────────────────────────────────────────────────► the guest has them
//!                 ◄─────────────────────────────────────────────────────────────────────────────────
//!                 the release chord, focus lost, or asked for: every key and button that is down goes up first
//! ```
//!
//! Keys that are pressed in a focused window reach the guest without capture as well, but for those that the host takes for itself; capture
//! takes these, too. A guest that is told positions needs no capture for its mouse; one that is told movements does.

use keymap::Key;
use machine::display::{Button, Input};

use crate::held::Held;
use crate::motion::{Motion, Wheel};
use crate::{Placement, ReleaseChord};

/// What a person has decided about capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The keys that give keyboard and mouse back.
    pub release: ReleaseChord,
    /// Whether full screen captures.
    pub on_full_screen: bool,
    /// Whether focus captures.
    pub on_focus: bool,
    /// Whether the click that captures reaches the guest, too.
    pub first_click: bool,
}

/// Something that happened in the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happening {
    /// The window has the keyboard.
    FocusGained,
    /// Another window has the keyboard.
    FocusLost,
    /// The window fills the screen now, or no longer does.
    FullScreen(bool),
    /// The guest takes positions of the pointer now, or only movements.
    TakesPositions(bool),
    /// A person asks for capture, or for its end, by a button or a menu.
    Toggle,
    /// A key went down or up, or repeats.
    Key {
        /// Which one.
        key: Key,
        /// Whether it went down.
        down: bool,
    },
    /// A button went down or up over the canvas, or up anywhere.
    Button {
        /// Which one.
        button: Button,
        /// Whether it went down.
        down: bool,
    },
    /// The pointer is at this point of the canvas, in physical pixels.
    Pointer {
        /// From the left.
        x: f64,
        /// From above.
        y: f64,
    },
    /// The mouse moved by so much, wherever the pointer is.
    Moved {
        /// To the right.
        x: f64,
        /// Down.
        y: f64,
    },
    /// The wheel was turned by so many notches, away from the person.
    Wheel(f64),
}

/// What of the host the window shall take for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grab {
    /// Every key, those that the desktop takes otherwise included.
    pub keyboard: bool,
    /// The pointer: hidden, and kept where it is.
    pub pointer: bool,
}

/// What the window has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Send this to the guest.
    Send(Input),
    /// Take this of the host, and give back what is not in it. The state is shown to the person, with the release chord.
    Grab(Grab),
    /// The release chord, and nothing was captured: the window's own controls get the keyboard, which has no other way to them.
    Leave,
}

/// Who has the keyboard and the mouse of one window.
#[derive(Debug, Clone)]
pub struct Seat {
    policy: Policy,
    focused: bool,
    full_screen: bool,
    captured: bool,
    takes_positions: bool,
    /// All keys of the chord are down and nothing else has gone down since.
    armed: bool,
    /// A button whose press went to the capture, and whose release therefore goes nowhere.
    spent: Option<Button>,
    held: Held,
    motion: Motion,
    wheel: Wheel,
    position: Option<(u32, u32)>,
}

impl Seat {
    /// A window without focus. The guest is taken to take positions until it says otherwise.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            focused: false,
            full_screen: false,
            captured: false,
            takes_positions: true,
            armed: false,
            spent: None,
            held: Held::default(),
            motion: Motion::default(),
            wheel: Wheel::default(),
            position: None,
        }
    }

    /// What a person has decided.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What a person has decided now.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.armed = false;
    }

    /// Whether the guest has keyboard and mouse.
    pub const fn is_captured(&self) -> bool {
        self.captured
    }

    /// Whether the window has the keyboard.
    pub const fn is_focused(&self) -> bool {
        self.focused
    }

    /// Whether the guest is taken to take positions.
    pub const fn takes_positions(&self) -> bool {
        self.takes_positions
    }

    /// The pixel of the guest that the pointer is over, where it is over one.
    pub const fn position(&self) -> Option<(u32, u32)> {
        self.position
    }

    /// What of the host the window has.
    pub const fn grab(&self) -> Grab {
        Grab { keyboard: self.captured, pointer: self.captured && !self.takes_positions }
    }

    /// Takes note of what happened. `placement` is where the picture is now; `None` where there is none.
    pub fn happened(&mut self, what: Happening, placement: Option<Placement>) -> Vec<Effect> {
        let before = self.grab();
        let mut effects = match what {
            Happening::FocusGained => {
                self.focused = true;
                self.captured |= self.policy.on_focus || self.full_screen && self.policy.on_full_screen;
                Vec::new()
            }
            Happening::FocusLost => {
                self.focused = false;
                self.give_back()
            }
            Happening::FullScreen(full) => {
                // What was captured for the full screen ends with it.
                let ends = self.full_screen && !full && self.policy.on_full_screen;
                self.full_screen = full;
                self.captured |= full && self.focused && self.policy.on_full_screen;
                if ends { self.give_back() } else { Vec::new() }
            }
            Happening::TakesPositions(takes) => {
                self.takes_positions = takes;
                self.position = None;
                Vec::new()
            }
            Happening::Toggle if self.captured => self.give_back(),
            Happening::Toggle => {
                self.captured = self.focused;
                Vec::new()
            }
            Happening::Key { key, down } => self.key(key, down),
            Happening::Button { button, down } => self.button(button, down),
            Happening::Pointer { x, y } => self.pointer(x, y, placement),
            Happening::Moved { x, y } if self.grab().pointer => self.motion.moved(x, y).map(Effect::Send).into_iter().collect(),
            Happening::Moved { .. } => Vec::new(),
            Happening::Wheel(notches) if self.position.is_some() || self.captured => {
                self.wheel.turned(notches).into_iter().map(Effect::Send).collect()
            }
            Happening::Wheel(_) => Vec::new(),
        };
        let after = self.grab();
        if before != after {
            effects.push(Effect::Grab(after));
        }
        effects
    }

    fn key(&mut self, key: Key, down: bool) -> Vec<Effect> {
        if !self.focused {
            return Vec::new();
        }
        let chord = self.policy.release.keys();
        let is_of_chord = chord.contains(&key);
        let completes = down && is_of_chord && chord.iter().all(|other| *other == key || self.held.has(*other));
        if completes && !self.policy.release.is_of_modifiers() {
            return self.leave();
        }
        // Whatever was lost on the way, such as the going up of another key: only what happens from here on counts.
        self.armed = if down { completes || self.armed && is_of_chord } else { self.armed };
        let released = !down && is_of_chord && self.armed && self.policy.release.is_of_modifiers();
        if released {
            return self.leave();
        }
        self.held.key(key, down).map(Effect::Send).into_iter().collect()
    }

    fn button(&mut self, button: Button, down: bool) -> Vec<Effect> {
        if !down && self.spent == Some(button) {
            self.spent = None;
            return Vec::new();
        }
        if down && !self.takes_positions && !self.captured {
            // Without capture, the guest's mouse cannot be where this click is meant.
            self.captured = self.focused;
            if !self.policy.first_click || !self.captured {
                self.spent = Some(button);
                return Vec::new();
            }
        }
        if down && self.takes_positions && self.position.is_none() {
            // Beside the picture.
            self.spent = Some(button);
            return Vec::new();
        }
        self.held.button(button, down).map(Effect::Send).into_iter().collect()
    }

    fn pointer(&mut self, x: f64, y: f64, placement: Option<Placement>) -> Vec<Effect> {
        let Some(placement) = placement.filter(|_| self.takes_positions) else {
            self.position = None;
            return Vec::new();
        };
        let dragging = self.held.has_buttons() && self.position.is_some();
        let position = placement.guest_at(x, y).or_else(|| dragging.then(|| placement.guest_nearest(x, y)));
        let is_news = position != self.position;
        self.position = position;
        let sent = position.filter(|_| is_news).map(|(x, y)| Effect::Send(Input::Position { x, y }));
        sent.into_iter().collect()
    }

    /// The chord was pressed.
    fn leave(&mut self) -> Vec<Effect> {
        let captured = self.captured;
        let mut effects = self.give_back();
        if !captured {
            effects.push(Effect::Leave);
        }
        effects
    }

    /// Everything that is down goes up, and the host has keyboard and mouse again.
    fn give_back(&mut self) -> Vec<Effect> {
        self.captured = false;
        self.armed = false;
        self.spent = None;
        self.held.release().into_iter().map(Effect::Send).collect()
    }
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
