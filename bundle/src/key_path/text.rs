//! Values as people type and read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plist::{Dictionary, Value};
use serde_json::Value as Json;

use crate::nearest::closest;
use crate::schema::{Kind, Schema, UnknownChoice};

/// The value that `text` says, or what is wrong with it. `previous` is what is there: an object for a section changes only the keys that it names.
pub(super) fn parse(kind: &'static Kind, text: &str, previous: Option<&Value>) -> Result<Value, String> {
    match kind {
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(Value::Boolean(true)),
            "false" | "no" | "off" => Ok(Value::Boolean(false)),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        },
        Kind::Integer { max } => match text.trim().parse::<u64>() {
            Ok(number) if number <= *max => Ok(Value::Integer(number.into())),
            _ => Err(format!("`{text}` is not a whole number from 0 to {max}")),
        },
        Kind::Mebibytes => mebibytes(text).map(|number| Value::Integer(number.into())),
        Kind::Text | Kind::FileName | Kind::Uuid => Ok(Value::String(text.to_owned())),
        Kind::Choice(allowed) => match allowed.iter().find(|name| name.eq_ignore_ascii_case(text)) {
            Some(name) => Ok(Value::String((*name).to_owned())),
            None => {
                let unknown = UnknownChoice { text: text.to_owned(), allowed };
                Err(match closest(text, allowed.iter()) {
                    Some(meant) => format!("{unknown}; did you mean `{meant}`?"),
                    None => unknown.to_string(),
                })
            }
        },
        Kind::Data => match STANDARD.decode(text.trim()) {
            Ok(bytes) => Ok(Value::Data(bytes)),
            Err(error) => Err(format!("not base64: {error}")),
        },
        Kind::Arguments | Kind::List(_) if text.trim_start().starts_with('[') => from_json(kind, &json(text)?, None),
        Kind::Arguments => match shell_words::split(text) {
            Ok(words) => Ok(Value::Array(words.into_iter().map(Value::String).collect())),
            Err(_) => Err("a quotation mark is not closed".to_owned()),
        },
        Kind::List(Kind::Section(_)) => Err(r#"write a JSON array of objects, such as `[{"Mode": "Emulated"}]`"#.to_owned()),
        Kind::List(element) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| parse(element, part, None)).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Kind::Section(_) if text.trim().is_empty() => from_json(kind, &Json::Object(serde_json::Map::new()), previous),
        Kind::Section(_) => from_json(kind, &json(text)?, previous),
    }
}

fn json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

fn from_json(kind: &'static Kind, json: &Json, previous: Option<&Value>) -> Result<Value, String> {
    match (kind, json) {
        (Kind::Section(schema), Json::Object(object)) => {
            let mut dictionary = previous.and_then(Value::as_dictionary).cloned().unwrap_or_else(schema.fresh);
            for (name, value) in object {
                let key = known_key(schema, name)?;
                let value = from_json(key.kind, value, dictionary.get(key.name)).map_err(|message| format!("`{}`: {message}", key.name))?;
                dictionary.insert(key.name.to_owned(), value);
            }
            Ok(Value::Dictionary(dictionary))
        }
        (Kind::Section(schema), _) => Err(format!("write a JSON object with keys of {}", schema.name)),
        (Kind::List(element), Json::Array(array)) => {
            array.iter().map(|value| from_json(element, value, None)).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        (Kind::Arguments, Json::Array(array)) => {
            array.iter().map(|value| from_json(&Kind::Text, value, None)).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        (Kind::List(_) | Kind::Arguments, Json::String(text)) => parse(kind, text, None),
        (Kind::List(_) | Kind::Arguments, _) => Err("write a JSON array".to_owned()),
        (_, Json::String(text)) => parse(kind, text, None),
        (_, Json::Bool(_) | Json::Number(_)) => parse(kind, &json.to_string(), None),
        (_, Json::Null | Json::Array(_) | Json::Object(_)) => Err(format!("`{json}` is not a {}", kind.describe())),
    }
}

fn known_key(schema: &'static Schema, name: &str) -> Result<&'static crate::schema::Key, String> {
    schema.keys.iter().find(|key| key.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let suggestion = closest(name, schema.keys.iter().map(|key| key.name));
        let meant = suggestion.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default();
        format!("there is no key `{name}` in {}{meant}", schema.name)
    })
}

/// A size in MiB: `4096`, `4GiB`, `4G`, `512M`, `1.5 GiB`.
fn mebibytes(text: &str) -> Result<u64, String> {
    const WANTED: &str = "write MiB as a number, or a size such as 512MiB or 4GiB";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is not a size; {WANTED}");
    if number.is_empty() {
        return Err(wrong());
    }
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "m" | "mi" | "mib" => 1,
        "g" | "gi" | "gib" => 1 << 10,
        "t" | "ti" | "tib" => 1 << 20,
        other => return Err(format!("`{other}` is not a unit; {WANTED}")),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut size = whole.checked_mul(factor).ok_or_else(wrong)?;
    if number.contains('.') {
        // Six digits keep the product below 2^64, and are more than anybody types.
        let scale = 10_u64.pow(u32::try_from(fraction.len()).ok().filter(|digits| (1..=6).contains(digits)).ok_or_else(wrong)?);
        let part = fraction.parse::<u64>().map_err(|_| wrong())? * factor;
        if !part.is_multiple_of(scale) {
            return Err(format!("`{text}` is not a whole number of MiB"));
        }
        size = size.checked_add(part / scale).ok_or_else(wrong)?;
    }
    if size > i64::MAX.unsigned_abs() { Err(wrong()) } else { Ok(size) }
}

/// A value as a person reads it: text as it is, lists and sections as JSON.
pub fn format_value(value: &Value) -> String {
    match to_json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// A value as JSON; data is base64, dates are text.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Array(array) => Json::Array(array.iter().map(to_json).collect()),
        Value::Dictionary(dictionary) => dictionary_to_json(dictionary),
        Value::Boolean(value) => Json::Bool(*value),
        Value::Data(data) => Json::String(STANDARD.encode(data)),
        Value::Date(date) => Json::String(date.to_xml_format()),
        Value::Real(real) => serde_json::Number::from_f64(*real).map_or(Json::Null, Json::Number),
        Value::Integer(integer) => match (integer.as_unsigned(), integer.as_signed()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Json::Null,
        },
        Value::String(text) => Json::String(text.clone()),
        _ => Json::Null,
    }
}

fn dictionary_to_json(dictionary: &Dictionary) -> Json {
    Json::Object(dictionary.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
}
