//! Which machines the list shows.

use bundle::{Architecture, tables};

use crate::fold::folded;
use crate::home::Entry;
use crate::{Message, texts};

/// What machines can be filtered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// Something is wrong with it.
    Attention,
    /// The system that its icon stands for.
    System(String),
    /// The guest's architecture.
    Architecture(Architecture),
    /// It lies outside the library's own folder.
    Elsewhere,
}

impl Tag {
    /// In words.
    pub fn message(&self) -> Message {
        match self {
            Self::Attention => texts::TAG_ATTENTION.into(),
            Self::System(icon) => {
                let mut letters = icon.chars();
                let first = letters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
                Message::said(format!("{first}{}", letters.as_str().replace('-', " ")))
            }
            Self::Architecture(architecture) => Message::said(tables::label(*architecture)),
            Self::Elsewhere => texts::TAG_ELSEWHERE.into(),
        }
    }
}

/// Which machines the list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    words: Vec<String>,
    tags: Vec<Tag>,
}

impl Filter {
    /// Machines that have every word of `text` in their name, system or architecture, in any case and order, and every tag.
    pub fn new(text: &str, tags: Vec<Tag>) -> Self {
        Self { words: text.split_whitespace().map(folded).filter(|word| !word.is_empty()).collect(), tags }
    }

    /// Whether it leaves nothing out.
    pub const fn is_empty(&self) -> bool {
        self.words.is_empty() && self.tags.is_empty()
    }

    /// Whether it shows a machine.
    pub fn shows(&self, entry: &Entry) -> bool {
        if !self.words.iter().all(|word| entry.sought.contains(word.as_str())) {
            return false;
        }
        if self.tags.is_empty() {
            return true;
        }
        let has = entry.tags();
        self.tags.iter().all(|tag| has.contains(tag))
    }
}
