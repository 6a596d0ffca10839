//! `config.plist`, in any format and version: reading never panics, and what was read survives being written.
#![no_main]

use bundle::Configuration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(loaded) = Configuration::read(bytes, "Fallback") {
        let written = loaded.configuration.to_xml().expect("what was read can be written");
        let again = Configuration::read(&written, "Fallback").expect("what was written can be read");
        assert_eq!(again.configuration.to_dictionary(), loaded.configuration.to_dictionary());
    }
});
