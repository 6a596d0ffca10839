//! Single keys of a configuration as people name them: `System.MemorySize`, `Drive[0].ReadOnly`, `Drive[<identifier>].ReadOnly`, `Network[+]`.
//!
//! Keys may be written in any case. An element of a list is chosen by its number from 0, or by its `Identifier`, `MacAddress`, `Hardware` or `Mode` where
//! that fits one element only; `[+]` adds one. The table behind it is [`Schema`], so whatever can be read can be named here.

mod path;
mod text;

use std::collections::BTreeSet;

use plist::{Dictionary, Value};

use crate::configuration::Configuration;
use crate::problem::{Level, Problem, ReadError};
use crate::schema::{Key, Kind, Schema};
use crate::tables;
use path::{Place, Step};

pub use text::{format_value, to_json};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Gives a key the value that a text says.
    Set {
        /// The key path.
        path: String,
        /// The value, as a person types it: `true`, `4GiB`, `VirtIO`, `a,b`, JSON for lists and sections.
        text: String,
    },
    /// Gives a key its value in a fresh configuration, removes an optional or unknown key, or removes an element of a list.
    Unset {
        /// The key path.
        path: String,
    },
}

/// Why a key path or a value was not accepted. The configuration is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key path cannot be parsed.
    #[error("`{path}` is not a key path: {message}")]
    Syntax {
        /// The key path.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// There is no such key.
    #[error("There is no key `{key}`{}{}", in_place(.place), meant(.suggestion))]
    UnknownKey {
        /// The part of the key path that is unknown.
        key: String,
        /// Where it was looked for; empty for the root.
        place: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A list has no such element.
    #[error("`{place}` has no element `{selector}`; {has}")]
    UnknownElement {
        /// The list.
        place: String,
        /// What was looked for.
        selector: String,
        /// What there is.
        has: String,
    },
    /// The key has no value.
    #[error("`{0}` is not set")]
    NotSet(String),
    /// The key says what the file is.
    #[error("`{0}` cannot be changed")]
    Constant(String),
    /// The text is not a value of the key's kind.
    #[error("`{path}`: {message}")]
    Value {
        /// The key.
        path: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// With the change, the configuration could not be read any more.
    #[error("Change was refused: {}", list(.0))]
    Refused(Vec<Problem>),
}

fn in_place(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" in `{place}`") }
}

fn meant(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// A key as documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key path, with `[]` for any element.
    pub path: String,
    /// What it holds, in a word or two.
    pub kind: String,
    /// The allowed values, where there is a closed set.
    pub allowed: Option<&'static [&'static str]>,
    /// Whether UTM refuses a configuration without it.
    pub required: bool,
    /// The value in a fresh configuration. Identifiers and addresses are random there, so they have none here.
    pub default: Option<String>,
    /// One line.
    pub description: &'static str,
}

/// Describes all keys below a schema, sections and lists before what is in them.
pub fn keys(schema: &'static Schema) -> Vec<KeyDescription> {
    let mut descriptions = Vec::new();
    describe(schema, "", &mut descriptions);
    descriptions
}

fn describe(schema: &'static Schema, prefix: &str, descriptions: &mut Vec<KeyDescription>) {
    // What differs between two fresh ones is random.
    let (fresh, other) = ((schema.fresh)(), (schema.fresh)());
    for key in schema.keys {
        let path = if prefix.is_empty() { key.name.to_owned() } else { format!("{prefix}.{}", key.name) };
        let section = match key.kind {
            Kind::Section(section) => Some((section, path.clone())),
            Kind::List(Kind::Section(section)) => Some((section, format!("{path}[]"))),
            _ => None,
        };
        let default = fresh.get(key.name).filter(|value| section.is_none() && Some(*value) == other.get(key.name)).map(format_value);
        let (kind, required, description) = (key.kind.describe(), key.required, key.description);
        descriptions.push(KeyDescription { path, kind, allowed: key.kind.allowed(), required, default, description });
        if let Some((section, path)) = section {
            describe(section, &path, descriptions);
        }
    }
}

