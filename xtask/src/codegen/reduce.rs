//! From all that a QEMU defines to what the surface asks for, with names for types.
//!
//! The result has the form of the reply to `query-qmp-schema`, so that the same code reads both and a test can compare the two.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use qmp::schema::{Member, Schema, Type};
use serde_json::{Value, json};

use super::surface::Surface;

/// The name of the object without members, which stands for nothing.
pub const NOTHING: &str = "Nothing";

/// `definitions.json` for a surface, from the reply to `query-qmp-schema`.
pub fn reduce(surface: &Surface, reply: &Value, version: &str) -> anyhow::Result<String> {
    let schema: Schema = serde_json::from_value(reply.clone()).context("QEMU's definitions have an unexpected form")?;
    let mut reduction = Reduction {
        surface,
        schema: &schema,
        names: BTreeMap::new(),
        entries: BTreeMap::new(),
        unnamed: BTreeSet::new(),
        used: BTreeSet::new(),
    };
    reduction.name_types()?;
    reduction.commands()?;
    reduction.events()?;
    reduction.complete()?;

    let optional = |wanted: &BTreeMap<String, super::surface::Wanted>| {
        let names = wanted.iter().filter(|(_, wanted)| wanted.optional);
        names.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for entry in reduction.entries.values() {
        lines.push(entry.to_string());
    }
    Ok(format!(
        "{{\n\"generated\": \"by `cargo xtask codegen qmp` from query-qmp-schema of QEMU {version}: definitions only, do not edit\",\n\
         \"qemu\": \"{version}\",\n\
         \"optional-commands\": {},\n\
         \"optional-events\": {},\n\
         \"definitions\": [\n{}\n]\n}}\n",
        json!(optional(&surface.commands)),
        json!(optional(&surface.events)),
        lines.join(",\n")
    ))
}

struct Reduction<'a> {
    surface: &'a Surface,
    schema: &'a Schema,
    /// QEMU's names of types to ours.
    names: BTreeMap<String, String>,
    /// What goes into the result, by kind and name.
    entries: BTreeMap<(&'static str, String), Value>,
    /// Places that lead to types without names.
    unnamed: BTreeSet<String>,
    /// Places of `raw`, `own` and `lenient` that were met.
    used: BTreeSet<String>,
}

impl Reduction<'_> {
    /// Finds the types that the surface names. A place may start at another named type, in any order.
    fn name_types(&mut self) -> anyhow::Result<()> {
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        loop {
            let before = found.len();
            for (name, named) in &self.surface.types {
                if !found.contains_key(name.as_str())
                    && let Some(theirs) = self.locate(&named.at, &found)
                {
                    found.insert(name, theirs);
                }
            }
            if found.len() == before {
                break;
            }
        }
        for (name, named) in &self.surface.types {
            let theirs = found.get(name.as_str()).with_context(|| format!("Nothing is at `{}`, the place of {name}", named.at))?;
            if let Some(other) = self.names.insert(theirs.clone(), name.clone()) {
                anyhow::bail!("{name} and {other} are one type");
            }
        }
        Ok(())
    }

    fn locate(&self, place: &str, found: &BTreeMap<&str, String>) -> Option<String> {
        let (root, mut steps) = match place.split_once('.') {
            Some((root, rest)) => (root, rest.split('.').collect::<Vec<_>>()),
            None => (place, Vec::new()),
        };
        steps.reverse();
        let mut at = if let Some(name) = found.get(root) {
            name.as_str()
        } else if let Some(command) = root.strip_suffix(":return") {
            &self.schema.commands().get(command)?.returns
        } else if let Some(command) = self.schema.commands().get(root) {
            &command.arguments
        } else {
            self.schema.events().get(root)?
        };
        loop {
            match self.schema.type_of(at)? {
                Type::Array(element) => at = element,
                _ if steps.is_empty() => return Some(at.to_owned()),
                Type::Object { members, variants, .. } => {
                    let step = steps.pop()?;
                    let member = members.iter().find(|member| member.name == step);
                    let case = variants.iter().find(|(case, _)| case == step);
                    at = match (member, case) {
                        (Some(member), _) => &member.r#type,
                        (None, Some((_, object))) => object,
                        (None, None) => return None,
                    };
                }
                _ => return None,
            }
        }
    }

    fn commands(&mut self) -> anyhow::Result<()> {
        let (surface, schema) = (self.surface, self.schema);
        for (name, wanted) in &surface.commands {
            let command = schema.commands().get(name).with_context(|| format!("QEMU has no command `{name}`"))?;
            let arguments =
                if wanted.raw { self.builtin("any") } else { self.root(&format!("{name}:arguments"), name, &command.arguments)? };
            let returns = self.reference(&format!("{name}:return"), &command.returns)?;
            let mut entry = json!({
                "name": name, "meta-type": "command", "arg-type": arguments, "ret-type": returns
            });
            if command.out_of_band {
                entry["allow-oob"] = true.into();
            }
            self.entries.insert(("command", name.clone()), entry);
        }
        Ok(())
    }

    fn events(&mut self) -> anyhow::Result<()> {
        let (surface, schema) = (self.surface, self.schema);
        for name in surface.events.keys() {
            let data = schema.events().get(name).with_context(|| format!("QEMU has no event `{name}`"))?;
            let data = self.root(&format!("{name}:data"), name, data)?;
            let entry = json!({"name": name, "meta-type": "event", "arg-type": data});
            self.entries.insert(("event", name.clone()), entry);
        }
        Ok(())
    }

    /// The object behind a command or event.
    fn root(&mut self, name: &str, place: &str, theirs: &str) -> anyhow::Result<String> {
        match self.schema.type_of(theirs) {
            Some(Type::Object { members, .. }) if members.is_empty() => Ok(self.nothing()),
            Some(Type::Object { members, .. }) => {
                self.object(name, place, members, None, &[])?;
                Ok(name.to_owned())
            }
            other => anyhow::bail!("`{place}` is not an object but {other:?}"),
        }
    }

    fn object(
        &mut self,
        name: &str,
        place: &str,
        members: &[Member],
        tag: Option<&String>,
        variants: &[(String, String)],
    ) -> anyhow::Result<()> {
        let key = ("object", name.to_owned());
        // In place before its members, which may lead back here.
        if self.entries.contains_key(&key) {
            return Ok(());
        }
        self.entries.insert(key.clone(), Value::Null);
        let mut entry = json!({"name": name, "meta-type": "object", "members": []});
        for member in members {
            let at = format!("{place}.{}", member.name);
            let mut described = json!({
                "name": member.name, "type": self.reference(&at, &member.r#type)?
            });
            let lenient = self.surface.lenient.contains(&at) && self.used.insert(at);
            if member.optional || lenient {
                described["default"] = Value::Null;
            }
            push(&mut entry["members"], described);
        }
        if let Some(tag) = tag {
            entry["tag"] = tag.as_str().into();
        }
        if !variants.is_empty() {
            entry["variants"] = json!([]);
        }
        for (case, object) in variants {
            let at = format!("{place}.{case}");
            let Some(Type::Object { members, .. }) = self.schema.type_of(object) else {
                anyhow::bail!("`{at}` is not an object");
            };
            let of_case = format!("{name}:{case}");
            self.object(&of_case, &at, members, None, &[])?;
            push(&mut entry["variants"], json!({"case": case, "type": of_case}));
        }
        self.entries.insert(key, entry);
        Ok(())
    }

    /// Our name for a type, which is put into the result with all that it needs.
    fn reference(&mut self, place: &str, theirs: &str) -> anyhow::Result<String> {
        if self.surface.raw.contains(place) || self.surface.own.contains_key(place) {
            self.used.insert(place.to_owned());
            return Ok(self.builtin("any"));
        }
        let schema = self.schema;
        match schema.type_of(theirs) {
            Some(Type::Builtin) => Ok(self.builtin(theirs)),
            Some(Type::Array(element)) => {
                let element = self.reference(place, element)?;
                let name = format!("[{element}]");
                let entry = json!({"name": name, "meta-type": "array", "element-type": element});
                self.entries.insert(("array", name.clone()), entry);
                Ok(name)
            }
            Some(Type::Object { members, tag, .. }) if members.is_empty() && tag.is_none() => Ok(self.nothing()),
            Some(Type::Enum(words)) => {
                let Some(name) = self.name(place, theirs, "enum") else {
                    return Ok(String::new());
                };
                let members: Vec<_> = words.iter().map(|word| json!({"name": word})).collect();
                let entry = json!({"name": name, "meta-type": "enum", "members": members});
                self.entries.insert(("enum", name.clone()), entry);
                Ok(name)
            }
            Some(Type::Object { members, tag, variants }) => {
                let Some(name) = self.name(place, theirs, "object") else {
                    return Ok(String::new());
                };
                let expanded = self.surface.types.get(&name).is_some_and(|t| t.variants);
                let variants = if expanded { variants.as_slice() } else { &[] };
                self.object(&name, &name, members, tag.as_ref(), variants)?;
                Ok(name)
            }
            other => anyhow::bail!("`{place}` is {other:?}, for which there is no binding; list it in `raw`"),
        }
    }

    fn name(&mut self, place: &str, theirs: &str, kind: &str) -> Option<String> {
        let name = self.names.get(theirs).cloned();
        if name.is_none() {
            self.unnamed.insert(format!("{place} ({kind})"));
        }
        name
    }

    fn builtin(&mut self, name: &str) -> String {
        let entry = json!({"name": name, "meta-type": "builtin"});
        self.entries.insert(("builtin", name.to_owned()), entry);
        name.to_owned()
    }

    fn nothing(&mut self) -> String {
        let entry = json!({"name": NOTHING, "meta-type": "object", "members": []});
        self.entries.insert(("object", NOTHING.to_owned()), entry);
        NOTHING.to_owned()
    }

    /// Whether everything has a name, and everything in the surface its use.
    fn complete(&self) -> anyhow::Result<()> {
        ensure!(self.unnamed.is_empty(), "surface.toml has no [types] for {:?}", self.unnamed);
        let types = self
            .surface
            .types
            .keys()
            .filter(|name| ["enum", "object"].iter().all(|kind| !self.entries.contains_key(&(kind, (*name).clone()))));
        let places =
            self.surface.raw.iter().chain(self.surface.own.keys()).chain(&self.surface.lenient).filter(|place| !self.used.contains(*place));
        let unused: Vec<_> = types.chain(places).collect();
        ensure!(unused.is_empty(), "surface.toml names what nothing leads to: {unused:?}");
        Ok(())
    }
}

fn push(array: &mut Value, element: Value) {
    if let Some(array) = array.as_array_mut() {
        array.push(element);
    }
}
