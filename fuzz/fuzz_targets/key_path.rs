//! Key paths and values as a person types them: changing a configuration with them never panics, and leaves one that can be read.
#![no_main]

use bundle::Configuration;
use bundle::key_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|changes: Vec<(String, Option<String>)>| {
    let mut configuration = Configuration::Qemu(bundle::qemu::Configuration::default());
    for (path, text) in &changes {
        let _ = key_path::get(&configuration, path);
        let _ = match text {
            Some(text) => key_path::set(&mut configuration, path, text),
            None => key_path::unset(&mut configuration, path),
        };
    }
    let written = configuration.to_xml().expect("a changed configuration can be written");
    Configuration::read(&written, "Fallback").expect("a changed configuration can be read");
});
