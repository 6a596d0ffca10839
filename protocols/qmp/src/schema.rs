//! What a QEMU says it can do: the reply to `query-qmp-schema`, and questions to it.
//!
//! Features are looked up here and never guessed from a version. Source: "QEMU Machine Protocol introspection" of QEMU's QAPI documentation.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;

/// The definitions of all commands, events and the types that they reach.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<Entry>")]
pub struct Schema {
    commands: BTreeMap<String, Command>,
    events: BTreeMap<String, String>,
    types: HashMap<String, Type>,
}

/// A command by the names of its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The object with its arguments.
    pub arguments: String,
    /// What it returns; an object without members for nothing.
    pub returns: String,
    /// Whether it may run out of band.
    pub out_of_band: bool,
}

/// A type. Types are referred to by names without meaning, except those of [`Type::Builtin`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Type {
    /// `str`, `int`, `number`, `bool`, `null` or `any`.
    Builtin,
    /// One of these words.
    Enum(Vec<String>),
    /// An array of this type.
    Array(String),
    /// One of these types.
    Alternate(Vec<String>),
    /// An object, perhaps with more members depending on the value of one.
    Object {
        /// The members that it always may have.
        members: Vec<Member>,
        /// The member whose value decides about more.
        tag: Option<String>,
        /// By value of the tag, the object with the further members.
        variants: Vec<(String, String)>,
    },
    /// Something that this crate does not know.
    Other,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The name of its type.
    pub r#type: String,
    /// Whether it may be absent.
    pub optional: bool,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(rename = "meta-type", default)]
    meta_type: String,
    #[serde(rename = "arg-type", default)]
    arguments: String,
    #[serde(rename = "ret-type", default)]
    returns: String,
    #[serde(rename = "allow-oob", default)]
    out_of_band: bool,
    #[serde(rename = "element-type", default)]
    element: String,
    #[serde(default)]
    members: Vec<EntryMember>,
    #[serde(default)]
    values: Vec<String>,
    tag: Option<String>,
    #[serde(default)]
    variants: Vec<EntryVariant>,
}

#[derive(Deserialize)]
struct EntryMember {
    #[serde(default)]
    name: String,
    #[serde(default)]
    r#type: String,
    // What matters is whether it is there; its value is null.
    #[serde(default, deserialize_with = "present")]
    default: bool,
}

