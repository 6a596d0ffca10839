//! Configurations of UTM before 4.0 and their files are brought into the present form.

mod apple;
mod files;
mod properties;
mod qemu;
mod view_state;

use std::fmt::Write;
use std::path::Path;

use bundle::Problem;
use bundle::legacy::migrate;
use plist::{Dictionary, Value};

/// A property list in `fixtures/`.
fn fixture(name: &str) -> Dictionary {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy/fixtures").join(name);
    Value::from_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_dictionary().unwrap()
}

/// A dictionary, written as JSON.
fn dictionary(json: &serde_json::Value) -> Dictionary {
    fn value(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Data(vec![1, 2, 3]),
            serde_json::Value::Bool(value) => Value::Boolean(*value),
            serde_json::Value::Number(number) => number.as_i64().map_or_else(|| Value::Real(number.as_f64().unwrap()), Value::from),
            serde_json::Value::String(text) => Value::String(text.clone()),
            serde_json::Value::Array(values) => Value::Array(values.iter().map(value).collect()),
            serde_json::Value::Object(entries) => {
                Value::Dictionary(entries.iter().map(|(key, entry)| (key.clone(), value(entry))).collect())
            }
        }
    }
    value(json).into_dictionary().unwrap()
}

/// Migrates a fixture and shows the outcome: first what was said about it, then every key of the result.
fn migrated(name: &str) -> String {
    let root = fixture(name);
    let mut shown = String::new();
    match migrate(&root, "Fallback") {
        Ok((configuration, problems, origin)) => {
            writeln!(shown, "{origin:?}").unwrap();
            show_problems(&problems, &mut shown);
            show(&Value::Dictionary(configuration.to_dictionary()), "", &mut shown);
        }
        Err(problems) => show_problems(&problems, &mut shown),
    }
    shown
}

fn show_problems(problems: &[Problem], shown: &mut String) {
    for problem in problems {
        writeln!(shown, "{}: {problem}", problem.level).unwrap();
    }
}

fn show(value: &Value, path: &str, shown: &mut String) {
    match value {
        Value::Dictionary(dictionary) if !dictionary.is_empty() => {
            for (key, value) in dictionary {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                show(value, &path, shown);
            }
        }
        Value::Array(array) if !array.is_empty() => {
            for (index, value) in array.iter().enumerate() {
                show(value, &format!("{path}[{index}]"), shown);
            }
        }
        Value::String(text) => writeln!(shown, "{path} = {text:?}").unwrap(),
        Value::Boolean(value) => writeln!(shown, "{path} = {value}").unwrap(),
        Value::Integer(number) => writeln!(shown, "{path} = {number}").unwrap(),
        other => writeln!(shown, "{path} = {other:?}").unwrap(),
    }
}
