//! Key paths: parsed, and resolved against a configuration and its schema.

use std::collections::BTreeSet;

use plist::Value;

use super::KeyError;
use crate::nearest::closest;
use crate::problem::printable;
use crate::schema::{Key, Kind, Schema};

/// The longest key path.
const MAX_LENGTH: usize = 1024;
/// The keys by whose value an element may be chosen.
const NAMING_KEYS: [&str; 4] = ["Identifier", "MacAddress", "Hardware", "Mode"];

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    pub fn follow<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Step::Key(key) => value.as_dictionary()?.get(key),
            Step::Index(index) => value.as_array()?.get(*index),
        }
    }

    pub fn follow_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        match self {
            Step::Key(key) => value.as_dictionary_mut()?.get_mut(key),
            Step::Index(index) => value.as_array_mut()?.get_mut(*index),
        }
    }
}

/// A place in a configuration, which need not hold a value yet.
#[derive(Debug)]
pub(super) struct Place {
    /// How to get there.
    pub steps: Vec<Step>,
    /// For each step, the schema of the dictionary that it leads to.
    pub schemas: Vec<Option<&'static Schema>>,
    /// Which keys on the way hold lists.
    pub lists: BTreeSet<String>,
    /// What is there; `None` where the schema does not say.
    pub kind: Option<&'static Kind>,
    /// The key, if the last step is a known one.
    pub key: Option<&'static Key>,
    /// The schema of the dictionary that the last step is made in.
    pub parent: Option<&'static Schema>,
    /// Lists that `[+]` adds to, with the number of the new element.
    pub appended: Vec<(String, usize)>,
    /// The key path as it should be written.
    pub text: String,
}

enum Part<'a> {
    Key(&'a str),
    Selector(&'a str),
}

fn parse(path: &str) -> Result<Vec<Part<'_>>, KeyError> {
    let wrong = |message: &str| KeyError::Syntax { path: printable(path), message: message.to_owned() };
    if path.len() > MAX_LENGTH {
        return Err(wrong("it is too long"));
    }
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        if key.is_empty() {
            return Err(wrong("a key is missing"));
        }
        parts.push(Part::Key(key));
        rest = after;
        while let Some(after) = rest.strip_prefix('[') {
            let (selector, after) = after.split_once(']').ok_or_else(|| wrong("a `]` is missing"))?;
            parts.push(Part::Selector(selector));
            rest = after;
        }
        if rest.is_empty() {
            return Ok(parts);
        }
        rest = rest.strip_prefix('.').ok_or_else(|| wrong("a `.` is missing after `]`"))?;
    }
}

/// Finds the place that `path` names.
pub(super) fn resolve(root: &Value, schema: &'static Schema, path: &str) -> Result<Place, KeyError> {
    resolve_with(root, schema, path, &BTreeSet::new())
}

/// The same while elements have been `added` by other changes of the same call.
pub(super) fn resolve_with(root: &Value, schema: &'static Schema, path: &str, added: &super::Added) -> Result<Place, KeyError> {
    let parts = parse(path)?;
    let mut place = Place {
        steps: Vec::new(),
        schemas: Vec::new(),
        lists: BTreeSet::new(),
        kind: None,
        key: None,
        parent: None,
        appended: Vec::new(),
        text: String::new(),
    };
    let mut schema = Some(schema);
    let mut value = Some(root);
    let last = parts.len() - 1;
    for (number, part) in parts.into_iter().enumerate() {
        let step = match part {
            Part::Key(written) => {
                let name = find_key(schema, value, written, &place)?;
                let key = schema.and_then(|schema| schema.key(&name));
                (place.parent, place.key, place.kind) = (schema, key, key.map(|key| key.kind));
                if !place.text.is_empty() {
                    place.text.push('.');
                }
                place.text.push_str(&name);
                if matches!(place.kind, Some(Kind::List(_) | Kind::Arguments)) {
                    place.lists.insert(name.clone());
                }
                Step::Key(name)
            }
            Part::Selector(selector) => {
                let element = match place.kind {
                    Some(Kind::List(element)) => Some(*element),
                    Some(Kind::Arguments) => Some(&Kind::Text),
                    None if value.is_some_and(|value| value.as_array().is_some()) => None,
                    _ => {
                        let message = format!("`{}` is not a list", place.text);
                        return Err(KeyError::Syntax { path: printable(path), message });
                    }
                };
                let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let index = if selector == "+" {
                    // Keys after it mean the element that an earlier change of the same call added.
                    let earlier = added.range((place.text.clone(), 0)..=(place.text.clone(), usize::MAX)).next_back();
                    let index = earlier.filter(|_| number < last).map_or(list.len(), |(_, index)| *index);
                    place.appended.push((place.text.clone(), index));
                    index
                } else {
                    find_element(list, selector, &place.text)?
                };
                place.text.push_str(&format!("[{index}]"));
                (place.kind, place.key) = (element, None);
                Step::Index(index)
            }
        };
        value = value.and_then(|value| step.follow(value));
        schema = match place.kind {
            Some(Kind::Section(section)) => Some(section),
            _ => None,
        };
        place.steps.push(step);
        place.schemas.push(schema);
    }
    Ok(place)
}

/// The key that `written` means: exactly, in another case, or unknown to the schema but there.
fn find_key(schema: Option<&'static Schema>, value: Option<&Value>, written: &str, place: &Place) -> Result<String, KeyError> {
    let present = value.and_then(Value::as_dictionary);
    if schema.is_some_and(|schema| schema.key(written).is_some()) || present.is_some_and(|present| present.contains_key(written)) {
        return Ok(written.to_owned());
    }
    let known = || schema.into_iter().flat_map(|schema| schema.keys.iter().map(|key| key.name));
    if let Some(name) = known().find(|name| name.eq_ignore_ascii_case(written)) {
        return Ok(name.to_owned());
    }
    let prefix = if place.text.is_empty() { String::new() } else { format!("{}.", place.text) };
    let suggestion = closest(written, known()).map(|name| format!("{prefix}{name}")).or_else(|| {
        // `MemorySize` alone: the section was left out.
        let root = schema.filter(|_| place.steps.is_empty())?;
        let all = super::keys(root);
        all.into_iter().map(|key| key.path).find(|path| path.rsplit('.').next().is_some_and(|name| name.eq_ignore_ascii_case(written)))
    });
    Err(KeyError::UnknownKey { key: printable(written), place: place.text.clone(), suggestion })
}

fn find_element(list: &[Value], selector: &str, place: &str) -> Result<usize, KeyError> {
    if let Ok(index) = selector.parse::<usize>()
        && index < list.len()
    {
        return Ok(index);
    }
    for key in NAMING_KEYS {
        let named = |element: &Value| {
            let name = element.as_dictionary().and_then(|dictionary| dictionary.get(key)).and_then(Value::as_string);
            name.is_some_and(|name| name.eq_ignore_ascii_case(selector))
        };
        let mut found = list.iter().enumerate().filter(|(_, element)| named(element));
        if let (Some((index, _)), None) = (found.next(), found.next()) {
            return Ok(index);
        }
    }
    let has = match list.len() {
        0 => format!("it is empty, `{place}[+]` adds one"),
        1 => format!("it has `{place}[0]` only"),
        count => format!("it has `{place}[0]` to `{place}[{}]`", count - 1),
    };
    Err(KeyError::UnknownElement { place: place.to_owned(), selector: printable(selector), has })
}
