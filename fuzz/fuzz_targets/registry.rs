//! A document of this host's registry: reading never panics, and what was read can be written.
#![no_main]

use std::sync::LazyLock;

use bundle::registry::Registry;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use uuid::Uuid;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let registry = Registry::new(FOLDER.path());
    std::fs::write(registry.path(Uuid::nil()), bytes).expect("the document can be written");
    let (entry, _problems) = registry.read(Uuid::nil(), FOLDER.path()).expect("the document can be read");
    serde_json::to_vec(&entry).expect("an entry can be written");
});
