//! `viv config`.

use crate::complete::machines;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::output::Cell;
use bundle::key_path::{self, Change, KeyError};
use bundle::{Configuration, Problem, apple, qemu};
use clap::{Subcommand, ValueEnum};
use library::{Error, ErrorKind, Machine};
use plist::Value;
use serde_json::json;
use std::env;
use std::io::Write;
use std::process::Command;

/// Read and change a machine's configuration, key by key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv config get Debian                                   every key and its value
  viv config get Debian System.MemorySize
  viv config set Debian System.MemorySize 8GiB System.CPUCount 4
  viv config set Debian 'Network[0].Mode' Bridged 'Network[0].BridgeInterface' br0
  viv config set Debian 'Sound[+].Hardware' intel-hda     adds a sound card
  viv config unset Debian 'Drive[2]'                      removes a drive from the configuration, not its image
  viv config trust Debian                                 QEMU may use the arguments that came with its bundle
  viv config edit Debian                                  everything, in your editor
  viv config keys Network                                 what there is to set

Keys are those of UTM's config.plist, in any case. An element of a list is chosen by its number from 0 or by its identifier; [+] adds one. \
Several changes in one command are made together or not at all. The machine must not run.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a key's value, or every key with its value
    Get {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The key, such as System.MemorySize; a section prints as JSON
        key: Option<String>,
    },
    /// Give keys values
    Set {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// Keys, each followed by its value
        #[arg(required = true, num_args = 2.., value_names = ["KEY", "VALUE"], allow_hyphen_values = true)]
        changes: Vec<String>,
    },
    /// Give keys the values they have in a new machine, or remove them
    Unset {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Open the configuration in your editor, as UTM writes it; what is wrong afterwards is refused
    Edit {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
    },
    /// Let QEMU use the additional arguments that came with a machine's bundle
    ///
    /// They can give the guest what the rest of its configuration does not show, and are left out until you say so. Those that you set
    /// yourself are used.
    Trust {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
    },
    /// List the keys, what they hold and what they are for
    Keys {
        /// Only keys that begin with this or contain it
        filter: Option<String>,
        /// Which kind of configuration
        #[arg(long, value_enum, default_value_t = Schema::Qemu)]
        schema: Schema,
    },
}

/// The two kinds of configuration.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Schema {
    /// For machines that QEMU runs
    Qemu,
    /// For machines that the native backend runs: the object model of Apple's Virtualization framework
    Apple,
}

pub fn run(context: &Context, args: &Args) -> Result {
    match &args.verb {
        Verb::Get { machine, key } => get(context, &context.find(machine)?, key.as_deref()),
        Verb::Set { machine, changes } => {
            let machine = context.find(machine)?;
            let changes = changes.chunks(2).map(|pair| match pair {
                [path, text] => Ok(Change::Set { path: path.clone(), text: text.clone() }),
                _ => Err(Failure::new(crate::error::Kind::Usage, format!("The key `{}` has no value", pair.concat()))
                    .with_hint("Write each key with its value: viv config set MACHINE KEY VALUE KEY VALUE")),
            });
            change(context, &machine, &changes.collect::<Result<Vec<_>>>()?)
        }
        Verb::Unset { machine, keys } => {
            let machine = context.find(machine)?;
            let changes: Vec<Change> = keys.iter().map(|path| Change::Unset { path: path.clone() }).collect();
            change(context, &machine, &changes)
        }
        Verb::Edit { machine } => edit(context, &context.find(machine)?),
        Verb::Trust { machine } => {
            let machine = context.find(machine)?;
            let arguments = context.library.trust_arguments(&machine)?;
            let said = match arguments.as_slice() {
                [] => format!("\"{}\" has no additional arguments", machine.name),
                words => format!("QEMU will be given the additional arguments of \"{}\": {}", machine.name, words.join(" ")),
            };
            context.output.done(&json!({ "name": machine.name, "arguments": arguments }), said)
        }
        Verb::Keys { filter, schema } => keys(context, filter.as_deref(), *schema),
    }
}

fn get(context: &Context, machine: &Machine, key: Option<&str>) -> Result {
    let configuration = context.library.configuration(machine)?.configuration;
    let output = &context.output;
    if let Some(key) = key {
        let value = key_path::get(&configuration, key).map_err(refused)?;
        return output.answer(&key_path::to_json(&value), |output| output.line(key_path::format_value(&value)));
    }
    if output.json {
        return output.json(&key_path::to_json(&Value::Dictionary(configuration.to_dictionary())));
    }
    output.facts(key_path::entries(&configuration).into_iter().map(|(path, value)| (path, Some(Cell::new(key_path::format_value(&value))))))
}

