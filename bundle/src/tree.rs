//! Reads a property list from bytes that anybody may have made: size, depth and number of values are bounded.
//!
//! The event readers of `plist` find cycles in binary files, but expand shared objects each time they are met and nest without limit; building the
//! tree here keeps both in bounds. They also leave out CDATA sections without a word, so files that have any are refused.

use std::io::Cursor;

use plist::stream::{BinaryReader, Event, OwnedEvent, XmlReader};
use plist::{Dictionary, Value};

use crate::problem::{Findings, printable};

/// The largest file that is read. Real configurations have a few kilobytes.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// The largest binary file that is read: the reader may use some thirty times the size of the file for a single object.
const MAX_BINARY_BYTES: usize = 2 << 20;
/// How deep containers may nest. The format needs five levels.
const MAX_DEPTH: usize = 32;
/// How many values there may be.
const MAX_VALUES: usize = 100_000;
/// How many bytes all strings and data may have together; a binary file can name the same string many times.
const MAX_CONTENT: usize = 16 << 20;

/// Why bytes are not a usable property list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("file of {size} bytes is larger than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("file is empty")]
    Empty,
    #[error("file is not an XML or binary property list")]
    NotAPropertyList,
    #[error("property list is damaged: {0}")]
    Damaged(#[from] plist::Error),
    #[error("property list ends in the middle")]
    Truncated,
    #[error("property list nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("property list has more than {MAX_VALUES} values")]
    TooMany,
    #[error("property list holds more than {MAX_CONTENT} bytes of text and data")]
    TooMuch,
    #[error("property list has a dictionary whose keys are not all strings")]
    BadKey,
    #[error("property list has a CDATA section, which property lists do not use")]
    CData,
}

/// Reads a property list in XML or binary form.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, TreeError> {
    if bytes.len() > MAX_BYTES {
        return Err(TreeError::TooLarge { size: bytes.len(), limit: MAX_BYTES });
    }
    if bytes.starts_with(b"bplist") {
        if bytes.len() > MAX_BINARY_BYTES {
            return Err(TreeError::TooLarge { size: bytes.len(), limit: MAX_BINARY_BYTES });
        }
        return build(BinaryReader::new(Cursor::new(bytes)));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if text.is_empty() {
        return Err(TreeError::Empty);
    }
    if !text.starts_with(b"<") {
        return Err(TreeError::NotAPropertyList);
    }
    if text.windows(9).any(|window| window == b"<![CDATA[") {
        return Err(TreeError::CData);
    }
    build(XmlReader::new(Cursor::new(text)))
}

enum Container {
    Array(Vec<Value>),
    Dictionary(Dictionary, Option<String>),
}

fn build(events: impl Iterator<Item = Result<OwnedEvent, plist::Error>>) -> Result<Value, TreeError> {
    let mut stack: Vec<Container> = Vec::new();
    let (mut values, mut content) = (0_usize, 0_usize);
    for event in events {
        values += 1;
        if values > MAX_VALUES {
            return Err(TreeError::TooMany);
        }
        let complete = match event? {
            Event::StartArray(length) | Event::StartDictionary(length) if length.is_some_and(|length| length > MAX_VALUES as u64) => {
                return Err(TreeError::TooMany);
            }
            Event::StartArray(_) => {
                stack.push(Container::Array(Vec::new()));
                None
            }
            Event::StartDictionary(_) => {
                stack.push(Container::Dictionary(Dictionary::new(), None));
                None
            }
            Event::EndCollection => match stack.pop() {
                Some(Container::Array(array)) => Some(Value::Array(array)),
                Some(Container::Dictionary(dictionary, None)) => Some(Value::Dictionary(dictionary)),
                Some(Container::Dictionary(_, Some(_))) => return Err(TreeError::BadKey),
                None => return Err(TreeError::NotAPropertyList),
            },
            Event::Boolean(value) => Some(Value::Boolean(value)),
            Event::Data(data) => {
                content = content.saturating_add(data.len());
                Some(Value::Data(data.into_owned()))
            }
            Event::Date(date) => Some(Value::Date(date)),
            Event::Integer(integer) => Some(Value::Integer(integer)),
            Event::Real(real) => Some(Value::Real(real)),
            Event::String(text) => {
                content = content.saturating_add(text.len());
                if let Some(Container::Dictionary(_, key @ None)) = stack.last_mut() {
                    *key = Some(text.into_owned());
                    None
                } else {
                    Some(Value::String(text.into_owned()))
                }
            }
            Event::Uid(uid) => Some(Value::Uid(uid)),
            _ => return Err(TreeError::NotAPropertyList),
        };
        if content > MAX_CONTENT {
            return Err(TreeError::TooMuch);
        }
        if stack.len() > MAX_DEPTH {
            return Err(TreeError::TooDeep);
        }
        let Some(complete) = complete else { continue };
        match stack.last_mut() {
            None => return Ok(complete),
            Some(Container::Array(array)) => array.push(complete),
            Some(Container::Dictionary(dictionary, key)) => {
                let key = key.take().ok_or(TreeError::BadKey)?;
                dictionary.insert(key, complete);
            }
        }
    }
    Err(if stack.is_empty() { TreeError::NotAPropertyList } else { TreeError::Truncated })
}

/// Reports what an XML property list cannot hold, so that nothing is read that could not be written again.
pub(crate) fn check_writable(value: &Value, findings: &mut Findings) {
    match value {
        Value::String(text) => check_text(text, findings),
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                findings.at_index(index, |findings| check_writable(value, findings));
            }
        }
        Value::Dictionary(dictionary) => {
            for (key, value) in dictionary {
                findings.within(key, |findings| {
                    check_text(key, findings);
                    check_writable(value, findings);
                });
            }
        }
        Value::Uid(_) => findings.fatal("UID values of keyed archives cannot be kept"),
        _ => {}
    }
}

fn check_text(text: &str, findings: &mut Findings) {
    let unwritable =
        |c: char| (c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{7f}')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    if let Some(c) = text.chars().find(|c| unwritable(*c)) {
        findings.fatal(format!("`{}` holds the character U+{:04X}, which property lists cannot hold", printable(text), u32::from(c)));
    }
}

/// Writes a dictionary as an XML property list, with a newline at the end.
pub(crate) fn write(dictionary: &Dictionary) -> Result<Vec<u8>, plist::Error> {
    let mut bytes = Vec::new();
    plist::to_writer_xml(&mut bytes, dictionary)?;
    bytes.push(b'\n');
    Ok(bytes)
}
