//! Keys that are pressed together, as people write them: `ctrl-alt-delete`.

use crate::Key;

/// Most keys that are held together.
const MOST: usize = 8;

/// Why a chord cannot be pressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChordError {
    /// A part of it names no key.
    #[error("There is no key {0:?}")]
    Unknown(String),
    /// Nothing is named.
    #[error("No key is named")]
    Empty,
    /// A key is named twice.
    #[error("The key {0:?} is named twice")]
    Twice(&'static str),
    /// More than a keyboard reports at once.
    #[error("More than {MOST} keys at once")]
    TooMany,
}

/// The keys of `ctrl-alt-delete` or `ctrl+alt+delete`, in the order in which they go down.
///
/// # Errors
/// See [`ChordError`].
pub fn chord(text: &str) -> Result<Vec<Key>, ChordError> {
    // The two separators are keys themselves where they stand alone.
    match text {
        "-" => return Key::named("minus").map(|key| vec![key]).ok_or(ChordError::Empty),
        "+" => return Key::named("kpplus").map(|key| vec![key]).ok_or(ChordError::Empty),
        "" => return Err(ChordError::Empty),
        _ => {}
    }
    let mut keys = Vec::new();
    for name in text.split(['-', '+']) {
        let key = Key::named(name).ok_or_else(|| ChordError::Unknown(name.to_owned()))?;
        if keys.contains(&key) {
            return Err(ChordError::Twice(key.name()));
        }
        if keys.len() == MOST {
            return Err(ChordError::TooMany);
        }
        keys.push(key);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Result<Vec<&'static str>, ChordError> {
        chord(text).map(|keys| keys.into_iter().map(Key::name).collect())
    }

    #[test]
    fn keys_are_held_in_the_order_in_which_they_are_written() {
        assert_eq!(names("Ctrl-Alt-Delete"), Ok(vec!["ctrl", "alt", "delete"]));
        assert_eq!(names("super+l"), Ok(vec!["meta", "l"]));
        assert_eq!(names("-"), Ok(vec!["minus"]));
        assert_eq!(names("ctrl-minus"), Ok(vec!["ctrl", "minus"]));
    }

    #[test]
    fn what_is_no_chord_is_said() {
        assert_eq!(names("ctrl-"), Err(ChordError::Unknown(String::new())));
        assert_eq!(names("ctrl-foo"), Err(ChordError::Unknown("foo".into())));
        assert_eq!(names("ctrl-control"), Err(ChordError::Twice("ctrl")));
        assert_eq!(names(""), Err(ChordError::Empty));
        assert_eq!(names("a-b-c-d-e-f-g-h-i"), Err(ChordError::TooMany));
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_refused(text in "\\PC*") {
            if let Ok(keys) = chord(&text) {
                prop_assert!((1..=MOST).contains(&keys.len()));
            }
        }
    }
}
