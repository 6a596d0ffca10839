//! The language that people are spoken to in: one for the whole program, chosen when it starts.

use std::collections::HashMap;
use std::env::VarError;
use std::sync::{LazyLock, OnceLock};

use crate::{Text, catalog};

/// A language that there are words in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// English, in which everything is written.
    English,
    /// German.
    German,
}

static SPOKEN: OnceLock<Language> = OnceLock::new();
static GERMAN: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let words = catalog::read(include_str!("../lang/de.po"));
    words.into_iter().filter_map(|entry| Some((entry.context?, entry.translations.into_iter().next()?))).collect()
});

impl Language {
    /// The one that this person's desktop is in, as far as there are words in it.
    pub fn of_environment() -> Self {
        Self::wanted(|name| std::env::var(name))
    }

    /// The variables in the order in which gettext heeds them; the first that is not empty decides.
    fn wanted(variable: impl Fn(&str) -> Result<String, VarError>) -> Self {
        let mut set =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| variable(name).ok()).filter(|value| !value.is_empty());
        let locale = set.next().unwrap_or_default();
        match locale.split(['_', '.', '@', '-']).next() {
            Some("de") => Self::German,
            _ => Self::English,
        }
    }

    /// As ISO 639 abbreviates it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// A text in this language.
    pub(crate) fn words(self, text: &Text) -> &str {
        match self {
            Self::English => text.english,
            Self::German => GERMAN.get(text.id).map_or(text.english, String::as_str),
        }
    }
}

/// Speaks a language from now on. Only the first call counts, before anything is said.
pub fn speak(language: Language) {
    let _ = SPOKEN.set(language);
}

/// The language that is spoken: English where nobody has chosen.
pub fn spoken() -> Language {
    SPOKEN.get().copied().unwrap_or(Language::English)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let language = |set: &[(&str, &str)]| {
            Language::wanted(|name| {
                set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
            })
        };
        assert_eq!(language(&[]), Language::English);
        assert_eq!(language(&[("LANG", "de_AT.UTF-8")]), Language::German);
        assert_eq!(language(&[("LANG", "de_DE.UTF-8"), ("LC_MESSAGES", "C")]), Language::English);
        assert_eq!(language(&[("LANG", "C.UTF-8"), ("LC_ALL", ""), ("LC_MESSAGES", "de")]), Language::German);
        assert_eq!(language(&[("LANG", "dennoch")]), Language::English);
    }

    #[test]
    fn every_text_has_german_words_with_the_same_places() {
        let german = catalog::read(include_str!("../lang/de.po"));
        let texts = crate::all_texts();
        for text in &texts {
            let entry = german.iter().find(|entry| entry.context.as_deref() == Some(text.id));
            let entry = entry.unwrap_or_else(|| panic!("{} is not in lang/de.po: {}", text.id, text.english));
            assert_eq!(entry.original, text.english, "{} says something else now", text.id);
            let words = Language::German.words(text);
            assert_eq!(words.matches("{}").count(), text.english.matches("{}").count(), "{}: {words}", text.id);
            assert!(!words.is_empty() && !words.ends_with('.'), "{}: {words}", text.id);
        }
        let is_known = |entry: &&catalog::Entry| texts.iter().any(|text| entry.context.as_deref() == Some(text.id));
        let unknown: Vec<_> = german.iter().filter(|entry| !is_known(entry)).map(|entry| &entry.context).collect();
        assert!(unknown.is_empty(), "nothing says {unknown:?} any more");
    }
}
