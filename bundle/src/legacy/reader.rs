//! Reads a legacy dictionary key by key, and knows afterwards which keys nobody asked for.
//!
//! A value of the wrong type counts as absent, which every legacy key may be, and is reported.

use plist::{Dictionary, Value};

use crate::problem::{Findings, Level, printable};
use crate::schema::type_name;

/// A legacy dictionary that is being read.
pub(super) struct Reader<'a> {
    dictionary: &'a Dictionary,
    asked: Vec<&'static str>,
    findings: &'a mut Findings,
}

impl<'a> Reader<'a> {
    /// Reads `dictionary` with `f`, then reports the keys that `f` did not ask for.
    pub fn read<R>(dictionary: &'a Dictionary, findings: &'a mut Findings, f: impl FnOnce(&mut Reader<'_>) -> R) -> R {
        let mut reader = Reader { dictionary, asked: Vec::new(), findings };
        let result = f(&mut reader);
        let Reader { asked, findings, .. } = reader;
        for key in dictionary.keys().filter(|key| !asked.contains(&key.as_str())) {
            findings.within(key, |findings| findings.report(Level::Ignored, "key is not known and is left behind", None));
        }
        result
    }

    /// Reads the dictionary at `key` with `f`; an absent one reads as empty.
    pub fn section<R>(&mut self, key: &'static str, f: impl FnOnce(&mut Reader<'_>) -> R) -> R {
        let empty = Dictionary::new();
        let dictionary = self.typed(key, "dictionary", Value::as_dictionary).unwrap_or(&empty);
        self.findings.within(key, |findings| Reader::read(dictionary, findings, f))
    }

    /// Reads each dictionary of the array at `key` with `f`, which is also given its index. Elements of another type are reported and left out.
    pub fn sections<R>(&mut self, key: &'static str, mut f: impl FnMut(usize, &mut Reader<'_>) -> R) -> Vec<R> {
        let elements = self.array(key);
        self.findings.within(key, |findings| {
            let mut read = Vec::new();
            for (index, element) in elements.iter().enumerate() {
                findings.at_index(index, |findings| match element.as_dictionary() {
                    Some(dictionary) => read.push(Reader::read(dictionary, findings, |reader| f(index, reader))),
                    None => findings.report(Level::Fixed, wrong("dictionary", element), None),
                });
            }
            read
        })
    }

    /// The dictionary at `key`, to be read entry by entry: its keys are not names.
    pub fn dictionary(&mut self, key: &'static str) -> Option<&'a Dictionary> {
        self.typed(key, "dictionary", Value::as_dictionary)
    }

    /// Whether the key is there, whatever it holds.
    pub fn has(&self, key: &str) -> bool {
        self.dictionary.contains_key(key)
    }

    /// Text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, "string", Value::as_string).map(str::to_owned)
    }

    /// Text that is not empty: an emptied field of an editor was stored as an empty string.
    pub fn filled(&mut self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// A boolean; 0 and 1 count, since an Objective-C number may have been stored as either.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "boolean", |value| match value {
            Value::Boolean(value) => Some(*value),
            Value::Integer(number) => match number.as_unsigned() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            _ => None,
        })
    }

    /// An integer from 0 to the largest signed one.
    pub fn unsigned(&mut self, key: &'static str) -> Option<u64> {
        let integer = self.typed(key, "integer", |value| match value {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        })?;
        // Version 4 holds signed integers, so what only fits unsigned could not be saved.
        let number = integer.as_signed().and_then(|number| u64::try_from(number).ok());
        if number.is_none() {
            self.fixed(key, format!("{integer} is negative or too large; counts as absent"));
        }
        number
    }

    /// An integer of at most 32 bits.
    pub fn small(&mut self, key: &'static str) -> Option<u32> {
        let number = self.unsigned(key)?;
        let small = u32::try_from(number).ok();
        if small.is_none() {
            self.fixed(key, format!("{number} is too large; counts as absent"));
        }
        small
    }

    /// A finite number.
    pub fn real(&mut self, key: &'static str) -> Option<f64> {
        self.typed(key, "number", |value| match value {
            Value::Real(number) => Some(*number),
            Value::Integer(number) => number.as_signed().map(|number| number as f64),
            _ => None,
        })
        .filter(|number| number.is_finite())
    }

    /// Bytes.
    pub fn data(&mut self, key: &'static str) -> Option<Vec<u8>> {
        self.typed(key, "data", Value::as_data).map(<[u8]>::to_vec)
    }

    /// The texts of an array; elements of another type are reported and left out.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let elements = self.array(key);
        self.findings.within(key, |findings| {
            let mut texts = Vec::new();
            for (index, element) in elements.iter().enumerate() {
                match element.as_string() {
                    Some(text) => texts.push(text.to_owned()),
                    None => findings.at_index(index, |findings| findings.report(Level::Fixed, wrong("string", element), None)),
                }
            }
            texts
        })
    }

    /// The texts of an array, or the only text that an older version stored instead.
    pub fn text_or_texts(&mut self, key: &'static str) -> Vec<String> {
        match self.dictionary.get(key) {
            Some(Value::String(text)) => {
                self.asked.push(key);
                Some(text.clone()).filter(|text| !text.is_empty()).into_iter().collect()
            }
            _ => self.texts(key),
        }
    }

    /// Marks keys as known that version 4 has no place for and nobody will miss.
    pub fn obsolete(&mut self, keys: &[&'static str]) {
        self.asked.extend_from_slice(keys);
    }

    /// Marks a key as known that version 4 has no place for, and says so if it holds something.
    pub fn dropped(&mut self, key: &'static str, why: &str) {
        self.asked.push(key);
        let nothing = match self.dictionary.get(key) {
            None | Some(Value::Boolean(false)) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
        };
        if !nothing {
            self.findings.within(key, |findings| findings.report(Level::Ignored, why, None));
        }
    }

    /// Reports that the value of `key` was replaced.
    pub fn fixed(&mut self, key: &str, message: impl Into<String>) {
        self.findings.within(key, |findings| findings.report(Level::Fixed, message, None));
    }

    /// Reports about `key`.
    pub fn report(&mut self, key: &str, level: Level, message: impl Into<String>, hint: Option<String>) {
        self.findings.within(key, |findings| findings.report(level, message, hint));
    }

    fn array(&mut self, key: &'static str) -> &'a [Value] {
        self.typed(key, "array", Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn typed<T>(&mut self, key: &'static str, expected: &str, convert: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        self.asked.push(key);
        let value = self.dictionary.get(key)?;
        let converted = convert(value);
        if converted.is_none() {
            self.fixed(key, wrong(expected, value));
        }
        converted
    }
}

/// What to say about a value that stands where something else was expected.
fn wrong(expected: &str, found: &Value) -> String {
    format!("expected {expected}, found {}; counts as absent", type_name(found))
}

/// What to say about text that is none of the values its key can have.
pub(super) fn unknown(text: &str, instead: &str) -> String {
    format!("`{}` is not known; {instead}", printable(text))
}