/// All values, by key path: what is not a section or a list of sections, and the empty ones of those.
pub fn entries(configuration: &Configuration) -> Vec<(String, Value)> {
    let mut entries = Vec::new();
    flatten(Value::Dictionary(configuration.to_dictionary()), String::new(), &mut entries);
    entries
}

fn flatten(value: Value, path: String, entries: &mut Vec<(String, Value)>) {
    match value {
        Value::Dictionary(dictionary) if !dictionary.is_empty() => {
            for (key, value) in dictionary {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(value, path, entries);
            }
        }
        Value::Array(array) if array.iter().any(|value| value.as_dictionary().is_some()) => {
            for (index, value) in array.into_iter().enumerate() {
                flatten(value, format!("{path}[{index}]"), entries);
            }
        }
        value => entries.push((path, value)),
    }
}

/// The values that are known for a key: all that are allowed, or for machines, processor models and devices those that UTM offers for the configuration's
/// architecture, where others may work too.
pub fn known_values(configuration: &Configuration, path: &str) -> Option<&'static [&'static str]> {
    let root = Value::Dictionary(configuration.to_dictionary());
    let place = path::resolve(&root, configuration.schema(), path).ok()?;
    if let Some(allowed) = place.kind.and_then(Kind::allowed) {
        return Some(allowed);
    }
    let architecture = configuration.as_qemu()?.system.architecture;
    match (place.parent?.name, place.key?.name) {
        ("System", "Target") => Some(tables::machines(architecture)),
        ("System", "CPU") => Some(tables::cpus(architecture)),
        ("System", "CPUFlagsAdd" | "CPUFlagsRemove") => Some(tables::cpu_flags(architecture)),
        ("Display", "Hardware") => Some(tables::display_devices(architecture)),
        ("Network", "Hardware") => Some(tables::network_devices(architecture)),
        ("Serial", "Hardware") => Some(tables::serial_devices(architecture)),
        ("Sound", "Hardware") => Some(tables::sound_devices(architecture)),
        _ => None,
    }
}

/// The value of a key, unknown ones included.
pub fn get(configuration: &Configuration, path: &str) -> Result<Value, KeyError> {
    let root = Value::Dictionary(configuration.to_dictionary());
    let place = path::resolve(&root, configuration.schema(), path)?;
    place.steps.iter().try_fold(&root, |value, step| step.follow(value)).cloned().ok_or(KeyError::NotSet(place.text))
}

/// Gives a key the value that `text` says. The result is what is now noticed and was not before.
pub fn set(configuration: &mut Configuration, path: &str, text: &str) -> Result<Vec<Problem>, KeyError> {
    edit(configuration, &[Change::Set { path: path.to_owned(), text: text.to_owned() }])
}

/// Takes the value of a key away, or an element out of its list. The result is what is now noticed and was not before.
pub fn unset(configuration: &mut Configuration, path: &str) -> Result<Vec<Problem>, KeyError> {
    edit(configuration, &[Change::Unset { path: path.to_owned() }])
}

/// Makes several changes at once, so that keys that depend on each other, such as `System.Architecture` and `System.Target`, can change together. All are
/// made or none. In one call, the first `Network[+]` adds an element and later ones mean the same element, so that its keys can be set; a `Network[+]` that
/// is the whole path always adds one.
///
/// Refused is what the configuration could not be read with, and what newly keeps the machine from running; what was wrong before does not matter.
pub fn edit(configuration: &mut Configuration, changes: &[Change]) -> Result<Vec<Problem>, KeyError> {
    let mut root = Value::Dictionary(configuration.to_dictionary());
    let mut added = BTreeSet::new();
    for change in changes {
        apply(&mut root, configuration.schema(), change, &mut added)?;
    }
    let Value::Dictionary(root) = root else {
        return Err(KeyError::Refused(Vec::new()));
    };
    let (changed, mut problems) = noticed(root)?;
    let before = noticed(configuration.to_dictionary()).map(|(_, problems)| problems).unwrap_or_default();
    let mut before: Vec<String> = before.iter().map(without_numbers).collect();
    problems.retain(|problem| {
        let known = before.iter().position(|other| *other == without_numbers(problem));
        known.map(|index| before.swap_remove(index)).is_none()
    });
    // What decoding replaces is something that was just set.
    if problems.iter().any(|problem| problem.level != Level::Ignored) {
        problems.retain(|problem| problem.level != Level::Ignored);
        return Err(KeyError::Refused(problems));
    }
    *configuration = changed;
    Ok(problems)
}

