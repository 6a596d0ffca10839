//! A setting: what it is called, what it is for, where it is, and how it is changed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bundle::key_path::{self, KeyDescription};
use bundle::{Architecture, Configuration, Kind, Schema, apple, qemu};

use crate::{Text, mebibytes};

/// Where a setting is, as UTM groups them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Name, icon, notes.
    Information,
    /// Processor and memory.
    System,
    /// Firmware, accelerator, small devices, arguments of QEMU.
    Qemu,
    /// What boots.
    Boot,
    /// Small devices of Apple's framework.
    Virtualization,
    /// USB.
    Input,
    /// Clipboard and shared folder.
    Sharing,
    /// A screen.
    Display,
    /// A serial port.
    Serial,
    /// A network card.
    Network,
    /// A sound card.
    Sound,
    /// A drive.
    Drive,
}

impl Group {
    /// Every group, in the order of the sidebar; devices after the rest.
    pub const ALL: [Self; 12] = [
        Self::Information,
        Self::System,
        Self::Qemu,
        Self::Boot,
        Self::Virtualization,
        Self::Input,
        Self::Sharing,
        Self::Display,
        Self::Drive,
        Self::Network,
        Self::Serial,
        Self::Sound,
    ];

    /// What it is called.
    pub const fn text(self) -> Text {
        let (id, english) = match self {
            Self::Information => ("setting.group.information", "Information"),
            Self::System => ("setting.group.system", "System"),
            Self::Qemu => ("setting.group.qemu", "QEMU"),
            Self::Boot => ("setting.group.boot", "Boot"),
            Self::Virtualization => ("setting.group.virtualization", "Virtualization"),
            Self::Input => ("setting.group.input", "Input"),
            Self::Sharing => ("setting.group.sharing", "Sharing"),
            Self::Display => ("setting.group.display", "Display"),
            Self::Serial => ("setting.group.serial", "Serial port"),
            Self::Network => ("setting.group.network", "Network"),
            Self::Sound => ("setting.group.sound", "Sound"),
            Self::Drive => ("setting.group.drive", "Drive"),
        };
        Text { id, english }
    }

    /// The list of the configuration whose elements have a page each; `None` for a page of its own.
    pub const fn list(self) -> Option<&'static str> {
        match self {
            Self::Display => Some("Display"),
            Self::Serial => Some("Serial"),
            Self::Network => Some("Network"),
            Self::Sound => Some("Sound"),
            Self::Drive => Some("Drive"),
            _ => None,
        }
    }
}

/// When a change of a setting is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Applies {
    /// When the machine starts the next time.
    NextStart,
    /// When it is saved: only this app looks at it.
    Saved,
}

/// What a setting is changed with, where its kind does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// As its kind says.
    Usual,
    /// Text of several lines.
    LongText,
    /// A colour.
    Color,
    /// One of the built-in icons, or a file.
    Icon,
    /// A network interface of this computer.
    Interface,
    /// Text, with a button that makes a random one.
    Random,
    /// A whole number from the first to the second; what is possible beyond is of no use.
    Range(u64, u64),
    /// Shown, and not changed here: identities, and what only its maker understands.
    Fixed,
}

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its key, with `[]` for any element of a list.
    pub path: &'static str,
    /// Where it is.
    pub group: Group,
    /// What it is called.
    pub label: Text,
    /// What it is for, in one line.
    pub help: Text,
    /// What it is changed with.
    pub look: Look,
    /// When a change is felt.
    pub applies: Applies,
}

/// Declares the settings of a kind of configuration.
macro_rules! fields {
    ($schema:literal; $($group:ident { $($path:literal $(($look:ident $($bound:literal)*))? $(@$applies:ident)?: $label:literal, $help:literal;)* })*) => {
        /// The settings, in the order of the pages.
        pub(super) const FIELDS: &[$crate::editor::Field] = &[$($($crate::editor::Field {
            path: $path,
            group: $crate::editor::Group::$group,
            label: $crate::Text { id: concat!("setting.", $schema, ".", $path, ".label"), english: $label },
            help: $crate::Text { id: concat!("setting.", $schema, ".", $path, ".help"), english: $help },
            look: $crate::editor::field::fields!(@look $($look $($bound)*)?),
            applies: $crate::editor::field::fields!(@applies $($applies)?),
        },)*)*];
    };
    (@look) => { $crate::editor::Look::Usual };
    (@look $look:ident) => { $crate::editor::Look::$look };
    (@look $look:ident $($bound:literal)+) => { $crate::editor::Look::$look($($bound),+) };
    (@applies) => { $crate::editor::Applies::NextStart };
    (@applies $applies:ident) => { $crate::editor::Applies::$applies };
}
pub(super) use fields;

/// The settings of a kind of configuration, in the order of the pages.
pub fn fields_of(schema: &'static Schema) -> &'static [Field] {
    // The two are told apart by a section that only one of them has: constants have no address to compare.
    if schema.key("QEMU").is_some() { super::qemu::FIELDS } else { super::apple::FIELDS }
}

/// The setting of a key, whichever element it is of.
pub fn field_of(schema: &'static Schema, path: &str) -> Option<&'static Field> {
    let pattern = pattern(path);
    fields_of(schema).iter().find(|field| field.path == pattern)
}

/// A key path with `[]` for any element.
pub(super) fn pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        inside = (inside || c == '[') && c != ']';
        if !inside || c == '[' {
            pattern.push(c);
        }
    }
    pattern
}

