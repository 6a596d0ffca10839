//! Physical keys, whatever is printed on them.
//!
//! A [`Key`] is a place on the keyboard, as the kernel's input subsystem numbers it (`linux/input-event-codes.h`). QEMU numbers keys as PC
//! keyboards do: the first set of scan codes, with the high bit for those that are sent after 0xE0 ([`Key::qnum`]); browsers and the libraries
//! of window systems have names for the same places ([`Key::code`]). What a key means is for
//! the guest's layout to say; [`text`] knows the one layout that is wanted where nobody sits at the keyboard, the United States'.

mod chord;
mod code;
mod table;
pub mod text;

pub use chord::{ChordError, chord};

use table::TABLE;

/// A physical key that both the kernel and QEMU have a number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u16);

impl Key {
    /// The key with this number in `linux/input-event-codes.h`, where QEMU has one for it, too.
    pub fn from_evdev(code: u16) -> Option<Self> {
        row(code).map(|row| Self(row.evdev))
    }

    /// The key with this number in QEMU.
    pub fn from_qnum(qnum: u8) -> Option<Self> {
        TABLE.iter().find(|row| row.qnum == qnum).map(|row| Self(row.evdev))
    }

    /// The key with this name, in any case: the kernel's without `KEY_`, or another usual one.
    pub fn named(name: &str) -> Option<Self> {
        let wanted = name.to_ascii_lowercase();
        TABLE.iter().find(|row| row.names.contains(&wanted.as_str())).map(|row| Self(row.evdev))
    }

    /// Every key, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| Self(row.evdev))
    }

    /// Its number in `linux/input-event-codes.h`.
    pub const fn evdev(self) -> u16 {
        self.0
    }

    /// Its number in QEMU: the scan code of set 1, plus 0x80 for those that follow 0xE0.
    pub fn qnum(self) -> u8 {
        // Total: a key is only made from a row of the table.
        row(self.0).map_or(0, |row| row.qnum)
    }

    /// Its first name.
    pub fn name(self) -> &'static str {
        row(self.0).and_then(|row| row.names.first()).copied().unwrap_or_default()
    }

    /// All its names.
    pub fn names(self) -> &'static [&'static str] {
        row(self.0).map_or(&[], |row| row.names)
    }
}

fn row(code: u16) -> Option<&'static table::Row> {
    let index = TABLE.binary_search_by_key(&code, |row| row.evdev).ok()?;
    TABLE.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_sorted_and_says_nothing_twice() {
        assert!(TABLE.windows(2).all(|pair| pair[0].evdev < pair[1].evdev));
        let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
        for row in TABLE {
            assert!(row.qnum > 0 && numbers.insert(row.qnum), "{:#x} is there twice", row.qnum);
            assert!(!row.names.is_empty());
            for name in row.names {
                assert!(names.insert(*name), "{name} is there twice");
                assert_eq!(*name, name.to_ascii_lowercase(), "names are compared in lower case");
            }
        }
    }

    #[test]
    fn keys_are_found_by_each_of_their_numbers_and_names() {
        for key in Key::all() {
            assert_eq!(Key::from_evdev(key.evdev()), Some(key));
            assert_eq!(Key::from_qnum(key.qnum()), Some(key));
            assert!(key.names().iter().all(|name| Key::named(&name.to_uppercase()) == Some(key)));
        }
        let delete = Key::named("Delete").unwrap();
        assert_eq!((delete.evdev(), delete.qnum(), delete.name()), (111, 0xd3, "delete"));
        assert_eq!(Key::from_evdev(0), None);
        assert_eq!(Key::from_evdev(u16::MAX), None);
        assert_eq!(Key::named(""), None);
    }

    #[test]
    fn the_first_keys_have_the_same_number_everywhere() {
        for code in 1..=83 {
            assert_eq!(Key::from_evdev(code).map(|key| u16::from(key.qnum())), Some(code));
        }
    }
}
