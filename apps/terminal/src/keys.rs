//! Keys, as the bytes that terminals send (xterm's, which `TERM=xterm-256color`, `linux` and `vt220` understand).

use alacritty_terminal::term::TermMode;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// What it types.
    Char(char),
    /// Return.
    Return,
    /// Backspace.
    Backspace,
    /// Tab.
    Tab,
    /// Escape.
    Escape,
    /// Up.
    Up,
    /// Down.
    Down,
    /// Right.
    Right,
    /// Left.
    Left,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Insert.
    Insert,
    /// Delete.
    Delete,
    /// F1 to F12.
    Function(u8),
}

/// What is held meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Held {
    /// Shift.
    pub shift: bool,
    /// Alt.
    pub alt: bool,
    /// Ctrl.
    pub ctrl: bool,
}

impl Held {
    /// As a parameter of a sequence; 1 for nothing.
    const fn parameter(self) -> u8 {
        1 + self.shift as u8 + 2 * self.alt as u8 + 4 * self.ctrl as u8
    }
}

/// The bytes of a key; none for what a serial line has no bytes for.
pub(crate) fn bytes(key: Key, held: Held, mode: TermMode) -> Vec<u8> {
    // What ends a sequence, and the number before it.
    let letter = |letter: char, application: bool| match (held.parameter(), application) {
        (1, true) => format!("\x1bO{letter}"),
        (1, false) => format!("\x1b[{letter}"),
        (held, _) => format!("\x1b[1;{held}{letter}"),
    };
    let number = |number: u8| match held.parameter() {
        1 => format!("\x1b[{number}~"),
        held => format!("\x1b[{number};{held}~"),
    };
    let cursor = |end: char| letter(end, mode.contains(TermMode::APP_CURSOR));
    let typed = match key {
        Key::Char(c) => return typed(c, held),
        Key::Return if mode.contains(TermMode::LINE_FEED_NEW_LINE) => return escaped(held.alt, b"\r\n"),
        Key::Return => return escaped(held.alt, b"\r"),
        Key::Backspace => return escaped(held.alt, if held.ctrl { b"\x08" } else { b"\x7f" }),
        Key::Tab if held.shift => "\x1b[Z".to_owned(),
        Key::Tab => return escaped(held.alt, b"\t"),
        Key::Escape => return escaped(held.alt, b"\x1b"),
        Key::Up => cursor('A'),
        Key::Down => cursor('B'),
        Key::Right => cursor('C'),
        Key::Left => cursor('D'),
        Key::Home => cursor('H'),
        Key::End => cursor('F'),
        Key::Insert => number(2),
        Key::Delete => number(3),
        Key::PageUp => number(5),
        Key::PageDown => number(6),
        Key::Function(1) => letter('P', true),
        Key::Function(2) => letter('Q', true),
        Key::Function(3) => letter('R', true),
        Key::Function(4) => letter('S', true),
        Key::Function(5) => number(15),
        Key::Function(key @ 6..=10) => number(11 + key),
        Key::Function(key @ 11..=12) => number(12 + key),
        Key::Function(_) => return Vec::new(),
    };
    typed.into_bytes()
}

fn escaped(alt: bool, bytes: &[u8]) -> Vec<u8> {
    let escape: &[u8] = if alt { b"\x1b" } else { b"" };
    [escape, bytes].concat()
}

fn typed(c: char, held: Held) -> Vec<u8> {
    if held.ctrl {
        return control(c).map(|byte| escaped(held.alt, &[byte])).unwrap_or_default();
    }
    let mut buffer = [0; 4];
    escaped(held.alt, c.encode_utf8(&mut buffer).as_bytes())
}

/// What Ctrl makes of a key.
fn control(c: char) -> Option<u8> {
    let c = u8::try_from(c).ok()?;
    match c.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
        b'@' | b' ' | b'2' | b'`' => Some(0),
        b'[' | b'{' | b'3' => Some(0x1b),
        b'\\' | b'|' | b'4' => Some(0x1c),
        b']' | b'}' | b'5' => Some(0x1d),
        b'^' | b'~' | b'6' => Some(0x1e),
        b'_' | b'/' | b'7' => Some(0x1f),
        b'?' | b'8' => Some(0x7f),
        _ => None,
    }
}

