//! The desktop's dialog for files and folders: `org.freedesktop.portal.FileChooser`.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio_stream::StreamExt as _;
use zbus::wire::{OwnedObjectPath, OwnedVariant, Variant};
use zbus::{Connection, Proxy};

const SERVICE: &str = "org.freedesktop.portal.Desktop";
const PATH: &str = "/org/freedesktop/portal/desktop";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the dialog's title says.
    pub title: String,
    /// A folder instead of a file.
    pub folder: bool,
    /// What files are shown at first: a word, and what their names end with. Empty for all.
    pub kinds: Option<(String, Vec<String>)>,
}

/// Asks for a file or a folder; `None` where nobody chose one.
///
/// # Errors
/// Where this desktop has no such dialog.
pub async fn choose(question: Question) -> Result<Option<PathBuf>> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let bus = Connection::session().await.context("There is no session bus")?;
    let token = format!("vivarium_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let sender = bus.unique_name().context("The session bus gave us no name")?.trim_start_matches(':').replace('.', "_");
    // Listened to before the question, so that no answer is missed; the portal promises to use this path.
    let request = Proxy::new(&bus, SERVICE, format!("{PATH}/request/{sender}/{token}"), "org.freedesktop.portal.Request").await?;
    let mut answers = request.receive_signal("Response").await?;

    let mut options: HashMap<&str, Variant<'_>> = HashMap::new();
    options.insert("handle_token", token.as_str().into());
    options.insert("modal", true.into());
    if question.folder {
        options.insert("directory", true.into());
    }
    if let Some((name, endings)) = &question.kinds {
        // A filter is a name and globs: a(sa(us)), where 0 says that it is a glob.
        let globs: Vec<(u32, String)> = endings.iter().map(|ending| (0, glob(ending))).collect();
        let all = vec![(0_u32, "*".to_owned())];
        options.insert("filters", Variant::new(vec![(name.clone(), globs), ("*".to_owned(), all)]));
    }
    let chooser = Proxy::new(&bus, SERVICE, PATH, "org.freedesktop.portal.FileChooser").await?;
    let asked: Result<OwnedObjectPath, _> = chooser.call("OpenFile", &("", question.title.as_str(), options)).await;
    asked.context("This desktop has no dialog for files (xdg-desktop-portal)")?;

    let answer = answers.next().await.ok_or_else(|| anyhow!("The desktop's dialog went away"))?;
    let (response, mut results): (u32, HashMap<String, OwnedVariant>) = answer.body().deserialize()?;
    match response {
        0 => {}
        1 => return Ok(None),
        _ => bail!("The desktop's dialog ended without an answer"),
    }
    let uris: Vec<String> = results.remove("uris").context("The desktop's dialog named no file")?.try_into()?;
    let uri = uris.first().context("The desktop's dialog named no file")?;
    path_of(uri).map(Some).with_context(|| format!("{uri} is not a file of this computer"))
}

/// A glob for an ending in either case: `*.[iI][sS][oO]`.
fn glob(ending: &str) -> String {
    let letters = ending.chars().map(|c| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()),
        false => c.to_string(),
    });
    format!("*.{}", letters.collect::<String>())
}

/// The path of a `file:` URI of this computer.
pub fn path_of(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://")?;
    let path = path.strip_prefix("localhost").unwrap_or(path);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    (bytes.first() == Some(&b'/') && !bytes.contains(&0)).then(|| PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_uris() {
        assert_eq!(path_of("file:///home/me/Debian%2013%20%C3%BC.iso"), Some("/home/me/Debian 13 ü.iso".into()));
        for wrong in ["http://x/y", "file://server/share", "file:///a%2", "file:///a%00b", "file://", ""] {
            assert_eq!(path_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn endings_match_in_either_case() {
        assert_eq!(glob("iso"), "*.[iI][sS][oO]");
        assert_eq!(glob("7z"), "*.7[zZ]");
    }
}
