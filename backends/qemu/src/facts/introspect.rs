//! The questions that make an [`Emulator`].
//!
//! One process without a machine answers over QMP; `-display help` and `-audiodev help` are asked apart, because only they look at which
//! modules are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::conversation::Conversation;
use super::emulator::{Cpu, Emulator, MachineType};
use super::{Error, Identity, Names, cache};

const DEADLINE: Duration = Duration::from_secs(30);

/// Devices besides displays of which the command line sets a property that not every release has.
const EXAMINED: &[&str] = &[
    "virtio-balloon-pci",
    "virtio-balloon-ccw",
    "virtio-balloon-device",
    "virtio-blk-pci",
    "nvme",
    "usb-storage",
    "isa-fdc",
    "lsi53c895a",
];

impl Emulator {
    /// What the program at `path` can do: from the cache in `cache_directory`, or by asking it.
    pub async fn find(path: &Path, cache_directory: Option<&Path>) -> Result<Self, Error> {
        let identity = Identity::of(path).map_err(|source| Error::Start { program: path.to_owned(), source })?;
        let place = cache_directory.map(|directory| cache::Place::new(directory, "emulator", &identity, ""));
        if let Some(emulator) = place.as_ref().and_then(cache::Place::load::<Self>).filter(|emulator| emulator.identity == identity) {
            return Ok(emulator);
        }
        let emulator = ask(identity).await?;
        if let Some(place) = place {
            place.store(&emulator);
        }
        Ok(emulator)
    }
}

