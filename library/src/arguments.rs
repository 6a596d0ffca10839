//! UTM's additional arguments: each stored text is split at blanks outside double quotes, and a piece that begins and ends with one loses
//! both. There is no escape.

/// The text to store so that `text` arrives as one argument; `None` where no text does that.
pub(crate) fn quoted(text: &str) -> Option<String> {
    let candidates = [text.to_owned(), format!("\"{text}\"")];
    candidates.into_iter().find(|candidate| split(candidate) == [text])
}

/// What UTM makes of a stored text.
fn split(stored: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut inside = false;
    for c in stored.chars() {
        if c == '"' {
            inside = !inside;
        }
        if c.is_whitespace() && !inside {
            pieces.push(std::mem::take(&mut piece));
        } else {
            piece.push(c);
        }
    }
    pieces.push(piece);
    let unquote = |piece: String| match piece.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None => piece,
    };
    pieces.into_iter().filter(|piece| !piece.is_empty()).map(unquote).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_stays_whole() {
        assert_eq!(quoted("quiet").as_deref(), Some("quiet"));
        assert_eq!(quoted("console=ttyS0 root=/dev/vda").as_deref(), Some("\"console=ttyS0 root=/dev/vda\""));
        assert_eq!(quoted("dyndbg=\"file a +p\"").as_deref(), Some("dyndbg=\"file a +p\""));
        assert_eq!(quoted("a b=\"c\" d").as_deref(), Some("\"a b=\"c\" d\""));
    }

    #[test]
    fn what_cannot_stay_whole_is_refused() {
        assert_eq!(quoted("a b=\"c d\" e"), None);
    }
}
