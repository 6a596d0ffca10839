//! Another program in QEMU's place.

use std::fs;
use std::path::Path;

use crate::Home;

impl Home {
    /// Lets a machine's x86_64 emulator be `program` (the crate's `fake-qemu`), which behaves as `behaviour` says.
    ///
    /// # Panics
    /// Where the program cannot be put into its place.
    #[must_use]
    pub fn with_fake_qemu(self, program: &str, behaviour: &str) -> Self {
        let folder = self.path().join("fake").join(behaviour);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(Path::new(program), folder.join("qemu-system-x86_64")).unwrap();
        let cache = self.path().join("cache");
        self.with("VIVARIUM_QEMU_PATH", &folder).with("XDG_CACHE_HOME", cache)
    }
}