async fn ask(identity: Identity) -> Result<Emulator, Error> {
    let program = identity.path.clone();
    let arguments: Vec<OsString> = ["-machine", "none", "-nodefaults", "-no-user-config", "-S", "-display", "none"].map(Into::into).into();
    let mut talk = Conversation::start(&program, &arguments, DEADLINE).await?;

    let version = talk.ask("query-version").await?;
    let target = talk.ask("query-target").await?;
    // This one loads all modules with device types, so it comes before what depends on them.
    let types = talk.ask_with("qom-list-types", json!({ "implements": "device", "abstract": true })).await?;
    let buses = talk.ask_with("qom-list-types", json!({ "implements": "bus", "abstract": true })).await?;
    let chardevs = talk.ask_with("qom-list-types", json!({ "implements": "chardev", "abstract": false })).await?;
    let machines = talk.ask("query-machines").await?;
    let schema = talk.ask("query-qmp-schema").await?;
    let options = talk.ask("query-command-line-options").await?;
    let kvm = talk.ask("query-kvm").await?;
    let commands = talk.ask("query-commands").await?;

    let mut emulator = Emulator { version: version_text(&version), target: text(&target, "arch").to_owned(), ..Emulator::default() };
    let with_parents = |types: &Value| list(types).map(|kind| (text(kind, "name").to_owned(), text(kind, "parent").to_owned())).collect();
    emulator.types = with_parents(&types);
    emulator.bus_types = with_parents(&buses);
    let concrete = list(&types).filter(|kind| kind.get("abstract").and_then(Value::as_bool) != Some(true));
    emulator.devices = concrete.map(|kind| text(kind, "name")).filter(|name| !name.ends_with("-cpu")).collect();
    emulator.chardevs = list(&chardevs).filter_map(|kind| text(kind, "name").strip_prefix("chardev-")).collect();
    emulator.commands = list(&commands).map(|command| text(command, "name")).collect();
    emulator.options = list(&options)
        .map(|option| {
            let parameters = option.get("parameters").unwrap_or(&Value::Null);
            (text(option, "option").to_owned(), list(parameters).map(|parameter| text(parameter, "name")).collect())
        })
        .collect();
    emulator.kvm = kvm.get("present").and_then(Value::as_bool).unwrap_or(false);
    let schema = Schema::new(&schema);
    emulator.netdevs = schema.variants("netdev_add", "type");
    emulator.objects = schema.variants("object-add", "qom-type");
    emulator.block_drivers = schema.variants("blockdev-add", "driver");
    emulator.aio = schema.file_aio();

    // Targets with a single fixed CPU do not have the command or answer it with an error.
    if emulator.commands.contains("query-cpu-definitions") {
        match talk.ask("query-cpu-definitions").await {
            Ok(cpus) => {
                emulator.cpus = list(&cpus)
                    .map(|cpu| {
                        let deprecated = cpu.get("deprecated").and_then(Value::as_bool).unwrap_or(false);
                        (text(cpu, "name").to_owned(), Cpu { type_name: text(cpu, "typename").to_owned(), deprecated })
                    })
                    .collect();
            }
            Err(Error::Answer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    emulator.machines = machine_types(&mut talk, &machines, &text_of(&program, &["-machine", "help"]).await?).await?;
    emulator.properties = properties(&mut talk, &emulator).await?;
    talk.quit().await;

    emulator.displays = help(&program, &["-display", "help"]).await?;
    emulator.audio = help(&program, &["-audiodev", "help"]).await?;
    emulator.default_audio = help(&program, &["-audio", "none", "-version"]).await.is_ok();
    emulator.identity = identity;

    let missing = emulator.missing();
    if !missing.is_empty() {
        return Err(Error::Unsuitable { program, version: emulator.version, missing: missing.join(", ") });
    }
    Ok(emulator)
}

/// `help` has what QMP does not: a line for each name, with what it is after it.
async fn machine_types(talk: &mut Conversation, answer: &Value, help: &str) -> Result<BTreeMap<String, MachineType>, Error> {
    let described: BTreeMap<&str, &str> = help.lines().filter_map(|line| line.split_once(' ')).collect();
    let description = |name: &str| described.get(name).map_or("", |text| text.trim()).to_owned();
    let mut machines = BTreeMap::new();
    for machine in list(answer) {
        let name = text(machine, "name").to_owned();
        let properties = match talk.ask_with("qom-list-properties", json!({ "typename": format!("{name}-machine") })).await {
            Ok(properties) => list(&properties).map(|property| text(property, "name")).collect(),
            Err(Error::Answer { .. }) => Names::default(),
            Err(error) => return Err(error),
        };
        let kind = MachineType {
            alias_of: None,
            description: description(&name),
            default_cpu: machine.get("default-cpu-type").and_then(Value::as_str).map(str::to_owned),
            cpus_max: machine.get("cpu-max").and_then(Value::as_u64).unwrap_or(1),
            deprecated: machine.get("deprecated").and_then(Value::as_bool).unwrap_or(false),
            properties,
        };
        if let Some(alias) = machine.get("alias").and_then(Value::as_str) {
            machines
                .insert(alias.to_owned(), MachineType { alias_of: Some(name.clone()), description: description(alias), ..kind.clone() });
        }
        machines.insert(name, kind);
    }
    Ok(machines)
}

async fn properties(talk: &mut Conversation, emulator: &Emulator) -> Result<BTreeMap<String, Names>, Error> {
    let displays = bundle::Architecture::ALL.iter().flat_map(|architecture| bundle::tables::display_devices(*architecture));
    let examined: BTreeSet<&str> = displays.chain(EXAMINED).copied().filter(|name| emulator.has_device(name)).collect();
    let mut properties = BTreeMap::new();
    for device in examined {
        match talk.ask_with("device-list-properties", json!({ "typename": device })).await {
            Ok(answer) => {
                properties.insert(device.to_owned(), list(&answer).map(|property| text(property, "name")).collect());
            }
            Err(Error::Answer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // Features of the CPU model that the default for emulated PCs adjusts.
    let cpu = "max-x86_64-cpu";
    if emulator.types.contains_key(cpu)
        && let Ok(answer) = talk.ask_with("qom-list-properties", json!({ "typename": cpu })).await
    {
        properties.insert(cpu.to_owned(), list(&answer).map(|property| text(property, "name")).collect());
    }
    Ok(properties)
}

/// The single words, one a line, of a help text, up to its first empty line.
async fn help(program: &Path, arguments: &[&str]) -> Result<Names, Error> {
    let text = text_of(program, arguments).await?;
    Ok(text.lines().take_while(|line| !line.is_empty()).map(str::trim).filter(|line| !line.contains([' ', ':'])).collect())
}

/// What the program prints.
async fn text_of(program: &Path, arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let silent = |_| Error::Silent { program: program.to_owned(), seconds: DEADLINE.as_secs(), stderr: String::new() };
    let output = tokio::time::timeout(DEADLINE, output).await.map_err(silent)?;
    let output = output.map_err(|source| Error::Start { program: program.to_owned(), source })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Ended { program: program.to_owned(), status: output.status.to_string(), stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or("")
}

fn version_text(version: &Value) -> String {
    let number = |member| version.pointer(&format!("/qemu/{member}")).and_then(Value::as_u64).unwrap_or(0);
    let package = text(version, "package");
    let release = format!("{}.{}.{}", number("major"), number("minor"), number("micro"));
    if package.is_empty() { release } else { format!("{release} ({package})") }
}

/// The answer of `query-qmp-schema`: types by name.
struct Schema<'a>(BTreeMap<&'a str, &'a Value>);

impl<'a> Schema<'a> {
    fn new(answer: &'a Value) -> Self {
        Self(list(answer).map(|entry| (text(entry, "name"), entry)).collect())
    }

    fn arguments(&self, command: &str) -> Option<&'a Value> {
        self.0.get(text(self.0.get(command)?, "arg-type")).copied()
    }

    /// The type of a member of a structure.
    fn member(&self, of: &'a Value, name: &str) -> Option<&'a Value> {
        let member = list(of.get("members")?).find(|member| text(member, "name") == name)?;
        self.0.get(text(member, "type")).copied()
    }

    /// The values of the enumeration that an argument of a command has.
    fn variants(&self, command: &str, argument: &str) -> Names {
        let kind = self.arguments(command).and_then(|arguments| self.member(arguments, argument));
        kind.map(values).unwrap_or_default()
    }

    /// The values of `aio` of the block driver `file`.
    fn file_aio(&self) -> Names {
        let find = || {
            let arguments = self.arguments("blockdev-add")?;
            let variant = list(arguments.get("variants")?).find(|variant| text(variant, "case") == "file")?;
            let file = self.0.get(text(variant, "type"))?;
            self.member(file, "aio").map(values)
        };
        find().unwrap_or_default()
    }
}

/// The values of an enumeration, in the old notation (`values`) or the new one (`members`).
fn values(enumeration: &Value) -> Names {
    match enumeration.get("members") {
        Some(members) => list(members).map(|member| text(member, "name")).collect(),
        None => enumeration.get("values").map(|values| list(values).filter_map(Value::as_str).collect()).unwrap_or_default(),
    }
}
