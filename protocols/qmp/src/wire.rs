//! What generated bindings are made of.

/// An enumeration that keeps words it does not know.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($variant,)*
            /// One that was not known when this was made.
            Other(String),
        }

        impl $name {
            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Ok(Self::from(&*word))
            }
        }
    };
}

/// The enumeration of events, each with its data or without.
macro_rules! events {
    ($(#[doc = $doc:literal] $variant:ident $(($data:ident))? = $name:literal,)*) => {
        /// An event with its data.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $(#[doc = $doc] $variant $(($data))?,)*
            /// One that was not known when this was made, or whose data has another form.
            Other($crate::codec::RawEvent),
        }

        impl Event {
            /// The name on the wire.
            pub fn name(&self) -> &str {
                match self {
                    $(events!(@pattern $variant $($data)?) => $name,)*
                    Self::Other(raw) => &raw.name,
                }
            }
        }

        impl From<$crate::codec::RawEvent> for Event {
            fn from(raw: $crate::codec::RawEvent) -> Self {
                match raw.name.as_str() {
                    $($name => events!(@decode raw $variant $($data)?),)*
                    _ => Self::Other(raw),
                }
            }
        }
    };
    (@pattern $variant:ident) => { Self::$variant };
    (@pattern $variant:ident $data:ident) => { Self::$variant(_) };
    (@decode $raw:ident $variant:ident) => { Self::$variant };
    (@decode $raw:ident $variant:ident $data:ident) => {
        match <$data as serde::Deserialize>::deserialize(&$raw.data) {
            Ok(data) => Self::$variant(data),
            Err(error) => {
                tracing::warn!(event = %$raw.name, %error, "An event has an unexpected form");
                Self::Other($raw)
            }
        }
    };
}

pub(crate) use {events, open_enum};
