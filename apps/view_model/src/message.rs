//! Words for people.

use std::fmt;

/// A text for people: what it is called among translations, and what it says in English.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text {
    /// What translations call it. Stable.
    pub id: &'static str,
    /// English. `{}` stands for a value of a [`Message`].
    pub english: &'static str,
}

impl Text {
    /// The message that has this text and these values.
    pub fn with<const N: usize>(self, values: [&dyn fmt::Display; N]) -> Message {
        Message { text: self, values: values.map(ToString::to_string).to_vec() }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.english)
    }
}

/// A text with its values. [`fmt::Display`] says it in English; whoever translates takes the text by its id and puts the values in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The text.
    pub text: Text,
    /// What its `{}` stand for, in order.
    pub values: Vec<String>,
}

impl Message {
    /// What somebody else has said, in whichever language.
    pub fn said(words: impl Into<String>) -> Self {
        Self { text: Text { id: "said", english: "{}" }, values: vec![words.into()] }
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self { text, values: Vec::new() }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.iter();
        let mut parts = self.text.english.split("{}");
        f.write_str(parts.next().unwrap_or_default())?;
        for part in parts {
            f.write_str(values.next().map_or("", String::as_str))?;
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// Declares texts as constants, and `ALL` of them.
macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident = $id:literal, $english:literal;)*) => {
        $($(#[doc = $doc])* pub(crate) const $name: $crate::Text = $crate::Text { id: $id, english: $english };)*
        /// Every text that is not a label of a command ([`crate::Command::label`]) or of a setting ([`crate::editor::fields_of`]).
        pub const ALL: &[$crate::Text] = &[$($name),*];
    };
}
pub(crate) use texts;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places() {
        let text = Text { id: "x", english: "{} of {} used" };
        assert_eq!(text.with([&11, &"64 GiB"]).to_string(), "11 of 64 GiB used");
        assert_eq!(Message::said("100 {} %").to_string(), "100 {} %");
    }

    #[test]
    fn texts_are_of_one_style() {
        let mut ids = std::collections::HashSet::new();
        for text in crate::TEXTS {
            assert!(ids.insert(text.id), "{} is there twice", text.id);
            assert!(!text.english.ends_with('.') && !text.english.contains("..."), "{text}");
            assert!(
                text.english.starts_with(|first: char| first.is_uppercase() || "{\"".contains(first) || first.is_ascii_digit())
                    || text.english == "macOS",
                "{text}"
            );
            assert!(text.id.split('.').count() >= 2, "{} says not where it is", text.id);
        }
    }
}