/// What is pasted. A program that has asked for it can tell it from what is typed; nothing in it can end that, or be an escape of its own.
pub(crate) fn pasted(text: &str, mode: TermMode) -> Vec<u8> {
    let plain: String = text.replace("\r\n", "\r").replace('\n', "\r");
    let plain: String = plain.chars().filter(|c| !c.is_control() || matches!(c, '\r' | '\t')).collect();
    if mode.contains(TermMode::BRACKETED_PASTE) {
        return [b"\x1b[200~", plain.as_bytes(), b"\x1b[201~"].concat();
    }
    plain.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Held = Held { shift: false, alt: false, ctrl: false };
    const CTRL: Held = Held { ctrl: true, ..NONE };

    fn sent(key: Key, held: Held) -> String {
        String::from_utf8(bytes(key, held, TermMode::default())).unwrap()
    }

    #[test]
    fn keys_are_xterms() {
        let expected = [
            (Key::Char('é'), NONE, "é"),
            (Key::Char('c'), CTRL, "\x03"),
            (Key::Char('C'), Held { shift: true, ..CTRL }, "\x03"),
            (Key::Char(' '), CTRL, "\0"),
            (Key::Char(']'), CTRL, "\x1d"),
            (Key::Char('x'), Held { alt: true, ..NONE }, "\x1bx"),
            (Key::Char('é'), CTRL, ""),
            (Key::Return, NONE, "\r"),
            (Key::Backspace, NONE, "\x7f"),
            (Key::Backspace, Held { alt: true, ..NONE }, "\x1b\x7f"),
            (Key::Tab, Held { shift: true, ..NONE }, "\x1b[Z"),
            (Key::Up, NONE, "\x1b[A"),
            (Key::Left, CTRL, "\x1b[1;5D"),
            (Key::End, NONE, "\x1b[F"),
            (Key::Delete, NONE, "\x1b[3~"),
            (Key::PageUp, Held { alt: true, ..NONE }, "\x1b[5;3~"),
            (Key::Function(1), NONE, "\x1bOP"),
            (Key::Function(4), Held { shift: true, ..NONE }, "\x1b[1;2S"),
            (Key::Function(5), NONE, "\x1b[15~"),
            (Key::Function(6), NONE, "\x1b[17~"),
            (Key::Function(10), NONE, "\x1b[21~"),
            (Key::Function(11), NONE, "\x1b[23~"),
            (Key::Function(12), NONE, "\x1b[24~"),
            (Key::Function(13), NONE, ""),
        ];
        for (key, held, bytes) in expected {
            assert_eq!(sent(key, held), bytes, "{key:?} {held:?}");
        }
    }

    #[test]
    fn programs_choose_how_the_cursor_keys_speak() {
        let application = TermMode::default() | TermMode::APP_CURSOR;
        assert_eq!(bytes(Key::Up, NONE, application), b"\x1bOA");
        assert_eq!(bytes(Key::Home, NONE, application), b"\x1bOH");
        assert_eq!(bytes(Key::Up, CTRL, application), b"\x1b[1;5A");
        assert_eq!(bytes(Key::Return, NONE, TermMode::LINE_FEED_NEW_LINE), b"\r\n");
    }

    #[test]
    fn what_is_pasted_is_text_and_nothing_else() {
        let mode = TermMode::default();
        assert_eq!(pasted("one\r\ntwo\nthree\ttabs", mode), b"one\rtwo\rthree\ttabs");
        assert_eq!(pasted("\x1b[201~rm\x07 \u{9b}1m", mode), "[201~rm 1m".as_bytes());
        assert_eq!(pasted("a\x1b[201~b", mode | TermMode::BRACKETED_PASTE), b"\x1b[200~a[201~b\x1b[201~");
    }
}
