//! The plain types that keys hold.

use plist::Value;
use uuid::Uuid;

use crate::file_name::FileName;
use crate::problem::{Findings, Level};
use crate::schema::{Decoded, Field, Kind, type_name};

/// Bytes that only their maker can read, such as the hardware model of a macOS guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

fn expected<T>(what: &str, found: &Value, findings: &mut Findings) -> Decoded<T> {
    findings.fatal(format!("expected {what}, found {}", type_name(found)));
    Decoded::Refused
}

/// An integer from 0 to `max`.
fn integer<T: TryFrom<u64>>(value: &Value, max: u64, findings: &mut Findings) -> Decoded<T> {
    let Value::Integer(integer) = value else {
        return expected("integer", value, findings);
    };
    match integer.as_unsigned() {
        Some(number) => match T::try_from(number) {
            Ok(number) => Decoded::Value(number),
            Err(_) => {
                findings.fatal(format!("{number} is more than the largest value, {max}"));
                Decoded::Refused
            }
        },
        None => {
            findings.fatal(format!("{integer} is negative"));
            Decoded::Refused
        }
    }
}

impl Field for bool {
    const KIND: &'static Kind = &Kind::Boolean;

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        match value {
            Value::Boolean(value) => Decoded::Value(*value),
            other => expected("boolean", other, findings),
        }
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Field for u32 {
    const KIND: &'static Kind = &Kind::Integer { max: u32::MAX as u64 };

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        integer(value, u64::from(u32::MAX), findings)
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::Integer((*self).into()))
    }
}

impl Field for u64 {
    const KIND: &'static Kind = &Kind::Integer { max: i64::MAX as u64 };

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        // UTM's integers are signed, so what only fits unsigned would make a file that it cannot read.
        match integer(value, i64::MAX.unsigned_abs(), findings) {
            Decoded::Value(number) if number > i64::MAX.unsigned_abs() => {
                findings.fatal(format!("{number} is more than the largest value, {}", i64::MAX));
                Decoded::Refused
            }
            other => other,
        }
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::Integer((*self).into()))
    }
}

impl Field for String {
    const KIND: &'static Kind = &Kind::Text;

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        match value {
            Value::String(text) => Decoded::Value(text.clone()),
            other => expected("string", other, findings),
        }
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

/// Only the hyphenated form: `Uuid` itself also takes braces and URNs, which UTM does not.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

impl Field for Uuid {
    const KIND: &'static Kind = &Kind::Uuid;

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        let Value::String(text) = value else {
            return expected("string", value, findings);
        };
        match parse_uuid(text) {
            Some(uuid) => Decoded::Value(uuid),
            None => {
                let shown = crate::problem::printable(text);
                let hint = "write it as 8-4-4-4-12 hexadecimal digits; `uuidgen` makes one".to_owned();
                findings.report(Level::Fatal, format!("`{shown}` is not a UUID"), Some(hint));
                Decoded::Refused
            }
        }
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::String(self.hyphenated().to_string().to_uppercase()))
    }
}

impl Field for FileName {
    const KIND: &'static Kind = &Kind::FileName;

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        let Value::String(text) = value else {
            return expected("string", value, findings);
        };
        match FileName::new(text) {
            Ok(name) => Decoded::Value(name),
            Err(error) => {
                let hint = "the machine is listed, but does not start before this names a file directly in `Data/`";
                findings.report(Level::Ignored, error.to_string(), Some(hint.to_owned()));
                Decoded::Kept
            }
        }
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::String(self.as_str().to_owned()))
    }
}

impl Field for Data {
    const KIND: &'static Kind = &Kind::Data;

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        match value {
            Value::Data(bytes) => Decoded::Value(Data(bytes.clone())),
            other => expected("data", other, findings),
        }
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::Data(self.0.clone()))
    }
}

impl<T: Field> Field for Option<T> {
    const KIND: &'static Kind = T::KIND;

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        match T::decode(value, findings) {
            Decoded::Value(value) => Decoded::Value(Some(value)),
            Decoded::Kept => Decoded::Kept,
            Decoded::Refused => Decoded::Refused,
        }
    }

    fn encode(&self) -> Option<Value> {
        self.as_ref().and_then(Field::encode)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Field> Field for Vec<T> {
    const KIND: &'static Kind = &Kind::List(T::KIND);

    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self> {
        let Value::Array(array) = value else {
            return expected("array", value, findings);
        };
        let mut elements = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            // An element that was refused has left a fatal finding, so the shorter list is never used.
            if let Decoded::Value(element) = findings.at_index(index, |findings| T::decode(value, findings)) {
                elements.push(element);
            }
        }
        Decoded::Value(elements)
    }

    fn encode(&self) -> Option<Value> {
        Some(Value::Array(self.iter().filter_map(Field::encode).collect()))
    }
}
