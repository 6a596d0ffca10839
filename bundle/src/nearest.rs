//! What a misspelt name was probably meant to be.

/// How alike two names must be for the one to be suggested in a list for the other.
const ALIKE: f64 = 0.75;
/// How alike they must be to be taken for each other.
const MEANT: f64 = 0.85;
/// Comparing costs the product of the lengths, and nothing that is known is longer.
const LONGEST: usize = 64;

/// Up to three of `names` that look most like `wanted`, best first.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = likeness(wanted, names).filter(|(likeness, _)| *likeness > ALIKE).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// The candidate that `text` is most probably a misspelling of.
pub(crate) fn closest<'a, S: AsRef<str> + ?Sized + 'a>(text: &str, candidates: impl Iterator<Item = &'a S>) -> Option<&'a S> {
    if text.len() > LONGEST {
        return None;
    }
    likeness(text, candidates).filter(|(likeness, _)| *likeness > MEANT).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// From 0 to 1 for each candidate: names that begin alike are alike, and so are those that one slip of the keyboard is between. Only the
/// beginning of a long text counts.
fn likeness<'a, S: AsRef<str> + ?Sized + 'a>(text: &str, candidates: impl Iterator<Item = &'a S>) -> impl Iterator<Item = (f64, &'a S)> {
    let text: String = text.chars().take(LONGEST).collect::<String>().to_ascii_lowercase();
    let slip = text.len() > 2;
    candidates.map(move |candidate| {
        let name = candidate.as_ref().to_ascii_lowercase();
        let one_slip = slip && name.len().abs_diff(text.len()) <= 1 && strsim::osa_distance(&text, &name) <= 1;
        (strsim::jaro_winkler(&text, &name).max(if one_slip { 0.9 } else { 0.0 }), candidate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first() {
        let names = ["virtio-vga", "virtio-gpu-pci", "VGA", "cirrus-vga"];
        let nearest = |wanted| nearest(wanted, names.into_iter());
        assert_eq!(nearest("virtio-vgq").first().map(String::as_str), Some("virtio-vga"));
        assert_eq!(nearest("vga").first().map(String::as_str), Some("VGA"));
        assert!(nearest("zzzz").is_empty());
        assert_eq!(closest("vgaa", names.iter().copied()), Some("VGA"));
        assert_eq!(closest("q53", ["q35", "pc"].into_iter()), Some("q35"));
    }
}
