//! The one description of keys: what the [`section!`] macro writes down is the Rust structure, the decoder, the encoder and the table that
//! `config get/set` and documentation read.

use plist::{Dictionary, Value};

use crate::nearest::closest;
use crate::problem::Findings;

/// A dictionary of the configuration: its keys and what a fresh one holds.
#[derive(Debug)]
pub struct Schema {
    /// Name of the structure, such as `System`.
    pub name: &'static str,
    /// One line on what it describes.
    pub description: &'static str,
    /// All keys that UTM knows in it.
    pub keys: &'static [Key],
    /// The dictionary of a fresh one. Identifiers and addresses in it are random.
    pub fresh: fn() -> Dictionary,
}

impl Schema {
    /// The key `name`, exactly as written.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a [`Schema`].
#[derive(Debug)]
pub struct Key {
    /// The name in the property list.
    pub name: &'static str,
    /// What it holds.
    pub kind: &'static Kind,
    /// Whether UTM refuses a configuration without it.
    pub required: bool,
    /// One line for people.
    pub description: &'static str,
}

/// What a key holds.
#[derive(Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0 to `max`.
    Integer {
        /// The largest value that can be represented.
        max: u64,
    },
    /// A whole number of MiB.
    Mebibytes,
    /// Any text.
    Text,
    /// The name of a file in `Data/`.
    FileName,
    /// A UUID.
    Uuid,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Bytes whose meaning only their maker knows.
    Data,
    /// Words of a command line: a list that is typed as a shell would read it.
    Arguments,
    /// A list.
    List(&'static Kind),
    /// A dictionary.
    Section(&'static Schema),
}

impl Kind {
    /// The values that are allowed, where there is a closed set of them.
    pub fn allowed(&self) -> Option<&'static [&'static str]> {
        match self {
            Kind::Choice(values) => Some(values),
            Kind::Boolean => Some(&["true", "false"]),
            _ => None,
        }
    }

    /// The kind in a word or two, as documentation names it.
    pub fn describe(&self) -> String {
        match self {
            Kind::Boolean => "boolean".to_owned(),
            Kind::Integer { .. } => "integer".to_owned(),
            Kind::Mebibytes => "size in MiB".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::FileName => "file name".to_owned(),
            Kind::Uuid => "UUID".to_owned(),
            Kind::Choice(_) => "choice".to_owned(),
            Kind::Data => "base64 data".to_owned(),
            Kind::Arguments => "list of arguments".to_owned(),
            Kind::List(kind) => format!("list of {}", kind.describe()),
            Kind::Section(schema) => schema.name.to_owned(),
        }
    }
}

/// Calls `visit` with key path, key and value of every key of `schema` that is in `dictionary`, sections and their elements included.
pub(crate) fn walk<'a>(
    schema: &'static Schema,
    dictionary: &'a Dictionary,
    path: &str,
    visit: &mut dyn FnMut(&str, &'static Key, &'a Value),
) {
    for key in schema.keys {
        let Some(value) = dictionary.get(key.name) else { continue };
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        visit(&path, key, value);
        match (key.kind, value) {
            (Kind::Section(schema), Value::Dictionary(dictionary)) => walk(schema, dictionary, &path, visit),
            (Kind::List(Kind::Section(schema)), Value::Array(array)) => {
                for (index, value) in array.iter().enumerate() {
                    if let Value::Dictionary(dictionary) = value {
                        walk(schema, dictionary, &format!("{path}[{index}]"), visit);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What became of a value that was read.
pub(crate) enum Decoded<T> {
    /// Understood.
    Value(T),
    /// Not usable, but not a reason to refuse the configuration: the original value goes to `extra`, so that a save does not lose it.
    Kept,
    /// Not usable; a fatal finding says why.
    Refused,
}

/// A type that a key can hold.
pub(crate) trait Field: Sized {
    /// How the schema describes it.
    const KIND: &'static Kind;

    /// Reads it; findings go to `findings`.
    fn decode(value: &Value, findings: &mut Findings) -> Decoded<Self>;

    /// Writes it; `None` leaves the key out.
    fn encode(&self) -> Option<Value>;

    /// What an absent key means, for types that can say that themselves.
    fn absent() -> Option<Self> {
        None
    }
}

/// A structure made by [`section!`].
pub(crate) trait Section: Sized {
    /// Its keys.
    const SCHEMA: &'static Schema;

    /// Reads it from a dictionary.
    fn decode_dictionary(dictionary: &Dictionary, findings: &mut Findings) -> Self;

    /// Writes it, unknown keys included, sorted by key as UTM's own files are.
    fn encode_dictionary(&self) -> Dictionary;
}

/// The word for a value's type in messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Dictionary(_) => "dictionary",
        Value::Boolean(_) => "boolean",
        Value::Data(_) => "data",
        Value::Date(_) => "date",
        Value::Real(_) => "real",
        Value::Integer(_) => "integer",
        Value::String(_) => "string",
        _ => "unsupported type",
    }
}

/// Looks up, decodes and accounts for one key. `missing` says what an absent key means; `None` there means that it is required.
pub(crate) fn take<T: Field>(
    dictionary: &Dictionary,
    extra: &mut Dictionary,
    key: &str,
    findings: &mut Findings,
    missing: Option<fn() -> T>,
    default: fn() -> T,
) -> T {
    let Some(value) = dictionary.get(key) else {
        if let Some(missing) = missing {
            return missing();
        }
        return T::absent().unwrap_or_else(|| {
            findings.within(key, |findings| findings.fatal("required key is missing"));
            default()
        });
    };
    extra.remove(key);
    findings.within(key, |findings| match T::decode(value, findings) {
        Decoded::Value(value) => value,
        Decoded::Kept => {
            extra.insert(key.to_owned(), value.clone());
            T::absent().unwrap_or_else(default)
        }
        Decoded::Refused => default(),
    })
}

/// Adds one key to a dictionary that is being written.
pub(crate) fn put<T: Field>(dictionary: &mut Dictionary, key: &str, value: &T) {
    if let Some(value) = value.encode() {
        dictionary.insert(key.to_owned(), value);
    }
}

/// Declares a section of the configuration.
///
/// Each line is `field: Type = value of a fresh one, "Key" presence, "description";`. `presence` is `required`, `optional` (an absent key means the
/// value of a fresh one, or `None`) or `optional(value)` (an absent key means `value`); `as Kind` overrides how the schema describes the key.
/// `prepare = function` names a function that brings a dictionary of an older form into the present one before it is decoded.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident $(, prepare = $prepare:path)? {
            $($field:ident: $type:ty = $default:expr, $key:literal $presence:ident $(($missing:expr))? $(as $kind:expr)?, $description:literal;)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(#[doc = $description] #[doc = concat!(" (`", $key, "`).")] pub $field: $type,)*
            /// Keys that are not known here; they survive load and save.
            pub extra: ::plist::Dictionary,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* extra: ::plist::Dictionary::new() }
            }
        }

        impl $crate::schema::Section for $name {
            const SCHEMA: &'static $crate::schema::Schema = &$crate::schema::Schema {
                name: stringify!($name),
                description: concat!($($doc),+),
                keys: &[$($crate::schema::Key {
                    name: $key,
                    kind: $crate::schema::section!(@kind $type $(, $kind)?),
                    required: $crate::schema::section!(@required $presence),
                    description: $description,
                }),*],
                fresh: || $crate::schema::Section::encode_dictionary(&$name::default()),
            };

            fn decode_dictionary(dictionary: &::plist::Dictionary, findings: &mut $crate::problem::Findings) -> Self {
                let mut extra = dictionary.clone();
                $(
                    $prepare(&mut extra, findings);
                    let dictionary = &extra.clone();
                )?
                $(let $field = $crate::schema::take::<$type>(
                    dictionary,
                    &mut extra,
                    $key,
                    findings,
                    $crate::schema::section!(@missing $presence $type, $default $(, $missing)?),
                    || $default,
                );)*
                Self { $($field,)* extra }
            }

            fn encode_dictionary(&self) -> ::plist::Dictionary {
                let mut dictionary = self.extra.clone();
                $($crate::schema::put(&mut dictionary, $key, &self.$field);)*
                dictionary.sort_keys();
                dictionary
            }
        }

        impl $crate::schema::Field for $name {
            const KIND: &'static $crate::schema::Kind = &$crate::schema::Kind::Section(<$name as $crate::schema::Section>::SCHEMA);

            fn decode(value: &::plist::Value, findings: &mut $crate::problem::Findings) -> $crate::schema::Decoded<Self> {
                $crate::schema::decode_section(value, findings)
            }

            fn encode(&self) -> Option<::plist::Value> {
                Some(::plist::Value::Dictionary($crate::schema::Section::encode_dictionary(self)))
            }
        }
    };
    (@kind $type:ty) => { <$type as $crate::schema::Field>::KIND };
    (@kind $type:ty, $kind:expr) => { &$kind };
    (@required required) => { true };
    (@required optional) => { false };
    (@missing required $type:ty, $default:expr) => { None };
    (@missing optional $type:ty, $default:expr) => {
        Some(|| <$type as $crate::schema::Field>::absent().unwrap_or_else(|| $default))
    };
    (@missing optional $type:ty, $default:expr, $missing:expr) => { Some(|| $missing) };
}
pub(crate) use section;

