//! What a person prefers, whichever machine it is: `preferences.json` in the state folder.
//!
//! Reading never fails: what cannot be understood is told and is as if it were not there; what is not known here is kept.

use serde_json::{Map, Value};

use crate::{Message, Text, texts};

/// A preference with a label, help, and the words that it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// Its key in the file.
    pub key: &'static str,
    /// What it is called.
    pub label: Text,
    /// What it is for, in one line.
    pub help: Text,
    /// What it can be; the first is what it is where nobody has chosen.
    pub kind: PreferenceKind,
}

/// What a preference can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreferenceKind {
    /// On or off; usually this.
    Switch(bool),
    /// One of these: what the file says, and what people read. The first is usual.
    Choice(&'static [(&'static str, Text)]),
    /// Keys that are pressed together, as [`keymap::chord`] reads them.
    Chord(&'static str),
    /// Several of those.
    Chords(&'static [&'static str]),
}

/// Light or dark: `system`, `light`, `dark`.
pub const APPEARANCE: &str = "appearance";
/// How large pictures are shown at first: `fit`, `integer`, `actual`.
pub const SCALING: &str = "scaling";
/// What closing a machine's window does: `leave`, `shut-down`, `ask`.
pub const CLOSING: &str = "closing";
/// The keys that give keyboard and mouse back.
pub const RELEASE: &str = "release-keys";
/// Whether full screen captures the keyboard.
pub const CAPTURE_FULL_SCREEN: &str = "capture-in-full-screen";
/// Whether focus captures the keyboard.
pub const CAPTURE_FOCUS: &str = "capture-with-focus";
/// Whether the click that captures reaches the guest.
pub const FIRST_CLICK: &str = "first-click";
/// Whether guests may use the microphone.
pub const MICROPHONE: &str = "microphone";
/// Keys that "Send keys" offers.
pub const SEND_KEYS: &str = "send-keys";

/// Every preference, in the order of the page.
pub const PREFERENCES: &[Preference] = &[
    Preference {
        key: APPEARANCE,
        label: texts::PREFER_APPEARANCE,
        help: texts::PREFER_APPEARANCE_HELP,
        kind: PreferenceKind::Choice(&[("system", texts::PREFER_SYSTEM), ("light", texts::PREFER_LIGHT), ("dark", texts::PREFER_DARK)]),
    },
    Preference {
        key: SCALING,
        label: texts::PREFER_SCALING,
        help: texts::PREFER_SCALING_HELP,
        kind: PreferenceKind::Choice(&[("fit", texts::PREFER_FIT), ("integer", texts::PREFER_INTEGER), ("actual", texts::PREFER_ACTUAL)]),
    },
    Preference {
        key: CLOSING,
        label: texts::PREFER_CLOSING,
        help: texts::PREFER_CLOSING_HELP,
        kind: PreferenceKind::Choice(&[("leave", texts::PREFER_LEAVE), ("shut-down", texts::PREFER_SHUT_DOWN), ("ask", texts::PREFER_ASK)]),
    },
    Preference { key: RELEASE, label: texts::PREFER_RELEASE, help: texts::PREFER_RELEASE_HELP, kind: PreferenceKind::Chord("ctrl-alt") },
    Preference {
        key: CAPTURE_FULL_SCREEN,
        label: texts::PREFER_CAPTURE_FULL_SCREEN,
        help: texts::PREFER_CAPTURE_FULL_SCREEN_HELP,
        kind: PreferenceKind::Switch(true),
    },
    Preference {
        key: CAPTURE_FOCUS,
        label: texts::PREFER_CAPTURE_FOCUS,
        help: texts::PREFER_CAPTURE_FOCUS_HELP,
        kind: PreferenceKind::Switch(false),
    },
    Preference {
        key: FIRST_CLICK,
        label: texts::PREFER_FIRST_CLICK,
        help: texts::PREFER_FIRST_CLICK_HELP,
        kind: PreferenceKind::Switch(false),
    },
    Preference {
        key: MICROPHONE,
        label: texts::PREFER_MICROPHONE,
        help: texts::PREFER_MICROPHONE_HELP,
        kind: PreferenceKind::Switch(false),
    },
    Preference {
        key: SEND_KEYS,
        label: texts::PREFER_SEND_KEYS,
        help: texts::PREFER_SEND_KEYS_HELP,
        kind: PreferenceKind::Chords(&["ctrl-alt-delete", "ctrl-alt-f1", "ctrl-alt-f2", "ctrl-alt-f7", "ctrl-alt-backspace", "print"]),
    },
];

/// The most chords that are kept.
const MOST_CHORDS: usize = 64;

/// What a person prefers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preferences {
    values: Map<String, Value>,
}

impl Preferences {
    /// Reads the file's bytes; none are the usual preferences. The messages tell what could not be understood.
    pub fn read(bytes: &[u8]) -> (Self, Vec<Message>) {
        if bytes.is_empty() {
            return (Self::default(), Vec::new());
        }
        let Ok(Value::Object(mut values)) = serde_json::from_slice(bytes) else {
            return (Self::default(), vec![texts::PREFER_UNREADABLE.into()]);
        };
        let mut told = Vec::new();
        for preference in PREFERENCES {
            if let Some(wrong) = values.get(preference.key).and_then(|value| preference.wrong_with(value)) {
                told.push(wrong);
                values.shift_remove(preference.key);
            }
        }
        (Self { values }, told)
    }