#[derive(Deserialize)]
struct EntryVariant {
    case: String,
    r#type: String,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl From<Vec<Entry>> for Schema {
    fn from(entries: Vec<Entry>) -> Self {
        let mut schema = Self::default();
        for entry in entries {
            let members = entry.members.into_iter();
            let definition = match entry.meta_type.as_str() {
                "command" => {
                    let command = Command { arguments: entry.arguments, returns: entry.returns, out_of_band: entry.out_of_band };
                    schema.commands.insert(entry.name, command);
                    continue;
                }
                "event" => {
                    schema.events.insert(entry.name, entry.arguments);
                    continue;
                }
                "builtin" => Type::Builtin,
                "array" => Type::Array(entry.element),
                "alternate" => Type::Alternate(members.map(|member| member.r#type).collect()),
                // Up to QEMU 6.1 the words are in `values` alone.
                "enum" if members.len() == 0 => Type::Enum(entry.values),
                "enum" => Type::Enum(members.map(|member| member.name).collect()),
                "object" => Type::Object {
                    members: members.map(|member| Member { name: member.name, r#type: member.r#type, optional: member.default }).collect(),
                    tag: entry.tag,
                    variants: entry.variants.into_iter().map(|variant| (variant.case, variant.r#type)).collect(),
                },
                _ => Type::Other,
            };
            schema.types.insert(entry.name, definition);
        }
        schema
    }
}

impl Schema {
    /// The commands by name.
    pub fn commands(&self) -> &BTreeMap<String, Command> {
        &self.commands
    }

    /// The events by name, each with the name of the object with its data.
    pub fn events(&self) -> &BTreeMap<String, String> {
        &self.events
    }

    /// A type by its name.
    pub fn type_of(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    /// Whether there is a command.
    pub fn has_command(&self, name: &str) -> bool {
        self.commands.contains_key(name)
    }

    /// Whether there is an event.
    pub fn has_event(&self, name: &str) -> bool {
        self.events.contains_key(name)
    }

    /// Whether a command takes an argument. `path` names members separated by dots, such as `cache.direct` of `blockdev-add`; arrays and the
    /// cases of unions are looked through.
    pub fn has_argument(&self, command: &str, path: &str) -> bool {
        !self.arguments(command, path).is_empty()
    }

    /// The words that an argument of a command can be, such as the `driver`s of `blockdev-add`. Empty when the argument is not a choice.
    pub fn choices(&self, command: &str, path: &str) -> BTreeSet<&str> {
        self.arguments(command, path)
            .into_iter()
            .filter_map(|name| match self.types.get(name) {
                Some(Type::Enum(words)) => Some(words),
                _ => None,
            })
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// The types that a path of members leads to.
    fn arguments(&self, command: &str, path: &str) -> HashSet<&str> {
        let mut at = HashSet::new();
        if let Some(command) = self.commands.get(command) {
            at.insert(command.arguments.as_str());
        }
        for step in path.split('.') {
            at = at.into_iter().flat_map(|name| self.members_named(name, step)).map(|name| self.element(name)).collect();
        }
        at
    }

    /// The types of the members with a name, of an object, its cases and its alternatives.
    fn members_named(&self, object: &str, member: &str) -> HashSet<&str> {
        let mut found = HashSet::new();
        let mut seen = HashSet::new();
        let mut todo: Vec<&str> = self.types.get_key_value(object).map(|(name, _)| name.as_str()).into_iter().collect();
        while let Some(name) = todo.pop() {
            if !seen.insert(name) {
                continue;
            }
            match self.types.get(name) {
                Some(Type::Object { members, variants, .. }) => {
                    let here = members.iter().filter(|m| m.name == member);
                    found.extend(here.map(|m| m.r#type.as_str()));
                    todo.extend(variants.iter().map(|(_, object)| object.as_str()));
                }
                Some(Type::Alternate(types)) => todo.extend(types.iter().map(String::as_str)),
                _ => {}
            }
        }
        found
    }

    fn element<'a>(&'a self, mut name: &'a str) -> &'a str {
        // An array of arrays of … of itself does not exist, but a peer may say so.
        for _ in 0..8 {
            match self.types.get(name) {
                Some(Type::Array(element)) => name = element,
                _ => break,
            }
        }
        name
    }

    /// Whether a peer that is described by `peer` can be spoken to by somebody who knows only this schema.
    ///
    /// `any` here matches whatever is there. Names of types do not matter.
    pub fn compare(&self, peer: &Self) -> Differences {
        let mut comparison = Comparison { ours: self, theirs: peer, seen: HashSet::new(), differences: Differences::default() };
        for (name, ours) in &self.commands {
            match peer.commands.get(name) {
                None => comparison.differences.missing.push(format!("command {name}")),
                Some(theirs) => {
                    comparison.types(Way::There, &ours.arguments, &theirs.arguments, name);
                    let path = format!("{name}:return");
                    comparison.types(Way::Back, &ours.returns, &theirs.returns, &path);
                }
            }
        }
        for (name, ours) in &self.events {
            match peer.events.get(name) {
                None => comparison.differences.missing.push(format!("event {name}")),
                Some(theirs) => comparison.types(Way::Back, ours, theirs, name),
            }
        }
        let new_commands = peer.commands.keys().filter(|name| !self.has_command(name));
        let new_events = peer.events.keys().filter(|name| !self.has_event(name));
        let mut differences = comparison.differences;
        differences.new.extend(new_commands.map(|name| format!("command {name}")));
        differences.new.extend(new_events.map(|name| format!("event {name}")));
        differences
    }
}

/// How a peer differs from what somebody relies on. Each entry is a path such as `query-block:return.inserted.ro` and what is the matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Commands and events that the peer lacks.
    pub missing: Vec<String>,
    /// What would fail.
    pub broken: Vec<String>,
    /// Words that the peer does not know.
    pub fewer_choices: Vec<String>,
    /// What the peer has beyond.
    pub new: Vec<String>,
}

/// Which way a value travels: what must be there differs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    There,
    Back,
}

struct Comparison<'a> {
    ours: &'a Schema,
    theirs: &'a Schema,
    seen: HashSet<(Way, &'a str, &'a str)>,
    differences: Differences,
}

impl<'a> Comparison<'a> {
    fn types(&mut self, way: Way, our_name: &'a str, their_name: &'a str, path: &str) {
        if our_name == "any" || !self.seen.insert((way, our_name, their_name)) {
            return;
        }
        let broken = match (self.ours.types.get(our_name), self.theirs.types.get(their_name)) {
            (Some(Type::Builtin), Some(Type::Builtin)) if our_name == their_name => return,
            (Some(Type::Array(ours)), Some(Type::Array(theirs))) => {
                return self.types(way, ours, theirs, path);
            }
            (Some(Type::Enum(ours)), Some(Type::Enum(theirs))) => {
                return self.words(ours, theirs, path);
            }
            (
                Some(Type::Object { members: ours, tag: our_tag, variants: our_variants }),
                Some(Type::Object { members: theirs, tag: their_tag, variants: their_variants }),
            ) => {
                self.members(way, ours, theirs, path);
                if our_variants.is_empty() {
                    return;
                }
                if our_tag == their_tag {
                    return self.variants(way, our_variants, their_variants, path);
                }
                "another member decides about the rest".to_owned()
            }
            (_, None) => "the peer does not define its type".to_owned(),
            (ours, theirs) => format!("{ours:?} here, {theirs:?} there"),
        };
        self.differences.broken.push(format!("{path}: {broken}"));
    }

    fn members(&mut self, way: Way, ours: &'a [Member], theirs: &'a [Member], path: &str) {
        for our in ours {
            let path = format!("{path}.{}", our.name);
            let Some(their) = theirs.iter().find(|their| their.name == our.name) else {
                if way == Way::There || !our.optional {
                    self.differences.broken.push(format!("{path}: not there"));
                }
                continue;
            };
            let broken = match way {
                Way::There => our.optional && !their.optional,
                Way::Back => their.optional && !our.optional,
            };
            if broken {
                let what = if their.optional { "optional" } else { "required" };
                self.differences.broken.push(format!("{path}: {what}"));
            }
            self.types(way, &our.r#type, &their.r#type, &path);
        }
        for their in theirs {
            if ours.iter().all(|our| our.name != their.name) {
                let path = format!("{path}.{}", their.name);
                if way == Way::There && !their.optional {
                    self.differences.broken.push(format!("{path}: required"));
                } else {
                    self.differences.new.push(path);
                }
            }
        }
    }

    fn variants(&mut self, way: Way, ours: &'a [(String, String)], theirs: &'a [(String, String)], path: &str) {
        for (case, our) in ours {
            match theirs.iter().find(|(their_case, _)| their_case == case) {
                Some((_, their)) => self.types(way, our, their, &format!("{path}.{case}")),
                None => self.differences.fewer_choices.push(format!("{path}: {case}")),
            }
        }
    }

    fn words(&mut self, ours: &[String], theirs: &[String], path: &str) {
        let lacking = ours.iter().filter(|word| !theirs.contains(word));
        let lacking = lacking.map(|word| format!("{path}: {word}"));
        self.differences.fewer_choices.extend(lacking);
        let new = theirs.iter().filter(|word| !ours.contains(word));
        let new = new.map(|word| format!("{path}: {word}"));
        self.differences.new.extend(new);
    }
}