/// Declares an enumeration whose values are strings of the property list.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* #[doc = concat!("`", $text, "`.")] $variant),* }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// All values as the property list writes them.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The value as the property list writes it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::schema::UnknownChoice;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err($crate::schema::UnknownChoice { text: text.to_owned(), allowed: Self::NAMES }),
                }
            }
        }

        impl $crate::schema::Field for $name {
            const KIND: &'static $crate::schema::Kind = &$crate::schema::Kind::Choice(Self::NAMES);

            fn decode(value: &::plist::Value, findings: &mut $crate::problem::Findings) -> $crate::schema::Decoded<Self> {
                $crate::schema::decode_choice(value, findings)
            }

            fn encode(&self) -> Option<::plist::Value> {
                Some(::plist::Value::String(self.as_str().to_owned()))
            }
        }
    };
}
pub(crate) use choice;

/// Text that is none of the values of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not one of {}", crate::problem::printable(.text), .allowed.join(", "))]
pub struct UnknownChoice {
    /// What was given.
    pub text: String,
    /// What would be allowed.
    pub allowed: &'static [&'static str],
}

impl UnknownChoice {
    /// What to write instead: the value that was probably meant, or all of them.
    pub fn hint(&self) -> String {
        let meant = self.allowed.iter().find(|name| name.eq_ignore_ascii_case(&self.text));
        match meant.or_else(|| closest(&self.text, self.allowed.iter())) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("use one of {}", self.allowed.join(", ")),
        }
    }
}

/// Decodes a dictionary that [`section!`] declared.
pub(crate) fn decode_section<T: Section>(value: &Value, findings: &mut Findings) -> Decoded<T> {
    match value {
        Value::Dictionary(dictionary) => Decoded::Value(T::decode_dictionary(dictionary, findings)),
        other => {
            findings.fatal(format!("expected dictionary, found {}", type_name(other)));
            Decoded::Refused
        }
    }
}

/// Decodes a value that [`choice!`] declared.
pub(crate) fn decode_choice<T: std::str::FromStr<Err = UnknownChoice>>(value: &Value, findings: &mut Findings) -> Decoded<T> {
    match value {
        Value::String(text) => match text.parse() {
            Ok(choice) => Decoded::Value(choice),
            Err(unknown) => {
                let hint = unknown.hint();
                findings.report(crate::problem::Level::Fatal, unknown.to_string(), Some(hint));
                Decoded::Refused
            }
        },
        other => {
            findings.fatal(format!("expected string, found {}", type_name(other)));
            Decoded::Refused
        }
    }
}
