//! Bytes to messages: lines of JSON, one message each. Pure and synchronous; a peer may send anything.
//!
//! Decoding is raw first. A line becomes an [`Envelope`], whose payload stays a JSON value until somebody who knows the type asks for it, so
//! that nothing a newer peer adds can make a message undecodable.

use std::fmt;

use serde_json::{Map, Value};

/// How long a line may be unless told otherwise, in bytes without its line feed.
pub const DEFAULT_MAX_LINE: usize = 16 << 20;

/// How much of an unusable line an error shows, in bytes.
const SHOWN: usize = 120;

/// One message from a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Envelope {
    /// What a monitor says first.
    Greeting(Greeting),
    /// Something happened.
    Event(RawEvent),
    /// A command succeeded.
    Return {
        /// The request's id, where it had one.
        id: Option<Value>,
        /// What the command returned.
        value: Value,
    },
    /// A command failed.
    Error {
        /// The request's id; absent when the peer could not read the request.
        id: Option<Value>,
        /// The kind of failure.
        class: ErrorClass,
        /// The peer's sentence about it.
        description: String,
    },
}

/// What a monitor says about itself when a client connects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Greeting {
    /// Major, minor, micro; absent when the peer did not say.
    pub version: Option<(u64, u64, u64)>,
    /// The packager's version text; may be empty.
    pub package: String,
    /// Capabilities on offer, such as `oob`.
    pub capabilities: Vec<String>,
}

/// An event as it came. [`crate::Event::from`] gives it its type.
#[derive(Clone, Debug, PartialEq)]
pub struct RawEvent {
    /// Such as `SHUTDOWN`.
    pub name: String,
    /// Its payload; an empty object when there was none.
    pub data: Value,
    /// When the peer says that it happened.
    pub timestamp: Timestamp,
}

/// A point in the peer's wall clock time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970; negative when the peer could not tell.
    pub seconds: i64,
    /// And microseconds.
    pub microseconds: i64,
}

/// The kind of a failure. Open: peers may add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Most failures; only the description tells more.
    GenericError,
    /// The peer has no such command, or not in its present state.
    CommandNotFound,
    /// The device is there but not active.
    DeviceNotActive,
    /// There is no such device.
    DeviceNotFound,
    /// KVM lacks something that the command needs.
    KvmMissingCap,
    /// One that this crate does not know.
    Other(String),
}

