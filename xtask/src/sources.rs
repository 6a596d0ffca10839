//! Reads apt's package sources, in both of their formats, for the Debian source that other suites are fetched beside.

use std::path::{Path, PathBuf};

/// One Debian source of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file it was read from.
    pub file: PathBuf,
    /// Where the archive is.
    pub uri: String,
    /// Suites, as in `bookworm bookworm-updates`.
    pub suites: Vec<String>,
    /// `Signed-By`: a keyring's path, a fingerprint, or an embedded key with its line breaks.
    pub signed_by: Option<String>,
    /// Whether the file is in the deb822 format.
    pub deb822: bool,
}

/// Every enabled binary source of this system.
pub fn system() -> Vec<Source> {
    let folder = Path::new("/etc/apt/sources.list.d");
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    files.sort();
    files.iter().flat_map(|file| parse(file, &std::fs::read_to_string(file).unwrap_or_default())).collect()
}

/// The source whose suite is exactly `suite`.
pub fn with_suite<'a>(sources: &'a [Source], suite: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.suites.iter().any(|name| name == suite))
}

/// Parses one file by its extension; anything but `.list` and `.sources` is ignored, as apt does.
pub fn parse(file: &Path, text: &str) -> Vec<Source> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("list") => text.lines().filter_map(|line| parse_line(file, line)).collect(),
        Some("sources") => text.replace("\r\n", "\n").split("\n\n").flat_map(|stanza| parse_stanza(file, stanza)).collect(),
        _ => Vec::new(),
    }
}

fn parse_line(file: &Path, line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let uri = words.next()?.to_owned();
    let suite = words.next()?.to_owned();
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
    Some(Source { file: file.to_owned(), uri, suites: vec![suite], signed_by, deb822: false })
}

fn parse_stanza(file: &Path, stanza: &str) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let enabled = !field("enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if !enabled || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    words("uris")
        .into_iter()
        .map(|uri| Source {
            file: file.to_owned(),
            uri,
            suites: words("suites"),
            signed_by: field("signed-by").map(str::to_owned),
            deb822: true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats() {
        let list = "# a comment\ndeb-src http://one/ x main\ndeb [arch=amd64 signed-by=/k.gpg] http://one/debian bookworm main\n";
        let read = parse(Path::new("a.list"), list);
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].uri.as_str(), read[0].signed_by.as_deref()), ("http://one/debian", Some("/k.gpg")));

        let deb822 = "Types: deb deb-src\n# why\nURIs: http://two/debian\nSuites: bookworm bookworm-updates\nSigned-By: /k.gpg\n\n\
                      Types: deb\nEnabled: no\nURIs: http://three\nSuites: bookworm\n";
        let read = parse(Path::new("b.sources"), deb822);
        assert_eq!(read.len(), 1);
        assert_eq!(with_suite(&read, "bookworm-updates").map(|source| source.uri.as_str()), Some("http://two/debian"));
        assert!(with_suite(&read, "trixie").is_none());
    }

    #[test]
    fn keeps_an_embedded_key_whole() {
        let text = "Types: deb\nURIs: http://x\nSuites: s\nSigned-By:\n -----BEGIN\n .\n abc\n";
        assert_eq!(parse(Path::new("c.sources"), text)[0].signed_by.as_deref(), Some("\n -----BEGIN\n .\n abc"));
    }

    #[test]
    fn ignores_files_that_apt_ignores() {
        assert!(parse(Path::new("d.list.disabled"), "deb http://x y main").is_empty());
    }
}
