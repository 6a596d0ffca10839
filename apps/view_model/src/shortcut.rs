//! Keys that commands go by.

/// What kind of desktop it is: which keys are usual, and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Linux, and others whose commands go by Ctrl.
    Linux,
    /// macOS.
    Mac,
}

impl Platform {
    /// The one that this program was built for.
    pub const fn of_this_computer() -> Self {
        if cfg!(target_os = "macos") { Self::Mac } else { Self::Linux }
    }
}

/// A key with what is held meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shortcut {
    /// Ctrl, or ⌘ on a Mac.
    pub command: bool,
    /// Ctrl on a Mac, beside ⌘.
    pub control: bool,
    /// Alt, or ⌥.
    pub alt: bool,
    /// Shift.
    pub shift: bool,
    /// The key: a character, or its name.
    pub key: &'static str,
}

impl Shortcut {
    /// A key alone.
    pub(crate) const fn plain(key: &'static str) -> Self {
        Self { command: false, control: false, alt: false, shift: false, key }
    }

    /// With Ctrl or ⌘.
    pub(crate) const fn command(key: &'static str) -> Self {
        Self { command: true, ..Self::plain(key) }
    }

    /// With Shift as well.
    pub(crate) const fn shifted(self) -> Self {
        Self { shift: true, ..self }
    }

    /// As menus of the platform write it: `Ctrl+Shift+N`, `⇧⌘N`.
    pub fn label(self, platform: Platform) -> String {
        let names: [(bool, &str); 4] = match platform {
            Platform::Linux => [(self.command, "Ctrl+"), (self.control, "Super+"), (self.alt, "Alt+"), (self.shift, "Shift+")],
            Platform::Mac => [(self.control, "⌃"), (self.alt, "⌥"), (self.shift, "⇧"), (self.command, "⌘")],
        };
        let held: String = names.into_iter().filter(|(held, _)| *held).map(|(_, name)| name).collect();
        let key = match (platform, self.key) {
            (Platform::Mac, "Delete") => "⌫",
            (Platform::Mac, "Return") => "↩",
            (_, key) => key,
        };
        format!("{held}{key}")
    }
}
