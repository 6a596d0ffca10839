//! A set of names with the question "did you mean".

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Names that QEMU knows for one kind of thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Adds one.
    pub fn insert(&mut self, name: impl Into<String>) {
        self.0.insert(name.into());
    }

    /// All, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to three names that look most like `wanted`.
    pub fn nearest(&self, wanted: &str) -> Vec<String> {
        nearest(wanted, self.iter())
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

/// Up to three of `names` that look most like `wanted`, best first.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    // Comparing costs the product of the lengths, and a bundle may hold any text.
    let wanted: String = wanted.chars().take(64).collect::<String>().to_ascii_lowercase();
    let mut scored: Vec<(f64, &str)> =
        names.map(|name| (strsim::jaro_winkler(&wanted, &name.to_ascii_lowercase()), name)).filter(|(score, _)| *score > 0.75).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first() {
        let names: Names = ["virtio-vga", "virtio-gpu-pci", "VGA", "cirrus-vga"].into_iter().collect();
        assert_eq!(names.nearest("virtio-vgq").first().map(String::as_str), Some("virtio-vga"));
        assert_eq!(names.nearest("vga").first().map(String::as_str), Some("VGA"));
        assert!(names.nearest("zzzz").is_empty());
    }
}
