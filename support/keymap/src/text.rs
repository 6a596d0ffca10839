//! Text as somebody at a United States keyboard types it.

use crate::Key;

/// One key, with or without shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stroke {
    /// The key.
    pub key: Key,
    /// Whether shift is held meanwhile.
    pub shift: bool,
}

/// Keys that are not letters, by what they write alone and with shift.
const SIGNS: &[(&str, char, char)] = &[
    ("1", '1', '!'),
    ("2", '2', '@'),
    ("3", '3', '#'),
    ("4", '4', '$'),
    ("5", '5', '%'),
    ("6", '6', '^'),
    ("7", '7', '&'),
    ("8", '8', '*'),
    ("9", '9', '('),
    ("0", '0', ')'),
    ("minus", '-', '_'),
    ("equal", '=', '+'),
    ("leftbrace", '[', '{'),
    ("rightbrace", ']', '}'),
    ("semicolon", ';', ':'),
    ("apostrophe", '\'', '"'),
    ("grave", '`', '~'),
    ("backslash", '\\', '|'),
    ("comma", ',', '<'),
    ("dot", '.', '>'),
    ("slash", '/', '?'),
];

/// How to type a character; `None` for one that this keyboard has not.
pub fn stroke(character: char) -> Option<Stroke> {
    let (name, shift) = match character {
        'a'..='z' | 'A'..='Z' => {
            let mut buffer = [0; 4];
            let name = character.to_ascii_lowercase().encode_utf8(&mut buffer);
            return Key::named(name).map(|key| Stroke { key, shift: character.is_ascii_uppercase() });
        }
        ' ' => ("space", false),
        '\n' => ("enter", false),
        '\t' => ("tab", false),
        '\x1b' => ("esc", false),
        '\x08' | '\x7f' => ("backspace", false),
        other => {
            let (name, _, shifted) = SIGNS.iter().find(|(_, alone, shifted)| [*alone, *shifted].contains(&other))?;
            (*name, *shifted == other)
        }
    };
    Key::named(name).map(|key| Stroke { key, shift })
}

/// How to type a text, or the first character that this keyboard has not. A carriage return before a line feed is left out.
///
/// # Errors
/// The character.
pub fn strokes(text: &str) -> Result<Vec<Stroke>, char> {
    let plain = text.replace("\r\n", "\n").replace('\r', "\n");
    plain.chars().map(|character| stroke(character).ok_or(character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_printable_ascii_character_has_a_stroke_of_its_own() {
        let mut seen = HashSet::new();
        for character in ' '..='~' {
            let stroke = stroke(character).unwrap_or_else(|| panic!("{character:?} cannot be typed"));
            assert!(seen.insert((stroke.key, stroke.shift)), "{character:?} is typed as another is");
        }
    }

    #[test]
    fn text_becomes_keys() {
        let typed = |text: &str| {
            strokes(text).map(|strokes| {
                let names = strokes.iter().map(|stroke| (stroke.key.name(), stroke.shift));
                names.collect::<Vec<_>>()
            })
        };
        assert_eq!(typed("Ls\r\n"), Ok(vec![("l", true), ("s", false), ("enter", false)]));
        assert_eq!(typed("~/"), Ok(vec![("grave", true), ("slash", false)]));
        assert_eq!(typed("a€"), Err('€'));
    }
}