impl ErrorClass {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotActive => "DeviceNotActive",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::KvmMissingCap => "KVMMissingCap",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for ErrorClass {
    fn from(name: &str) -> Self {
        match name {
            "GenericError" => Self::GenericError,
            "CommandNotFound" => Self::CommandNotFound,
            "DeviceNotActive" => Self::DeviceNotActive,
            "DeviceNotFound" => Self::DeviceNotFound,
            "KVMMissingCap" => Self::KvmMissingCap,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The line exceeds the limit; nothing after it can be trusted to start at a message.
    #[error("A line from the peer is longer than {limit} bytes; it starts with `{seen}`")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Its start, shortened and made printable.
        seen: String,
    },
    /// Not UTF-8.
    #[error("A line from the peer is not UTF-8 at byte {offset}: `{seen}`")]
    NotUtf8 {
        /// Where the first wrong byte is in the line.
        offset: usize,
        /// Its start, shortened and made printable.
        seen: String,
    },
    /// Not JSON, or nested deeper than 127 levels.
    #[error("A line from the peer is not JSON: `{seen}`")]
    NotJson {
        /// Its start, shortened and made printable.
        seen: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// JSON, but neither greeting nor event, return or error.
    #[error("A line from the peer is not a message: `{seen}`")]
    NotAMessage {
        /// Its start, shortened and made printable.
        seen: String,
    },
}

/// Decodes one line, without its line feed.
///
/// # Errors
///
/// When the line is not a message. Nesting is bounded by the JSON parser, length by the caller.
pub fn decode_line(line: &[u8]) -> Result<Envelope, DecodeError> {
    let text = std::str::from_utf8(line).map_err(|error| DecodeError::NotUtf8 { offset: error.valid_up_to(), seen: shorten(line) })?;
    // serde_json refuses more than 127 levels by itself, which bounds its stack and ours.
    let value: Value = serde_json::from_str(text).map_err(|source| DecodeError::NotJson { seen: shorten(line), source })?;
    let not_a_message = || DecodeError::NotAMessage { seen: shorten(line) };
    let Value::Object(mut members) = value else {
        return Err(not_a_message());
    };
    if let Some(greeting) = members.remove("QMP") {
        return Ok(Envelope::Greeting(greeting_of(&greeting)));
    }
    if let Some(Value::String(name)) = members.get("event") {
        let name = name.clone();
        let timestamp = timestamp_of(members.get("timestamp"));
        let data = members.remove("data").unwrap_or_else(|| Value::Object(Map::new()));
        return Ok(Envelope::Event(RawEvent { name, data, timestamp }));
    }
    let id = members.remove("id");
    if let Some(value) = members.remove("return") {
        return Ok(Envelope::Return { id, value });
    }
    if let Some(Value::Object(error)) = members.get("error") {
        let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
        return Ok(Envelope::Error { id, class: text("class").into(), description: text("desc").to_owned() });
    }
    Err(not_a_message())
}

fn greeting_of(value: &Value) -> Greeting {
    let qemu = value.pointer("/version/qemu");
    let part = |name| qemu.and_then(|q| q.get(name)).and_then(Value::as_u64);
    Greeting {
        version: match (part("major"), part("minor"), part("micro")) {
            (Some(major), Some(minor), Some(micro)) => Some((major, minor, micro)),
            _ => None,
        },
        package: value.pointer("/version/package").and_then(Value::as_str).unwrap_or_default().to_owned(),
        capabilities: value
            .get("capabilities")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    }
}

fn timestamp_of(value: Option<&Value>) -> Timestamp {
    let part = |name| value.and_then(|v| v.get(name)).and_then(Value::as_i64);
    Timestamp { seconds: part("seconds").unwrap_or(-1), microseconds: part("microseconds").unwrap_or(-1) }
}

/// The start of what a peer sent, printable and on one line.
pub(crate) fn shorten(bytes: &[u8]) -> String {
    let (head, cut) = match bytes.get(..SHOWN) {
        Some(head) if bytes.len() > SHOWN => (head, true),
        _ => (bytes, false),
    };
    let mut text: String = String::from_utf8_lossy(head).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if cut {
        text.push('…');
    }
    text
}

/// One request as a line, with its line feed.
///
/// `verb` is `execute` or `exec-oob`. Empty arguments are left out.
pub(crate) fn encode(verb: &str, name: &str, arguments: Value, id: Option<u64>) -> Vec<u8> {
    let mut members = Map::new();
    members.insert(verb.to_owned(), name.into());
    let empty = match &arguments {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if !empty {
        members.insert("arguments".to_owned(), arguments);
    }
    if let Some(id) = id {
        members.insert("id".to_owned(), id.into());
    }
    let mut line = Value::Object(members).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Collects chunks into lines and decodes them. Holds at most one line.
#[derive(Debug)]
pub struct Decoder {
    partial: Vec<u8>,
    max_line: usize,
    delimited: bool,
    ended: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_LINE)
    }
}

impl Decoder {
    /// A decoder for a monitor. `max_line` is in bytes, without the line feed.
    pub fn new(max_line: usize) -> Self {
        Self { partial: Vec::new(), max_line, delimited: false, ended: false }
    }

    /// A decoder for a guest agent, which sends 0xFF to say "forget what came before on this line".
    pub fn delimited(max_line: usize) -> Self {
        Self { delimited: true, ..Self::new(max_line) }
    }

    /// Takes what was read, in whatever pieces, and gives the messages that it completes. Blank lines are skipped.
    ///
    /// An unusable line is an error in its place and the next one is decoded as usual, except for [`DecodeError::TooLong`]: it is the last
    /// thing a decoder gives.
    pub fn push(&mut self, mut chunk: &[u8]) -> Vec<Result<Envelope, DecodeError>> {
        let mut messages = Vec::new();
        while !self.ended {
            let Some(at) = chunk.iter().position(|byte| self.ends_piece(*byte)) else {
                self.keep(chunk, &mut messages);
                break;
            };
            let (piece, rest) = chunk.split_at(at);
            let Some((delimiter, rest)) = rest.split_first() else {
                break;
            };
            chunk = rest;
            if !self.keep(piece, &mut messages) {
                break;
            }
            if *delimiter == b'\n' {
                let line = std::mem::take(&mut self.partial);
                let line = line.trim_ascii();
                if !line.is_empty() {
                    messages.push(decode_line(line));
                }
            } else {
                self.partial.clear();
            }
        }
        messages
    }

    /// The start of an unfinished line, printable; `None` between lines.
    pub fn unfinished(&self) -> Option<String> {
        (!self.partial.trim_ascii().is_empty()).then(|| shorten(&self.partial))
    }

    fn ends_piece(&self, byte: u8) -> bool {
        byte == b'\n' || (self.delimited && byte == 0xff)
    }

    /// Adds to the current line; false when that makes it too long.
    fn keep(&mut self, piece: &[u8], messages: &mut Vec<Result<Envelope, DecodeError>>) -> bool {
        let room = self.max_line.saturating_sub(self.partial.len());
        let fits = piece.len() <= room;
        self.partial.extend_from_slice(piece.get(..room).unwrap_or(piece));
        if !fits {
            self.ended = true;
            messages.push(Err(DecodeError::TooLong { limit: self.max_line, seen: shorten(&self.partial) }));
            self.partial = Vec::new();
        }
        fits
    }
}