/// Decodes a changed configuration, with what decoding and validation say about it.
fn noticed(root: Dictionary) -> Result<(Configuration, Vec<Problem>), KeyError> {
    let (configuration, mut problems) = Configuration::from_changed(root).map_err(|ReadError { problems }| KeyError::Refused(problems))?;
    problems.extend(configuration.validate());
    Ok((configuration, problems))
}

/// A finding without the numbers of elements, which change when an earlier element is removed.
fn without_numbers(problem: &Problem) -> String {
    let mut text = problem.to_string();
    text.retain(|c| !c.is_ascii_digit());
    text
}

/// The list that a path of several `[+]` adds to, and what was added to it in this call.
type Added = BTreeSet<(String, usize)>;

fn apply(root: &mut Value, schema: &'static Schema, change: &Change, added: &mut Added) -> Result<(), KeyError> {
    let (Change::Set { path, .. } | Change::Unset { path }) = change;
    let resolved = path::resolve_with(root, schema, path, added)?;
    if let Some(Step::Key(key)) = resolved.steps.first()
        && (key == "Backend" || key == "ConfigurationVersion")
    {
        return Err(KeyError::Constant(key.clone()));
    }
    match change {
        Change::Set { text, .. } => {
            let Some(kind) = resolved.kind else {
                return Err(KeyError::Constant(resolved.text));
            };
            let previous = resolved.steps.iter().try_fold(&*root, |value, step| step.follow(value));
            let value = text::parse(kind, text, previous).map_err(|message| KeyError::Value { path: resolved.text.clone(), message })?;
            put(root, &resolved, value);
            for (list, index) in resolved.appended {
                added.insert((list, index));
            }
        }
        Change::Unset { .. } => remove(root, &resolved)?,
    }
    Ok(())
}

/// Puts a value in its place, with fresh sections and elements around it where there are none.
fn put(root: &mut Value, place: &Place, value: Value) {
    let mut current = root;
    for (step, schema) in place.steps.iter().zip(&place.schemas) {
        let fresh = || schema.map_or(Value::Dictionary(Dictionary::new()), |schema| Value::Dictionary((schema.fresh)()));
        current = match (step, current) {
            (Step::Key(key), Value::Dictionary(dictionary)) => {
                let is_list = place.lists.contains(key);
                dictionary.entry(key.as_str()).or_insert_with(|| if is_list { Value::Array(Vec::new()) } else { fresh() })
            }
            (Step::Index(index), Value::Array(array)) => {
                if *index >= array.len() {
                    array.push(fresh());
                }
                match array.get_mut(*index) {
                    Some(element) => element,
                    None => return,
                }
            }
            _ => return,
        };
    }
    *current = value;
}

fn remove(root: &mut Value, place: &Place) -> Result<(), KeyError> {
    let not_set = || KeyError::NotSet(place.text.clone());
    let (last, parents) = place.steps.split_last().ok_or_else(not_set)?;
    let parent = parents.iter().try_fold(root, |value, step| step.follow_mut(value)).ok_or_else(not_set)?;
    match (last, parent) {
        (Step::Key(name), Value::Dictionary(dictionary)) => {
            let required: Option<&Key> = place.key.filter(|key| key.required);
            let fresh = place.parent.filter(|_| required.is_some()).and_then(|schema| (schema.fresh)().remove(name));
            match fresh {
                Some(value) => dictionary.insert(name.clone(), value),
                None => dictionary.remove(name),
            }
            .map(drop)
            .ok_or_else(not_set)
        }
        (Step::Index(index), Value::Array(array)) if *index < array.len() => {
            array.remove(*index);
            Ok(())
        }
        _ => Err(not_set()),
    }
}
