//! Catalogs of translations: gettext's PO files, as far as ours go.

/// What a text is called elsewhere, and says in another language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// `msgctxt`.
    pub context: Option<String>,
    /// `msgid`.
    pub original: String,
    /// `msgid_plural`.
    pub plural: Option<String>,
    /// `msgstr`, or each `msgstr[]`.
    pub translations: Vec<String>,
}

/// Reads a catalog. Its header, comments and what is not translated are left out.
pub fn read(text: &str) -> Vec<Entry> {
    text.split("\n\n")
        .map(entry)
        .filter(|entry| !entry.original.is_empty() && entry.translations.iter().any(|words| !words.is_empty()))
        .collect()
}

fn entry(lines: &str) -> Entry {
    let mut entry = Entry::default();
    // A line that is only a string goes on with the one before.
    let mut last = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (keyword, string) = line.split_at(line.find('"').unwrap_or(line.len()));
        if !keyword.is_empty() {
            last = keyword.trim().to_owned();
        }
        let field = match last.as_str() {
            "msgctxt" => entry.context.get_or_insert_default(),
            "msgid" => &mut entry.original,
            "msgid_plural" => entry.plural.get_or_insert_default(),
            _ => {
                if !keyword.is_empty() {
                    entry.translations.push(String::new());
                }
                let Some(words) = entry.translations.last_mut() else { continue };
                words
            }
        };
        field.push_str(&unquoted(string));
    }
    entry
}

fn unquoted(string: &str) -> String {
    let inner = string.strip_prefix('"').and_then(|string| string.strip_suffix('"')).unwrap_or_default();
    let (mut words, mut rest) = (String::new(), inner.chars());
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('n') => words.push('\n'),
                Some('t') => words.push('\t'),
                Some(other) => words.push(other),
                None => {}
            },
            other => words.push(other),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_gettext_reads_them() {
        let read = read(
            "# German.\nmsgid \"\"\nmsgstr \"\"\n\"Language: de\\n\"\n\n#: there\nmsgctxt \"a.b\"\nmsgid \"Say \\\"{}\\\"\"\nmsgstr \"\"\n\"Sag \"\n\"„{}“\"\n\n\
             msgid \"{n} cat\"\nmsgid_plural \"{n} cats\"\nmsgstr[0] \"{n} Katze\"\nmsgstr[1] \"{n} Katzen\"\n\nmsgid \"Not yet\"\nmsgstr \"\"\n",
        );
        let said =
            Entry { context: Some("a.b".into()), original: "Say \"{}\"".into(), plural: None, translations: vec!["Sag „{}“".into()] };
        let cats = ["{n} Katze", "{n} Katzen"].map(str::to_owned).to_vec();
        assert_eq!(read, [said, Entry { context: None, original: "{n} cat".into(), plural: Some("{n} cats".into()), translations: cats }]);
        assert!(super::read("msgid \"half").is_empty());
    }
}
