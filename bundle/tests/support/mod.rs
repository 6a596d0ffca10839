//! A configuration in the form that UTM writes, for tests to change.

#![allow(dead_code, reason = "not every test file uses all of it")]

use bundle::{Configuration, Loaded, Problem, ReadError};
use plist::{Dictionary, Value};

/// A QEMU configuration with one of everything.
pub const QEMU: &str = include_str!("qemu.plist");
/// An Apple configuration with one of everything.
pub const APPLE: &str = include_str!("apple.plist");

/// The tree of [`QEMU`].
pub fn qemu() -> Dictionary {
    plist::from_bytes::<Value>(QEMU.as_bytes()).unwrap().into_dictionary().unwrap()
}

/// Puts `value` at a path of keys and numbers, such as `Drive.0.Interface`; `None` removes it.
pub fn put(root: &mut Dictionary, path: &str, value: Option<Value>) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut current = root;
    let mut parts = parents.split('.').filter(|part| !part.is_empty());
    while let Some(key) = parts.next() {
        current = match current.get_mut(key).unwrap() {
            Value::Dictionary(dictionary) => dictionary,
            Value::Array(array) => array[parts.next().unwrap().parse::<usize>().unwrap()].as_dictionary_mut().unwrap(),
            other => panic!("{path} goes through {other:?}"),
        };
    }
    match value {
        Some(value) => current.insert(last.to_owned(), value),
        None => current.remove(last),
    };
}

/// Reads a tree.
pub fn read(root: &Dictionary) -> Result<Loaded, ReadError> {
    let mut bytes = Vec::new();
    plist::to_writer_binary(&mut bytes, root).unwrap();
    Configuration::read(&bytes, "fallback")
}

/// Key paths and messages of findings, one per line.
pub fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{} {problem}", problem.level)).collect()
}