fn change(context: &Context, machine: &Machine, changes: &[Change]) -> Result {
    // What was stored is taken here: a new name moves the bundle, and the machine is no longer where it was.
    let (noticed, configuration) = context.library.edit(machine, |configuration| {
        let noticed = key_path::edit(configuration, changes).map_err(refused)?;
        Ok((noticed, configuration.clone()))
    })?;
    let output = &context.output;
    if !output.json {
        for problem in &noticed {
            output.warning(problem);
        }
    }
    let mut now = serde_json::Map::new();
    for change in changes {
        // What was added is at the end of its list, under another path.
        let (Change::Set { path, .. } | Change::Unset { path }) = change;
        if let Ok(value) = key_path::get(&configuration, path) {
            now.insert(path.clone(), key_path::to_json(&value));
        }
    }
    output.answer(&json!({ "name": configuration.name(), "values": now, "problems": noticed }), |output| {
        for (path, value) in now.iter().filter(|_| !output.quiet) {
            output.line(format!("{path} = {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))?;
        }
        Ok(())
    })
}

/// Gives the configuration to an editor, and takes back what it left. Where that is refused, it is kept for another try.
fn edit(context: &Context, machine: &Machine) -> Result {
    let before = context.library.configuration(machine)?.configuration;
    let failed = |error: &std::io::Error| Failure::io("Cannot hand the configuration to an editor", error);
    let text = before.to_xml().map_err(|error| refused(KeyError::Refused(error.problems)))?;
    let mut file = tempfile::Builder::new().prefix("viv-config-").suffix(".plist").tempfile().map_err(|error| failed(&error))?;
    file.write_all(&text).map_err(|error| failed(&error))?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // The variable may hold arguments, too: it is a shell's to read.
    let status =
        Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path()).status().map_err(|error| failed(&error))?;
    if !status.success() {
        return Err(Failure::new(machine::ErrorKind::Cancelled, format!("Nothing was changed: the editor `{editor}` failed"))
            .with_hint("Set EDITOR to an editor that is installed"));
    }
    let edited = std::fs::read(file.path()).map_err(|error| failed(&error))?;
    if edited == text {
        return context.output.done(&json!({ "name": machine.name, "changed": false, "problems": [] }), "Nothing was changed");
    }
    match store(context, machine, &before, &edited) {
        Ok((name, problems)) => {
            for problem in problems.iter().filter(|_| !context.output.json) {
                context.output.warning(problem);
            }
            let answer = json!({ "name": name, "changed": true, "problems": problems });
            context.output.done(&answer, format!("Changed the configuration of \"{name}\""))
        }
        Err(failure) => match file.keep() {
            Ok((_, path)) => Err(failure.with_hint(format!("Nothing was changed; what you wrote is kept in {}", path.display()))),
            Err(error) => Err(failed(&error.error)),
        },
    }
}

/// Stores what an editor left, unless somebody else has changed the configuration meanwhile.
fn store(context: &Context, machine: &Machine, before: &Configuration, edited: &[u8]) -> Result<(String, Vec<Problem>)> {
    let loaded = Configuration::read(edited, &machine.name).map_err(|error| refused(KeyError::Refused(error.problems)))?;
    let stored = context.library.edit(machine, |configuration| {
        if configuration != before {
            return Err(Error::new(ErrorKind::WrongState, "The configuration was changed by somebody else meanwhile"));
        }
        *configuration = loaded.configuration;
        Ok(configuration.name().to_owned())
    })?;
    Ok((stored, loaded.problems))
}

fn keys(context: &Context, filter: Option<&str>, schema: Schema) -> Result {
    let schema = match schema {
        Schema::Qemu => qemu::Configuration::SCHEMA,
        Schema::Apple => apple::Configuration::SCHEMA,
    };
    let wanted = filter.unwrap_or_default().to_ascii_lowercase();
    let mut keys = key_path::keys(schema);
    keys.retain(|key| key.path.to_ascii_lowercase().contains(&wanted));
    if keys.is_empty() {
        return Err(Failure::new(machine::ErrorKind::NotFound, format!("No key contains `{}`", filter.unwrap_or_default()))
            .with_hint("`viv config keys` lists every key"));
    }
    let output = &context.output;
    if output.json {
        let described: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({ "path": key.path, "kind": key.kind, "allowed": key.allowed, "required": key.required,
                        "default": key.default, "description": key.description })
            })
            .collect();
        return output.json(&described);
    }
    output.table(
        &["KEY", "HOLDS", "DEFAULT", "MEANING"],
        keys.iter().map(|key| {
            let holds = match key.allowed {
                // Architectures, machine types and the like fill a screen; `--json` has them.
                Some(allowed) if allowed.len() <= 6 => allowed.join(", "),
                _ => key.kind.clone(),
            };
            let default = key.default.as_deref().unwrap_or("-");
            vec![
                Cell::new(&key.path),
                Cell::new(holds),
                Cell::new(if default.is_empty() { "\"\"" } else { default }),
                Cell::new(key.description),
            ]
        }),
    )
}

fn refused(error: KeyError) -> Error {
    match error {
        KeyError::Refused(problems) => Error::new(ErrorKind::Invalid, "The change was refused").with_problems(problems),
        KeyError::UnknownKey { ref suggestion, ref place, ref key } => {
            let inside = if place.is_empty() { String::new() } else { format!(" in `{place}`") };
            Error::new(ErrorKind::NotFound, format!("There is no key `{key}`{inside}")).with_hint(match suggestion {
                Some(suggestion) => format!("Did you mean `{suggestion}`?"),
                None => "`viv config keys` lists every key".to_owned(),
            })
        }
        KeyError::UnknownElement { .. } => Error::new(ErrorKind::NotFound, error.to_string()),
        KeyError::NotSet(_) => {
            Error::new(ErrorKind::NotFound, error.to_string()).with_hint("`viv config get MACHINE` prints every key that is set")
        }
        KeyError::Constant(_) | KeyError::Syntax { .. } => Error::new(ErrorKind::Invalid, error.to_string()),
        KeyError::Value { .. } => {
            Error::new(ErrorKind::Invalid, error.to_string()).with_hint("`viv config keys KEY` says what a key holds")
        }
    }
}
