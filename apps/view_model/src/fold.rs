//! Text as people sort and search it: without case and accents, numbers by their value.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Without case and accents.
pub(crate) fn folded(text: &str) -> String {
    text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect()
}

/// What texts are sorted by: [`folded`], with numbers so wide that `Debian 9` comes before `Debian 12`.
pub(crate) fn sort_key(text: &str) -> String {
    const WIDTH: usize = 12;
    let mut key = String::new();
    let mut digits = String::new();
    let flush = |digits: &mut String, key: &mut String| {
        let number = digits.trim_start_matches('0');
        key.extend(std::iter::repeat_n('0', WIDTH.saturating_sub(number.len()).min(if digits.is_empty() { 0 } else { WIDTH })));
        key.push_str(number);
        digits.clear();
    };
    for c in folded(text).chars() {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            flush(&mut digits, &mut key);
            key.push(c);
        }
    }
    flush(&mut digits, &mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_do() {
        let mut names = ["debian 12", "Älpine", "Debian 9", "alpine", "Zorin", "Debian"];
        names.sort_by_key(|name| sort_key(name));
        assert_eq!(names, ["Älpine", "alpine", "Debian", "Debian 9", "debian 12", "Zorin"]);
    }

    #[test]
    fn accents_and_case_do_not_hide() {
        assert!(folded("Überwachung").contains("uber"));
    }
}
