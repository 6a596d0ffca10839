//! `.utm` bundles on disk: configuration, migration, validation, atomic save.
//!
//! [`Bundle::open`] reads a bundle and says everything that is odd about it; [`Configuration::validate`] says what keeps it from running.
//! [`key_path`] is how people name and change single keys. What belongs to a machine on this host only is in [`registry`].

pub mod apple;
mod architecture;
mod bundle_directory;
mod configuration;
mod fields;
mod file_name;
mod generation;
mod images;
mod information;
pub mod key_path;
pub mod legacy;
mod lock;
mod nearest;
mod problem;
pub mod qemu;
pub mod registry;
mod schema;
pub mod tables;
mod tree;
mod validate;

pub use architecture::Architecture;
pub use beneath::FileError;
pub use bundle_directory::{
    BUNDLE_EXTENSION, Bundle, CONFIGURATION_FILE, DATA_FOLDER, DEBUG_LOG_FILE, EFI_VARIABLES_FILE, LEGACY_DATA_FOLDER, OWN_FOLDER,
    OpenError, SCREENSHOT_FILE, SaveError, TPM_FILE, bundle_file_name, data_path, open_data,
};
pub use configuration::{CONFIGURATION_VERSION, Configuration, Loaded, Origin};
pub use fields::Data;
pub use file_name::{FileName, InvalidFileName};
pub use generation::{GENERATION_FILE, GenerationError, begin_generation, forget_generation, generation};
pub use images::{IMAGES_FILE, Image, Images, ImagesError};
pub use information::{Information, StoredDirectory, Terminal, Theme, random_identifier, random_mac_address};
pub use lock::{BundleLock, LockError, bundle_id};
pub use nearest::nearest;
pub use problem::{Level, Problem, ReadError};
pub use schema::{Key, Kind, Schema, UnknownChoice};
