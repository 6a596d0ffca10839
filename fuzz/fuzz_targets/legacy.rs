//! The configurations of old versions of UTM: bringing them over never panics.
#![no_main]

use bundle::legacy;
use libfuzzer_sys::fuzz_target;
use plist::Value;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Value::Dictionary(root)) = plist::from_bytes(bytes) {
        let _ = legacy::migrate(&root, "Fallback");
        let _ = legacy::view_state(&root);
    }
});