    /// The file's bytes, with everything that was not known.
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(&self.values).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// What is preferred, as the file has it: a word, `true` or `false`, or a list of words.
    pub fn value(&self, key: &str) -> Value {
        let usual =
            || PREFERENCES.iter().find(|preference| preference.key == key).map_or(Value::Null, |preference| preference.kind.usual());
        self.values.get(key).cloned().unwrap_or_else(usual)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        self.value(key).as_bool().unwrap_or(false)
    }

    /// A choice or a chord.
    pub fn word(&self, key: &str) -> String {
        self.value(key).as_str().unwrap_or_default().to_owned()
    }

    /// Several chords.
    pub fn words(&self, key: &str) -> Vec<String> {
        self.value(key).as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Prefers something; what is usual leaves the file again.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn set(&mut self, key: &str, value: Value) -> Result<(), Message> {
        let Some(preference) = PREFERENCES.iter().find(|preference| preference.key == key) else {
            return Err(texts::PREFER_UNKNOWN.with([&key]));
        };
        if let Some(wrong) = preference.wrong_with(&value) {
            return Err(wrong);
        }
        if value == preference.kind.usual() {
            self.values.shift_remove(key);
        } else {
            self.values.insert(key.to_owned(), value);
        }
        Ok(())
    }
}

impl PreferenceKind {
    /// What it is where nobody has chosen.
    fn usual(self) -> Value {
        match self {
            Self::Switch(on) => on.into(),
            Self::Choice(choices) => choices.first().map_or(Value::Null, |(word, _)| (*word).into()),
            Self::Chord(chord) => chord.into(),
            Self::Chords(chords) => chords.iter().copied().map(Value::from).collect(),
        }
    }
}

impl Preference {
    fn wrong_with(&self, value: &Value) -> Option<Message> {
        let not = || Some(texts::PREFER_NOT.with([&value, &self.label]));
        let chord = |value: &Value| match value.as_str().map(keymap::chord) {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(texts::PREFER_CHORD.with([&self.label, &error])),
            None => not(),
        };
        match (self.kind, value) {
            (PreferenceKind::Switch(_), Value::Bool(_)) => None,
            (PreferenceKind::Choice(choices), Value::String(word)) if choices.iter().any(|(known, _)| known == word) => None,
            (PreferenceKind::Chord(_), value) => chord(value),
            (PreferenceKind::Chords(_), Value::Array(chords)) if chords.len() <= MOST_CHORDS => chords.iter().find_map(chord),
            _ => not(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn nobody_has_to_choose() {
        let (preferences, told) = Preferences::read(b"");
        assert!(told.is_empty());
        assert_eq!(
            (preferences.word(CLOSING), preferences.word(RELEASE), preferences.is_on(CAPTURE_FULL_SCREEN)),
            ("leave".into(), "ctrl-alt".into(), true)
        );
        assert!(preferences.words(SEND_KEYS).contains(&"ctrl-alt-delete".to_owned()));
    }

    #[test]
    fn what_is_not_understood_is_told_and_what_is_not_known_is_kept() {
        let file = br#"{ "closing": "explode", "appearance": "dark", "release-keys": "ctrl-nothing", "of-tomorrow": [1] }"#;
        let (mut preferences, told) = Preferences::read(file);
        let told: Vec<String> = told.iter().map(Message::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|told| told.contains("nothing")), "{told:?}");
        assert_eq!((preferences.word(CLOSING), preferences.word(APPEARANCE)), ("leave".into(), "dark".into()));
        preferences.set(APPEARANCE, json!("system")).unwrap();
        let text = String::from_utf8(preferences.to_json()).unwrap();
        assert!(text.contains("of-tomorrow") && !text.contains("appearance"), "{text}");
    }

    #[test]
    fn a_chord_that_could_not_be_pressed_is_refused() {
        let mut preferences = Preferences::default();
        assert!(preferences.set(RELEASE, json!("")).is_err() && preferences.set(RELEASE, json!(5)).is_err());
        preferences.set(RELEASE, json!("rightctrl")).unwrap();
        assert_eq!(preferences.word(RELEASE), "rightctrl");
        assert!(preferences.set("nonsense", json!(true)).is_err());
    }

    proptest! {
        /// Whatever the file holds, every preference has a value that it can have, and writing loses nothing of it.
        #[test]
        fn any_file_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..40), key in 0..PREFERENCES.len(), word in "\\PC{0,8}") {
            let file = json!({ PREFERENCES[key].key: word }).to_string();
            for bytes in [bytes.as_slice(), file.as_bytes()] {
                let (preferences, _) = Preferences::read(bytes);
                for preference in PREFERENCES {
                    prop_assert!(preference.wrong_with(&preferences.value(preference.key)).is_none());
                }
                prop_assert_eq!(Preferences::read(&preferences.to_json()), (preferences, Vec::new()));
            }
        }
    }
}