/// What a key is.
pub(super) struct Described {
    pub key: KeyDescription,
    pub kind: &'static Kind,
}

type Descriptions = HashMap<String, Described>;

static QEMU: LazyLock<Descriptions> = LazyLock::new(|| descriptions(qemu::Configuration::SCHEMA));
static APPLE: LazyLock<Descriptions> = LazyLock::new(|| descriptions(apple::Configuration::SCHEMA));

fn descriptions(schema: &'static Schema) -> Descriptions {
    let kind = |path: &str| {
        let (mut schema, mut kind) = (schema, None);
        for name in path.split('.') {
            let key = schema.key(name.trim_end_matches("[]"))?;
            kind = Some(key.kind);
            if let Kind::Section(section) | Kind::List(Kind::Section(section)) = key.kind {
                schema = section;
            }
        }
        kind
    };
    let keys = key_path::keys(schema).into_iter();
    keys.filter_map(|key| kind(&key.path).map(|kind| (key.path.clone(), Described { key, kind }))).collect()
}

/// What a key of a configuration is.
pub(super) fn describe(configuration: &Configuration, path: &str) -> Option<&'static Described> {
    let table = match configuration {
        Configuration::Qemu(_) => &*QEMU,
        Configuration::Apple(_) => &*APPLE,
    };
    table.get(&pattern(path))
}

/// What a setting is changed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// On or off.
    Switch,
    /// A whole number.
    Number {
        /// The least that is of use.
        least: u64,
        /// The most that is of use.
        most: u64,
    },
    /// A size.
    Size,
    /// Text.
    Text,
    /// Text of several lines.
    LongText,
    /// One of these.
    Choice(&'static [&'static str]),
    /// One of these, or something else that is typed.
    Suggestions(&'static [&'static str]),
    /// Any number of these, separated by commas; others can be typed.
    Several(&'static [&'static str]),
    /// Words as a shell reads them.
    Words,
    /// The name of a file in the bundle.
    File,
    /// A colour, `#rrggbb`.
    Color,
    /// One of the built-in icons.
    Icon,
    /// A network interface of this computer.
    Interface,
    /// Text, with a button that makes a random one.
    Random,
    /// Shown, not changed.
    Fixed,
    /// A list, or a section, whose settings follow.
    Heading,
}

type Known = HashMap<(Architecture, &'static str), Option<&'static [&'static str]>>;

/// [`key_path::known_values`], which follow from the architecture, found once for each.
fn known_values(configuration: &Configuration, path: &str, field: &'static Field) -> Option<&'static [&'static str]> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let architecture = configuration.as_qemu()?.system.architecture;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry((architecture, field.path)).or_insert_with(|| key_path::known_values(configuration, path))
}

/// What a setting of a configuration is changed with.
pub(super) fn control(configuration: &Configuration, path: &str, field: &'static Field) -> Control {
    match field.look {
        Look::Usual => {}
        Look::LongText => return Control::LongText,
        Look::Color => return Control::Color,
        Look::Icon => return Control::Icon,
        Look::Interface => return Control::Interface,
        Look::Random => return Control::Random,
        Look::Range(least, most) => return Control::Number { least, most },
        Look::Fixed => return Control::Fixed,
    }
    let known = || known_values(configuration, path, field);
    match describe(configuration, path).map(|described| described.kind) {
        Some(Kind::Boolean) => Control::Switch,
        Some(Kind::Integer { max }) => Control::Number { least: 0, most: *max },
        Some(Kind::Mebibytes) => Control::Size,
        Some(Kind::Choice(values)) => Control::Choice(values),
        Some(Kind::FileName) => Control::File,
        Some(Kind::Arguments) => Control::Words,
        Some(Kind::Text) => known().map_or(Control::Text, Control::Suggestions),
        Some(Kind::List(Kind::Section(_)) | Kind::Section(_)) => Control::Heading,
        Some(Kind::List(_)) => Control::Several(known().unwrap_or_default()),
        Some(Kind::Uuid | Kind::Data) | None => Control::Fixed,
    }
}

/// A value as its control shows it: what can be typed back.
pub(super) fn shown(kind: &Kind, value: &plist::Value) -> String {
    let texts = || value.as_array().into_iter().flatten().filter_map(plist::Value::as_string);
    match (kind, value.as_unsigned_integer()) {
        (Kind::Mebibytes, Some(mib)) if mib % 1024 == 0 && mib > 0 => mebibytes(mib),
        (Kind::Mebibytes, Some(mib)) => format!("{mib} MiB"),
        (Kind::Arguments, _) => shell_words::join(texts()),
        (Kind::List(Kind::Text), _) => texts().collect::<Vec<_>>().join(", "),
        _ => key_path::format_value(value),
    }
}
