//! What the guest believes to be pressed.

use keymap::Key;
use machine::display::{Button, Input};

/// The keys and buttons that the guest has been told are down, in the order in which they went down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    keys: Vec<Key>,
    buttons: Vec<Button>,
}

impl Held {
    /// Whether a key is down.
    pub fn has(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }

    /// Whether a button is down.
    pub const fn has_buttons(&self) -> bool {
        !self.buttons.is_empty()
    }

    /// A key went down or up. `None` where the guest knows: the host's repeating is not the guest's, which repeats by itself.
    pub fn key(&mut self, key: Key, down: bool) -> Option<Input> {
        change(&mut self.keys, key, down).then_some(Input::Key { key, down })
    }

    /// A button went down or up. `None` where the guest knows.
    pub fn button(&mut self, button: Button, down: bool) -> Option<Input> {
        change(&mut self.buttons, button, down).then_some(Input::Button { button, down })
    }

    /// Lets everything go, the last first.
    pub fn release(&mut self) -> Vec<Input> {
        let buttons = self.buttons.drain(..).rev().map(|button| Input::Button { button, down: false });
        let keys = self.keys.drain(..).rev().map(|key| Input::Key { key, down: false });
        buttons.chain(keys).collect()
    }
}

/// Whether that is news.
fn change<T: PartialEq>(held: &mut Vec<T>, one: T, down: bool) -> bool {
    match held.iter().position(|other| *other == one) {
        Some(index) if !down => {
            held.remove(index);
            true
        }
        None if down => {
            held.push(one);
            true
        }
        _ => false,
    }
}
