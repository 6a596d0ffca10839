//! `.utm` bundles on disk: configuration, migration, validation, atomic save.

pub mod apple;
mod architecture;
mod configuration;
mod fields;
mod file_name;
mod information;
pub mod legacy;
mod problem;
pub mod qemu;
mod schema;
pub mod tables;
mod tree;

pub use architecture::Architecture;
pub use configuration::{CONFIGURATION_VERSION, Configuration, Loaded, Origin};
pub use fields::Data;
pub use file_name::{FileName, InvalidFileName};
pub use information::{Information, StoredDirectory, Terminal, Theme, random_identifier, random_mac_address};
pub use problem::{Level, Problem, ReadError};
pub use schema::{Key, Kind, Schema, UnknownChoice};
