//! The commands to the operating system (OSC) in what a guest says: which of them the emulator hears.
//!
//! The emulator's parser keeps such a command however long it is, and its readers of colours count on them to be short. So they are taken out
//! of the stream here, and put back where they are short and do something harmless: the title and the colours. What is left out: the
//! clipboard (52), links (8), and what nobody knows.

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;

/// Bytes of a title's command.
const LONGEST_TITLE: usize = 1024;
/// Bytes of a colour's: `4;255;rgb:ffff/ffff/ffff` is the longest that says something.
const LONGEST_COLOUR: usize = 40;

/// Where in the stream it is.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Text,
    /// After an escape that has not been passed on.
    Escape,
    /// In a command, which is kept up to a length.
    Command(Vec<u8>),
}

/// Lets the rest of the stream through.
#[derive(Debug, Default)]
pub struct Filter(Place);

impl Filter {
    /// Puts into `out` what the emulator may hear of `bytes`.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            match (&mut self.0, byte) {
                (Place::Text, ESC) => self.0 = Place::Escape,
                (Place::Text, _) => out.push(byte),
                // An escape in an escape begins anew.
                (Place::Escape, ESC) => {}
                (Place::Escape, b']') => self.0 = Place::Command(Vec::new()),
                // These are carried out, and the escape goes on.
                (Place::Escape, 0..0x20 | 0x7f) if !matches!(byte, CAN | SUB) => out.push(byte),
                (Place::Escape, _) => {
                    out.extend([ESC, byte]);
                    self.0 = Place::Text;
                }
                (Place::Command(command), BEL | CAN | SUB | ESC) => {
                    // The emulator ends a command the same way, wherever it ends.
                    if is_heard(command) {
                        out.extend([ESC, b']']);
                        out.append(command);
                        out.push(BEL);
                    }
                    self.0 = if byte == ESC { Place::Escape } else { Place::Text };
                }
                (Place::Command(command), _) => {
                    if command.len() <= LONGEST_TITLE {
                        command.push(byte);
                    }
                }
            }
        }
    }
}

/// Whether the emulator hears of it.
fn is_heard(command: &[u8]) -> bool {
    let number = command.split(|byte| *byte == b';').next().unwrap_or_default();
    match number {
        b"0" | b"2" => command.len() <= LONGEST_TITLE,
        b"4" | b"10" | b"11" | b"12" | b"104" | b"110" | b"111" | b"112" => command.len() <= LONGEST_COLOUR,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        for chunk in chunks {
            filter.pass(chunk, &mut out);
        }
        out
    }

    #[test]
    fn titles_and_colours_are_heard_and_the_clipboard_is_not() {
        assert_eq!(pass(&[b"a\x1b]0;title\x07b"]), b"a\x1b]0;title\x07b");
        assert_eq!(pass(&[b"\x1b]11;?\x1b\\"]), b"\x1b]11;?\x07\x1b\\");
        assert_eq!(pass(&[b"a\x1b]52;c;aGVsbG8=\x07b\x1b]8;;http://x\x1b\\c"]), b"ab\x1b\\c");
        // In pieces, and with what may be in an escape.
        assert_eq!(pass(&[b"a\x1b", b"]5", b"2;c;eA==", b"\x07b"]), b"ab");
        assert_eq!(pass(&[b"\x1b\n]52;c;eA==\x07"]), b"\n");
        assert_eq!(pass(&[b"\x1b\x18]52"]), b"\x1b\x18]52");
    }

    #[test]
    fn a_command_that_never_ends_is_not_kept() {
        let mut filter = Filter::default();
        let mut out = Vec::new();
        filter.pass(b"\x1b]0;", &mut out);
        for _ in 0..1000 {
            filter.pass(&[b'x'; 1024], &mut out);
        }
        let Place::Command(kept) = &filter.0 else { panic!("{filter:?}") };
        assert!(kept.len() <= LONGEST_TITLE + 1 && out.is_empty());
        filter.pass(b"\x07after", &mut out);
        assert_eq!(out, b"after");
        let long = [b"\x1b]10;#".as_slice(), &[b'0'; 60], b"\x07"].concat();
        assert_eq!(pass(&[&long]), b"");
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(bytes in prop::collection::vec(prop_oneof![Just(ESC), Just(b']'), Just(BEL), Just(b';'), b'0'..b'6', any::<u8>()], 0..64), cut in 0_usize..64) {
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(pass(&[one, two]), pass(&[&bytes]));
        }

        #[test]
        fn what_is_no_escape_is_passed_on(bytes in prop::collection::vec(any::<u8>().prop_filter("escape", |byte| *byte != ESC), 0..256)) {
            prop_assert_eq!(pass(&[&bytes]), bytes);
        }
    }
}
