//! Words for people.

use std::fmt;

use crate::{Command, editor, spoken};

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

/// In the language that is [`spoken`].
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(spoken().words(self))
    }
}

/// A text with its values. [`fmt::Display`] says it in the language that is [`spoken`].
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
        f.write_str(&filled(spoken().words(&self.text), &self.values))
    }
}

/// Puts values in their places.
fn filled(words: &str, values: &[String]) -> String {
    let mut values = values.iter();
    let mut parts = words.split("{}");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(values.next().map_or("", String::as_str));
        text.push_str(part);
    }
    text
}

/// Every text that is said here, for translators: ids are unique among them.
pub fn all_texts() -> Vec<Text> {
    let commands = Command::ALL.iter().map(|command| command.label());
    let groups = editor::Group::ALL.iter().map(|group| group.text());
    let schemas = [bundle::qemu::Configuration::SCHEMA, bundle::apple::Configuration::SCHEMA];
    let settings = schemas.into_iter().flat_map(editor::fields_of).flat_map(|field| [field.label, field.help]);
    crate::texts::ALL.iter().copied().chain(commands).chain(groups).chain(settings).collect()
}

/// Declares texts as constants, and `ALL` of them.
macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident = $id:literal, $english:literal;)*) => {
        $($(#[doc = $doc])* #[doc = $english] pub const $name: $crate::Text = $crate::Text { id: $id, english: $english };)*
        /// Every one of them.
        pub(crate) const ALL: &[$crate::Text] = &[$($name),*];
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
        for text in all_texts() {
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
