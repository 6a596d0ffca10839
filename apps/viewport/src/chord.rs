//! The keys that give keyboard and mouse back.

use keymap::{ChordError, Key};

/// The keys that give keyboard and mouse back to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseChord {
    keys: Vec<Key>,
}

impl ReleaseChord {
    /// The keys of `ctrl-alt` or `rightctrl`, as a person sets them. Left and right keys are different ones.
    ///
    /// # Errors
    /// Where it names no keys.
    pub fn parse(text: &str) -> Result<Self, ChordError> {
        keymap::chord(text).map(|keys| Self { keys })
    }

    /// The keys, in the order in which they are written.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether it is made of keys that do nothing alone. Such a chord works when it is let go with nothing else pressed meanwhile, so that
    /// Ctrl-Alt-Delete still reaches the guest; any other works when its last key goes down.
    pub fn is_of_modifiers(&self) -> bool {
        self.keys.iter().all(|key| MODIFIERS.contains(&key.name()))
    }

    /// The names of the keys as the caps of a keyboard say them: `Ctrl`, `Alt`.
    pub fn caps(&self) -> Vec<String> {
        self.keys.iter().map(|key| cap(*key)).collect()
    }
}

impl Default for ReleaseChord {
    /// Ctrl and Alt on the left.
    fn default() -> Self {
        Self { keys: ["ctrl", "alt"].into_iter().filter_map(Key::named).collect() }
    }
}

const MODIFIERS: [&str; 8] = ["ctrl", "rightctrl", "alt", "rightalt", "shift", "rightshift", "meta", "rightmeta"];

/// A key's name with a capital letter.
fn cap(key: Key) -> String {
    let name = key.name().strip_prefix("right").map_or_else(|| key.name().to_owned(), |name| format!("right {name}"));
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_read_as_keyboards_say_them() {
        assert_eq!(ReleaseChord::default().caps(), ["Ctrl", "Alt"]);
        assert!(ReleaseChord::default().is_of_modifiers());
        let right = ReleaseChord::parse("rightctrl").unwrap();
        assert_eq!((right.caps(), right.is_of_modifiers()), (vec!["Right ctrl".to_owned()], true));
        assert!(!ReleaseChord::parse("ctrl-alt-g").unwrap().is_of_modifiers());
        ReleaseChord::parse("").unwrap_err();
    }

    #[test]
    fn every_modifier_is_a_key() {
        assert!(MODIFIERS.iter().all(|name| Key::named(name).is_some_and(|key| key.name() == *name)));
    }
}
